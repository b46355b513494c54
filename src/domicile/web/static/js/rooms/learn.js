/** To understand: a short guide whose numbers are those of this machine. */
import { say } from "../lib/i18n.js";
import { Shown, useApi } from "../lib/load.js";
import { html, render } from "../lib/preact.js";

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Learn} />`, place);

/** Bytes of a weight in the usual quantisation Q4_K_M (4.85 bits), and what a process, its buffers and a short context take besides. */
const [WEIGHT_BYTES, BESIDES_BYTES] = [4.85 / 8, 1.5e9];

function Learn() {
  return html`<div class="stack loose">
    <${Shown} of=${useApi("/domicile/machine")}>${(/** @type {any} */ m) => {
      const room = m.room_bytes ?? m.ram_available_bytes ?? 0;
      const parameters = Math.max(0, room - BESIDES_BYTES) / WEIGHT_BYTES;
      return html`
        <section class="card"><h2>${say("page.learn.memory")}</h2><p>${say("page.learn.memory.text", { ram: m.ram_bytes, room, parameters: Math.floor(parameters / 1e9) })}</p></section>
        <section class="card"><h2>${say("page.learn.quantisation")}</h2><p>${say("page.learn.quantisation.text", { full: 16e9, q8: 8.5e9, q4: 4.85e9 })}</p></section>
        <section class="card"><h2>${say("page.learn.private")}</h2><p>${say("page.learn.private.text")}</p></section>`;
    }}<//>
  </div>`;
}
