/** The machine: what was found here, and what could not be read. */
import { number, say, size } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { Shown, useApi } from "../lib/load.js";
import { html, render } from "../lib/preact.js";

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Machine} />`, place);

function Machine() {
  return html`<div class="stack loose"><${Shown} of=${useApi("/domicile/machine")}>${(/** @type {any} */ m) => html`<${Found} m=${m} />`}<//></div>`;
}

/** @param {{m: any}} props */
function Found({ m }) {
  /** @type {[string, any, string?][]} */
  const facts = [
    ["cpu", m.cpu, "cpu"],
    ["cores", m.physical_cores && say("page.machine.cores.text", { n: m.physical_cores, usable: m.usable_cores }), "physical_cores"],
    ["ram", m.ram_bytes && say("page.machine.ram.text", { all: m.ram_bytes, free: m.ram_available_bytes }), "ram_bytes"],
    ["disk", m.disk_free_bytes && size(m.disk_free_bytes), "disk_free_bytes"],
    ["bandwidth", m.calibration?.bandwidth_bytes_per_s && say("page.machine.rate", { rate: m.calibration.bandwidth_bytes_per_s }), "calibration"],
    ["features", m.features?.length ? m.features.join(", ") : null, "features"],
    ["os", m.os],
  ];
  return html`<section class="card"><h2>${say("page.machine.found")}</h2>
      <dl class="facts">${facts.map(([name, shown, why]) => html`<dt key=${name}>${say(`page.machine.${name}`)}</dt>
        <dd>${shown ?? html`<span class="muted">${say("page.machine.unknown")}</span>`}${why && m.why?.[why] && html`<span class="why">${m.why[why]}</span>`}</dd>`)}</dl></section>
    <section class="card"><h2>${say("page.machine.gpus")}</h2>
      ${m.gpus.length ? html`<ul class="list">${m.gpus.map((/** @type {any} */ g) => html`<li key=${g.name}><${Icon} name="machine" /><span class="grow">${g.name}</span>${g.vram_bytes && html`<span class="num">${size(g.vram_bytes)}</span>`}</li>`)}</ul>`
        : html`<p class="muted">${say("page.machine.no_gpu")}</p>`}</section>
    ${m.unknown.length > 0 && html`<section class="card"><h2>${say("page.machine.unread")}</h2><ul class="list">${m.unknown.map((/** @type {any} */ u) => html`<li key=${JSON.stringify(u)}>${u.message ?? u.text ?? String(u)}</li>`)}</ul></section>`}`;
}
