/** What has left this machine: the egress ledger, with its sums; and the switch that lets nothing out. */
import { patch } from "../../lib/api.js";
import { date, number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { report } from "../../lib/toast.js";

const SINCE = ["1h", "24h", "7d", ""];

export function Ledger() {
  const [since, setSince] = useState("24h");
  const [wanted, setWanted] = useState("");
  const loaded = useApi(`/domicile/egress?limit=500&since=${since}`);
  /** What the switch was set to, before the house has said so. */
  const [turned, setTurned] = useState(/** @type {boolean | null} */ (null));
  useEffect(() => setTurned(null), [loaded.data]);
  /** @param {boolean} offline */
  const turn = async (offline) => {
    setTurned(offline);
    try {
      await patch("/domicile/settings", { offline });
      const badge = document.getElementById("offline");
      if (badge) badge.hidden = !offline;
      loaded.again();
    } catch (trouble) {
      setTurned(null);
      report(trouble);
    }
  };
  return html`<${Shown} of=${loaded}>${(/** @type {any} */ l) => {
    const matches = (/** @type {any} */ e) => !wanted || [e.host, e.purpose, say(`purpose.${e.purpose}`), e.model, e.request].some((t) => String(t ?? "").toLowerCase().includes(wanted.toLowerCase()));
    const shown = l.exchanges.filter(matches);
    const up = l.totals.reduce((/** @type {number} */ s, /** @type {any} */ t) => s + t.bytes_up, 0);
    const down = l.totals.reduce((/** @type {number} */ s, /** @type {any} */ t) => s + t.bytes_down, 0);
    return html`<section class="card stack"><div class="card-head"><h2>${say("page.machine.left")}</h2>
        <label class="check"><input type="checkbox" role="switch" checked=${turned ?? l.offline} onChange=${(/** @type {any} */ e) => turn(e.target.checked)} /><span>${say("page.machine.offline")}</span></label></div>
      <p class="muted">${say("page.machine.left.text")}</p>
      <div class="note ${l.offline ? "warn" : "good"}"><${Icon} name=${l.offline ? "offline" : "info"} /><span>${l.offline ? say("page.machine.shut") : say("page.machine.totals", { n: l.totals.reduce((/** @type {number} */ s, /** @type {any} */ t) => s + t.exchanges, 0), up, down })}</span></div>
      <div class="row"><div class="search grow"><${Icon} name="search" /><input class="input" type="search" aria-label=${say("page.machine.filter")} placeholder=${say("page.machine.filter")} value=${wanted} onInput=${(/** @type {any} */ e) => setWanted(e.target.value)} /></div>
        <select class="input since" aria-label=${say("page.machine.since")} value=${since} onChange=${(/** @type {any} */ e) => setSince(e.target.value)}>${SINCE.map((s) => html`<option key=${s} value=${s}>${say(`page.machine.since.${s || "all"}`)}</option>`)}</select></div>
      ${l.totals.length > 0 && html`<ul class="list">${l.totals.filter(matches).map((/** @type {any} */ t) => html`<li key=${t.purpose + t.host}><div class="grow"><strong>${say(`purpose.${t.purpose}`)}</strong><p class="small muted cut">${t.host}</p></div><span class="small muted num">${say("page.machine.exchanges", { n: t.exchanges })}</span><span class="num small">↑ ${size(t.bytes_up)} ↓ ${size(t.bytes_down)}</span></li>`)}</ul>`}</section>
    ${shown.length === 0 ? html`<p class="empty">${say("page.machine.nothing_left")}</p>` : html`<div class="table-wrap"><table class="table folds"><thead><tr><th scope="col">${say("page.machine.where")}</th><th scope="col">${say("page.machine.why")}</th><th scope="col">${say("page.machine.when")}</th><th scope="col" class="end">${say("page.machine.bytes")}</th></tr></thead>
      <tbody>${shown.map((/** @type {any} */ e) => html`<tr key=${e.id}><th scope="row">${e.host}:${e.port}<p class="small muted mono">${e.request}</p></th><td data-label=${say("page.machine.why")}><span>${say(`purpose.${e.purpose}`)}${e.model && html` · ${e.model}`}${e.error && html` <span class="badge bad">${e.error}</span>`}</span></td>
        <td data-label=${say("page.machine.when")} class="num">${date(e.at, true)}</td><td class="end num" data-label=${say("page.machine.bytes")}>↑ ${size(e.bytes_up)} ↓ ${size(e.bytes_down)}</td></tr>`)}</tbody></table></div>`}
    <p class="small muted">${say("page.machine.kept", { n: number(l.kept) })}</p>`;
  }}<//>`;
}
