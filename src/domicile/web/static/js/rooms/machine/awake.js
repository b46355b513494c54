/** Who is awake: the memory of each in one bar, who waits, why each is set as it is. */
import { get, inPath, post } from "../../lib/api.js";
import { number, say, size } from "../../lib/i18n.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { Shares } from "../../lib/shares.js";
import { state } from "../../lib/state.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { awake } from "../../shell/house.js";

export function Awake() {
  const now = use(awake);
  const loaded = useApi("/domicile/ps");
  const load = useApi("/domicile/machine/load");
  useEffect(() => {
    loaded.again();
    load.again();
  }, [now]);
  return html`<section class="card stack"><h2>${say("page.machine.awake")}</h2>
    <${Shown} of=${loaded}>${(/** @type {any} */ ps) => html`
      ${load.data?.ram_bytes && html`<${Memory} models=${ps.models} load=${load.data} />`}
      ${ps.models.length === 0 ? html`<p class="muted">${say("page.machine.nobody")}</p>`
        : html`<ul class="list">${ps.models.map((/** @type {any} */ m) => html`<${One} key=${m.name} m=${m} again=${loaded.again} />`)}</ul>`}
      ${ps.waiting > 0 && html`<p class="note">${say("page.machine.waiting", { n: ps.waiting })}</p>`}`}<//></section>`;
}

/** @param {{models: any[], load: any}} props */
function Memory({ models, load }) {
  const parts = models.map((m) => ({ name: m.name, label: m.name, bytes: Math.max(m.held_bytes ?? 0, m.used_bytes ?? 0) }));
  const held = parts.reduce((sum, p) => sum + p.bytes, 0);
  const others = Math.max(0, load.ram_used_bytes - models.reduce((sum, m) => sum + (m.used_bytes ?? 0), 0));
  parts.push({ name: " others", label: say("page.machine.others"), bytes: others });
  const free = Math.max(0, load.ram_bytes - held - others);
  return html`<${Shares} label=${say("page.machine.ram")} total=${load.ram_bytes} parts=${[...parts, { name: " free", label: say("page.machine.free"), bytes: free, free: true }]} />`;
}

/** @param {{m: any, again: () => void}} props */
function One({ m, again }) {
  const [settings, setSettings] = useState(/** @type {any[] | null} */ (null));
  const admin = state.account?.role !== "user";
  const path = `/domicile/models/${inPath(m.name)}`;
  /** @param {Event} event */
  const look = async (event) => {
    if (/** @type {HTMLDetailsElement} */ (event.currentTarget).open && !settings) await get(`${path}/settings`).then((s) => setSettings(s.settings), report);
  };
  const until = m.busy || m.waiting ? say("page.machine.busy", { n: m.busy, waiting: m.waiting }) : m.sleeps_in_s === null ? null : say("page.machine.sleeps", { t: m.sleeps_in_s });
  return html`<li class="awake-one"><span class="light" data-state=${m.state === "awake" ? "ready" : "waking"} aria-hidden="true"></span>
    <div class="grow stack tight"><div class="row between"><strong class="cut">${m.name}</strong>
      <span class="row tight"><span class="num muted">${size(Math.max(m.held_bytes ?? 0, m.used_bytes ?? 0))}</span>
      ${m.tokens_per_second && html`<span class="num muted">${say("page.machine.tokens", { n: number(m.tokens_per_second, 1) })}</span>`}
      ${admin && m.state === "awake" && html`<button type="button" class="button small" onClick=${() => post(`${path}/sleep`).then(again, report)}>${say("page.machine.sleep")}</button>`}</span></div>
      <p class="small muted">${[say(`state.${m.state}`), m.engine, m.context && say("page.machine.window", { n: m.context }), until].filter(Boolean).join(" · ")}</p>
      ${m.note_text && html`<p class="small">${m.note_text}</p>`}
      ${admin && html`<details onToggle=${look}><summary class="small">${say("page.machine.settings")}</summary>
        ${settings && html`<dl class="facts small">${settings.map((s) => html`<dt key=${s.name}>${s.name}</dt><dd><code>${String(s.value)}</code><span class="why">${s.why}</span></dd>`)}</dl>`}</details>`}
    </div></li>`;
}
