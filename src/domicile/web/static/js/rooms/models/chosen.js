/** The models one means to compare, kept between visits. */
import { say } from "../../lib/i18n.js";
import { announce } from "../../lib/a11y.js";
import { html } from "../../lib/preact.js";
import { kept, use } from "../../lib/store.js";

export const MOST = 4;
/** @type {import("../../lib/store.js").Signal<string[]>} */
export const chosen = kept("compare", /** @type {string[]} */ ([]));

/** @param {string} reference */
export function toggle(reference) {
  const is = chosen.value.includes(reference);
  chosen.value = is ? chosen.value.filter((r) => r !== reference) : [...chosen.value, reference].slice(-MOST);
  announce(say("page.models.compare.count", { n: chosen.value.length }));
}

/** @param {{reference: string, name?: string}} props */
export function CompareBox({ reference, name = reference }) {
  const is = use(chosen).includes(reference);
  return html`<label class="compare-box small"><input type="checkbox" checked=${is} onChange=${() => toggle(reference)} />${say("page.models.compare.add")}<span class="sr"> ${name}</span></label>`;
}
