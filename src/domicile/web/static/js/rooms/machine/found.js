/** What was found here, how it was known, and what could not be read. */
import { get } from "../../lib/api.js";
import { number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useState } from "../../lib/preact.js";
import { report } from "../../lib/toast.js";

export function Found() {
  const loaded = useApi("/domicile/machine");
  return html`<${Shown} of=${loaded}>${(/** @type {any} */ m) => html`<${Facts} m=${m} again=${loaded.again} />`}<//>`;
}

/** @param {{m: any, again: () => void}} props */
function Facts({ m, again }) {
  const [busy, setBusy] = useState(false);
  const measure = async () => {
    setBusy(true);
    await get("/domicile/machine?calibrate=again").then(again, report);
    setBusy(false);
  };
  const speed = m.calibration?.read_bandwidth_bytes_per_s;
  /** @type {[string, any, string?][]} */
  const facts = [
    ["cpu", m.cpu && `${m.cpu} (${m.arch})`, "cpu"],
    ["cores", m.physical_cores && say("page.machine.cores.text", { n: m.physical_cores, usable: m.usable_cores }), "physical_cores"],
    ["ram", m.ram_bytes && say("page.machine.ram.text", { all: m.ram_bytes, free: m.ram_available_bytes }), "ram_bytes"],
    ["disk", m.disk_free_bytes && size(m.disk_free_bytes), "disk_free_bytes"],
    ["bandwidth", speed && say("page.machine.rate", { rate: speed }), "calibration"],
    ["features", m.features?.length ? m.features.join(", ") : null, "features"],
    ["os", m.os],
  ];
  return html`<div class="pair">
    <section class="card"><div class="card-head"><h2>${say("page.machine.found")}</h2>
      <button type="button" class="button small" disabled=${busy} onClick=${measure}>${busy ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="refresh" />`}${say("page.machine.measure")}</button></div>
      <dl class="facts">${facts.map(([name, shown, why]) => html`<dt key=${name}>${say(`page.machine.${name}`)}</dt>
        <dd>${shown || html`<span class="muted">${say("page.machine.unknown")}</span>`}${why && m.why?.[why] && html`<span class="why">${m.why[why]}</span>`}</dd>`)}</dl></section>
    <div class="stack">
      <section class="card"><h2>${say("page.machine.gpus")}</h2>
        ${m.gpus.length ? html`<ul class="list">${m.gpus.map((/** @type {any} */ g) => html`<li key=${g.name}><${Icon} name="machine" /><div class="grow">${g.name}${g.why && html`<p class="small muted">${g.why}</p>`}</div>${g.vram_bytes && html`<span class="num">${size(g.vram_bytes)}</span>`}</li>`)}</ul>`
          : html`<p class="muted">${say("page.machine.no_gpu")}</p>`}</section>
      <section class="card"><h2>${say("page.machine.unread")}</h2>
        ${m.unknown.length ? html`<ul class="list">${m.unknown.map((/** @type {string} */ u) => html`<li key=${u}>${u}</li>`)}</ul>` : html`<p class="muted">${say("page.machine.all_read")}</p>`}
        ${m.calibration && html`<p class="small muted">${say("page.machine.calibrated", { threads: number(m.calibration.threads), legacy: number(100 * m.calibration.eta_legacy), k: number(100 * m.calibration.eta_k) })}</p>`}</section>
    </div></div>`;
}
