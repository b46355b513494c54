/** What a model is judged for: how long the conversations are, how they are kept, and on which machine. */
import { say } from "../../lib/i18n.js";
import { useApi } from "../../lib/load.js";
import { html, useEffect, useId, useRef, useState } from "../../lib/preact.js";
import { contextText } from "./parts.js";
import { CONTEXTS } from "./where.js";

const KV = ["f16", "q8_0", "q4_0"];

/** @typedef {{max_context: number | null, context: number}} Bounded */

/** @param {{said: Record<string, string>, set: (more: Record<string, string>) => void, variants: Bounded[]}} props */
export function Controls({ said, set, variants }) {
  const id = useId();
  const most = Math.max(8192, ...variants.map((v) => v.max_context ?? 0));
  const steps = CONTEXTS.filter((c, i) => i === 0 || CONTEXTS[i - 1] < most);
  const now = Number(said.context) || variants[0]?.context || 8192;
  const [at, setAt] = useState(nearest(steps, now));
  const later = useRef(/** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined));
  useEffect(() => setAt(nearest(steps, now)), [now, steps.length]);
  useEffect(() => () => clearTimeout(later.current), []);
  /** @param {number} step */
  const slide = (step) => {
    setAt(step);
    clearTimeout(later.current);
    later.current = setTimeout(() => set({ context: String(steps[step]) }), 120);
  };
  return html`<div class="controls">
    <div class="field wide"><label for=${`${id}-context`}>${say("page.models.context")} <output class="num" for=${`${id}-context`}>${contextText(steps[at] ?? now)}</output></label>
      <input id=${`${id}-context`} type="range" min="0" max=${steps.length - 1} step="1" value=${at} aria-valuetext=${say("page.models.context.tokens", { n: steps[at] ?? now })} onInput=${(/** @type {any} */ e) => slide(Number(e.target.value))} />
      <span class="help">${say("page.models.context.help")}</span></div>
    <label class="field"><span class="label">${say("page.models.kv")}</span>
      <select class="input" value=${said.kv ?? "f16"} onChange=${(/** @type {any} */ e) => set({ kv: e.target.value === "f16" ? "" : e.target.value })}>${KV.map((k) => html`<option key=${k} value=${k}>${say(`page.models.kv.${k}`)}</option>`)}</select></label>
    <${Machines} on=${said.on ?? ""} set=${set} />
  </div>`;
}

/** This machine, or one with another card. @param {{on: string, set: (more: Record<string, string>) => void}} props */
function Machines({ on, set }) {
  const cards = useApi("/domicile/cards").data?.cards ?? [];
  /** @type {Map<string, string[]>} */
  const makers = new Map();
  for (const card of cards)
    for (const gib of card.vram_gib) {
      const name = card.vram_gib.length > 1 ? `${card.name} ${gib}GB` : card.name;
      makers.set(card.vendor, [...(makers.get(card.vendor) ?? []), name]);
    }
  return html`<label class="field"><span class="label">${say("page.models.on")}</span>
    <select class="input" value=${on} onChange=${(/** @type {any} */ e) => set({ on: e.target.value })}>
      <option value="">${say("page.models.on.this")}</option>
      ${on && !cards.length && html`<option value=${on}>${on}</option>`}
      ${[...makers].map(([maker, names]) => html`<optgroup key=${maker} label=${maker}>${names.map((n) => html`<option key=${n} value=${n}>${n}</option>`)}</optgroup>`)}
    </select></label>`;
}

/** @param {number[]} steps @param {number} value */
const nearest = (steps, value) => steps.reduce((best, step, i) => (Math.abs(Math.log2(step / value)) < Math.abs(Math.log2(steps[best] / value)) ? i : best), 0);
