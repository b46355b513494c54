/** What lies on the disk, and the buttons that free it. */
import { inPath, remove } from "../../lib/api.js";
import { confirm } from "../../lib/dialog.js";
import { ago, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html } from "../../lib/preact.js";
import { Shares } from "../../lib/shares.js";
import { report, toast } from "../../lib/toast.js";

export function Storage() {
  const models = useApi("/domicile/models");
  const partials = useApi("/domicile/partials");
  const cache = useApi("/domicile/cache");
  const machine = useApi("/domicile/machine");
  const again = () => [models, partials, cache, machine].forEach((l) => l.again());
  /** @param {string} path @param {string} title @param {string} text */
  const drop = async (path, title, text) => {
    if (!(await confirm({ title, text, yes: say("page.machine.delete"), danger: true }))) return;
    await remove(path).then((gone) => [toast(say("page.machine.freed", { freed: gone.freed_bytes ?? 0 }), { kind: "good" }), again()], report);
  };
  return html`<${Shown} of=${models}>${(/** @type {any} */ m) => html`<${Shown} of=${machine}>${(/** @type {any} */ found) => {
    const own = m.models.filter((/** @type {any} */ one) => one.source !== "embedded").sort((/** @type {any} */ a, /** @type {any} */ b) => b.size_bytes - a.size_bytes);
    const half = (partials.data?.partials ?? []).reduce((/** @type {number} */ s, /** @type {any} */ p) => s + p.kept_bytes, 0);
    const kept = cache.data?.size_bytes ?? 0;
    const parts = [...own.slice(0, 5).map((/** @type {any} */ o) => ({ name: o.name, label: o.name, bytes: o.size_bytes })),
      { name: " more", label: say("page.machine.more_models"), bytes: own.slice(5).reduce((/** @type {number} */ s, /** @type {any} */ o) => s + o.size_bytes, 0) },
      { name: " half", label: say("page.machine.partials"), bytes: half }, { name: " cache", label: say("page.machine.cache"), bytes: kept },
      { name: " free", label: say("page.machine.disk"), bytes: found.disk_free_bytes ?? 0, free: true }];
    return html`<section class="card stack"><h2>${say("page.machine.disk_of")}</h2><${Shares} label=${say("page.machine.disk_of")} total=${0} parts=${parts} /></section>
      <section class="card stack"><h2>${say("page.machine.models")}</h2>${own.length === 0 ? html`<p class="muted">${say("page.machine.no_models")}</p>` : html`<ul class="list">${own.map((/** @type {any} */ o) => html`<li key=${o.name}><div class="grow"><strong class="cut">${o.name}</strong><p class="small muted">${[o.format, o.quantisation, o.last_used_at ? say("page.machine.used", { when: ago(o.last_used_at) }) : say("page.machine.never")].filter(Boolean).join(" · ")}</p></div><span class="num">${size(o.size_bytes)}</span>
        <button type="button" class="ghost icon-only danger" onClick=${() => drop(`/domicile/models/${inPath(o.name)}`, say("page.machine.delete.title", { name: o.name }), say("page.machine.delete.text", { size: o.size_bytes }))}><${Icon} name="trash" label=${say("page.machine.delete.title", { name: o.name })} /></button></li>`)}</ul>`}</section>
      <section class="card stack"><h2>${say("page.machine.partials")}</h2><p class="muted">${say("page.machine.partials.text")}</p>${partials.data?.partials.length ? html`<ul class="list">${partials.data.partials.map((/** @type {any} */ p) => html`<li key=${p.name}><span class="grow cut">${p.name}</span><span class="num">${size(p.kept_bytes)}${p.size_bytes && html` / ${size(p.size_bytes)}`}</span>
        <button type="button" class="ghost icon-only danger" onClick=${() => drop(`/domicile/partials/${inPath(p.name)}`, say("page.machine.delete.title", { name: p.name }), say("page.machine.partials.gone"))}><${Icon} name="trash" label=${say("page.machine.delete.title", { name: p.name })} /></button></li>`)}</ul>` : html`<p class="muted">${say("page.machine.none")}</p>`}</section>
      <section class="card stack"><div class="card-head"><h2>${say("page.machine.cache")}</h2><button type="button" class="button small" disabled=${!kept} onClick=${() => drop("/domicile/cache", say("page.machine.cache.clear"), say("page.machine.cache.gone"))}><${Icon} name="trash" />${say("page.machine.cache.clear")}</button></div>
        <p class="muted">${say("page.machine.cache.text", { used: kept, limit: cache.data?.limit_bytes ?? 0 })}</p></section>`;
  }}<//>`}<//>`;
}
