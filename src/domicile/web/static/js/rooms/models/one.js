/** One model that lives here, whole: what it is, how it is woken, how it does, and everything one can do with it. */
import { get, inPath, post, remove } from "../../lib/api.js";
import { confirm } from "../../lib/dialog.js";
import { ago, date, list, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { activate, active, awake, refresh } from "../../shell/house.js";
import { Aliases } from "./aliases.js";
import { CompareBox } from "./chosen.js";
import { Export } from "./export.js";
import { Light, ownerText, updates } from "./installed.js";
import { Heading } from "./parts.js";
import { go, Link } from "./route.js";
import { Settings } from "./settings.js";
import { Template } from "./template.js";
import { Trial } from "./trial.js";

/** @typedef {import("./installed.js").Installed & {path: string, capabilities: string[] | null, awake: any}} Model */

/** @param {{where: import("./where.js").Where}} props */
export function View({ where }) {
  const name = /** @type {string} */ (where.model);
  const found = useApi(`/domicile/models/${inPath(name)}`);
  return html`<p class="small"><${Link} to=${{ tab: "installed" }}>${say("page.models.tab.installed")}<//></p>
    <${Heading}>${name}<//>
    <${Shown} of=${found}>${(/** @type {Model} */ model) => html`<${One} model=${model} again=${found.again} />`}<//>`;
}

/** @param {{model: Model, again: () => void}} props */
function One({ model: m, again }) {
  use(awake);
  const isActive = use(active)?.name === m.name;
  const gone = m.missing || m.damaged;
  const at = `/domicile/models/${inPath(m.name)}`;
  return html`
    ${gone && html`<p class="note bad"><${Icon} name="warn" /><span>${say(m.missing ? "page.models.missing.why" : "page.models.damaged.why")}</span></p>`}
    <div class="row tight deeds-row">
      ${isActive ? html`<span class="badge accent"><${Icon} name="check" />${say("page.models.active")}</span>` : html`<button type="button" class="button primary" disabled=${gone} onClick=${() => activate(m.name).catch(report)}>${say("page.models.activate.long")}</button>`}
      ${!gone && html`<a class="button" href="/" onClick=${(/** @type {Event} */ e) => { if (isActive) return; e.preventDefault(); activate(m.name).then(() => location.assign("/"), report); }}><${Icon} name="chat" />${say("page.models.talk")}</a>`}
      <${Pin} model=${m} at=${at} again=${again} />
      <${CompareBox} reference=${m.name} />
      <span class="grow"></span>
      <${Delete} model=${m} at=${at} />
    </div>
    <div class="two">
      <section class="card"><h3>${say("page.models.facts")}</h3><${Facts} model=${m} again=${again} /></section>
      <div class="stack">
        <${Trial} model=${m} at=${at} disabled=${gone} />
        <${Aliases} model=${m} at=${at} again=${again} />
        ${m.format === "gguf" && html`<${Export} model=${m} at=${at} disabled=${gone} />`}
      </div>
    </div>
    ${!gone && html`<${Settings} at=${at} />`}
    ${!gone && m.format === "gguf" && html`<${Template} at=${at} />`}`;
}

/** @param {{model: Model, again: () => void}} props */
function Facts({ model: m, again }) {
  const [update, setUpdate] = useState(updates.get(m.name) ?? null);
  const [busy, setBusy] = useState(false);
  const look = async () => {
    setBusy(true);
    try {
      const one = (await get(`/domicile/updates?model=${encodeURIComponent(m.name)}`)).models[0] ?? null;
      if (one) updates.set(m.name, one);
      setUpdate(one ?? { model: m.name, state: "local", message: say("page.models.updates.local"), size_bytes: null });
    } catch (trouble) {
      report(trouble);
    } finally {
      setBusy(false);
    }
  };
  const bring = () => post(`/domicile/models/${inPath(m.name)}/update`).then(() => go({ tab: "downloads" }), report);
  const others = m.copies.filter((c) => !c.missing);
  /** @type {[string, any][]} */
  const facts = [
    ["state", html`<span class="row tight"><${Light} name=${m.name} gone=${m.missing || m.damaged} />${say(`page.selector.state.${stateOf(m)}`)}</span>`],
    ["size", html`${size(m.size_bytes)}${m.files.length > 1 ? ` · ${say("page.models.files", { n: m.files.length })}` : ""}`],
    ["format", [m.format.toUpperCase(), m.quantisation].filter(Boolean).join(" · ")],
    ["can", m.capabilities?.length ? list(m.capabilities.map((c) => say(`page.models.can.${c}`).replace(/^page\.models\.can\./, ""))) : null],
    ["licence", m.licence],
    ["repository", m.repository && html`<${Link} to=${{ repository: m.repository }}>${m.repository}<//>`],
    ["added", m.added_at ? date(m.added_at) : say("page.models.with_house")],
    ["used", m.last_used_at ? ago(m.last_used_at) : say("page.models.never")],
    ["owner", others.length ? html`${list([...(m.source === "adopted" ? [] : [say("page.models.owner.house")]), ...new Set(others.map((c) => ownerText(c.owner)))])}<span class="why">${say("page.models.owner.shared")}</span>` : say(m.source === "adopted" ? "page.models.owner.other" : "page.models.owner.house")],
    ["file", html`<code class="path">${m.path}</code>`],
  ];
  return html`<dl class="facts">${facts.filter(([, shown]) => shown).map(([name, shown]) => html`<dt key=${name}>${say(`page.models.column.${name}`)}</dt><dd>${shown}</dd>`)}
    <dt>${say("page.models.column.update")}</dt><dd class="row tight">${update && html`<span>${update.message}${update.state === "changed" && update.size_bytes ? ` · ${size(update.size_bytes)}` : ""}</span>`}
      ${update?.state === "changed" ? html`<button type="button" class="button small" onClick=${bring}><${Icon} name="download" />${say("page.models.update.get")}</button>` : html`<button type="button" class="button small" disabled=${busy} onClick=${look}>${busy && html`<span class="spinner" aria-hidden="true"></span>`}${say("page.models.updates.look")}</button>`}</dd></dl>`;
}

/** @param {Model} m */
const stateOf = (m) => (m.missing || m.damaged ? "trouble" : { awake: "ready", waking: "waking", queued: "waking" }[/** @type {"awake"} */ (awake.value.find((a) => a.name === m.name)?.state)] ?? "asleep");

/** @param {{model: Model, at: string, again: () => void}} props */
function Pin({ model, at, again }) {
  const flip = () => (model.pinned ? remove(`${at}/pin`) : post(`${at}/pin`)).then(again, report);
  return html`<button type="button" class="button" aria-pressed=${model.pinned} title=${say("page.models.pin.why")} onClick=${flip}><${Icon} name="pin" />${say(model.pinned ? "page.models.unpin" : "page.models.pin")}</button>`;
}

/** @param {{model: Model, at: string}} props */
function Delete({ model: m, at }) {
  const ours = m.source !== "adopted" && m.source !== "file" && m.source !== "embedded";
  const drop = async () => {
    const text = ours ? say("page.models.delete.text", { name: m.name, freed: m.size_bytes }) : say("page.models.delete.forget", { name: m.name });
    if (!(await confirm({ title: say("page.models.delete.title"), text, yes: say("page.models.delete"), danger: true }))) return;
    try {
      const gone = await remove(at);
      toast(say("page.models.freed", { name: m.name, freed: gone.freed_bytes }), { kind: "good" });
      await refresh();
      go({ tab: "installed" });
    } catch (trouble) {
      report(trouble);
    }
  };
  if (m.source === "embedded") return null;
  return html`<button type="button" class="button danger" disabled=${m.pinned} title=${m.pinned ? say("page.models.delete.pinned") : undefined} onClick=${drop}><${Icon} name="trash" />${say("page.models.delete")}</button>`;
}
