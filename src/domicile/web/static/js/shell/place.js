/** Where a model answers: here, in this tab, or away. A small choice that a room puts where it fits. */
import { places } from "../engines/index.js";
import { say } from "../lib/i18n.js";
import { html } from "../lib/preact.js";
import { use } from "../lib/store.js";

/** @typedef {import("../engines/index.js").Place} Place */

/** Formats that a browser can run. */
const BROWSER = ["gguf", "onnx", "mlc"];
const ONLY_BROWSER = ["mlc"];

/** Where this model is to answer. @param {string} model @param {string} [format] @returns {Place} */
export const placeOf = (model, format) => places.value[model] ?? (ONLY_BROWSER.includes(format ?? "") ? "tab" : "here");

/** @param {string} model @param {Place} place */
export const choosePlace = (model, place) => (places.value = { ...places.value, [model]: place });

/** @param {{model: {name: string, format: string}, away?: boolean, changed?: (place: Place) => void}} props `away`: somebody elsewhere was consented to */
export function PlaceChoice({ model, away = false, changed }) {
  use(places);
  const chosen = placeOf(model.name, model.format);
  const offered = /** @type {Place[]} */ (["here", "tab", "away"]).filter(
    (p) => (p === "here" && !ONLY_BROWSER.includes(model.format)) || (p === "tab" && BROWSER.includes(model.format)) || (p === "away" && away),
  );
  if (offered.length < 2) return null;
  return html`<fieldset class="places"><legend class="sr">${say("page.selector.place")}</legend>
    ${offered.map((place) => html`<label key=${place} class="check" title=${say(`page.selector.place.${place}.text`)}>
      <input type="radio" name=${`place-${model.name}`} checked=${place === chosen} onChange=${() => (choosePlace(model.name, place), changed?.(place))} />
      <span>${say(`page.selector.place.${place}`)}</span></label>`)}</fieldset>`;
}
