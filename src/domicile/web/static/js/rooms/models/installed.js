/** What lives here: looked through, put in order; each model opens its own page. */
import { get } from "../../lib/api.js";
import { ago, date, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useEffect, useMemo, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { activate, active, awake, ended, lightOf } from "../../shell/house.js";
import { listed } from "./judged.js";
import { Empty, Growing, Heading } from "./parts.js";
import { go, Link } from "./route.js";

/** @typedef {{name: string, format: string, size_bytes: number, source: string, files: string[], repository: string | null, revision: string | null, quantisation: string | null,
 *   licence: string | null, added_at: number | null, last_used_at: number | null, missing: boolean, damaged: boolean, task: string | null, aliases: string[], pinned: boolean,
 *   owners: string[], copies: {owner: string, path?: string, missing?: boolean}[], self_test: any}} Installed */
/** @typedef {{model: string, state: string, size_bytes: number | null, message: string}} Update */

const SORTS = ["name", "used", "added", "size"];
/** What the last look for updates found, while one is in this room. @type {Map<string, Update>} */
export const updates = new Map();

/** @param {{where: import("./where.js").Where}} props */
export function View({ where }) {
  const found = useApi("/domicile/models");
  return html`<${Heading}>${say("page.models.installed.title")}<//>
    <${Fresh} again=${found.again} />
    <${Shown} of=${found}>${(/** @type {{models: Installed[]}} */ { models }) => html`<${Shelf} models=${models} said=${where.said} />`}<//>`;
}

/** Ask again when something came or went. @param {{again: () => void}} props */
function Fresh({ again }) {
  const count = use(ended).length;
  const seen = useRef(count);
  useEffect(() => {
    if (count !== seen.current) again();
    seen.current = count;
  }, [count]);
  return null;
}

/** @param {{models: Installed[], said: Record<string, string>}} props */
function Shelf({ models, said }) {
  const [round, setRound] = useState(0);
  const [looking, setLooking] = useState(false);
  const [text, sort] = [said.find ?? "", said.order ?? "name"];
  const shown = useMemo(() => listed(models, text, sort), [models, text, sort]);
  const total = useMemo(() => shown.reduce((sum, m) => sum + m.size_bytes, 0), [shown]);
  const chosen = use(active)?.name;
  /** @param {Record<string, string>} more */
  const set = (more) => go({ tab: "installed", said: { ...said, ...more } }, { replace: true });
  const look = async () => {
    setLooking(true);
    try {
      for (const one of (await get("/domicile/updates")).models) updates.set(one.model, one);
      setRound(round + 1);
    } catch (trouble) {
      report(trouble);
    } finally {
      setLooking(false);
    }
  };
  const changed = [...updates.values()].filter((u) => u.state === "changed").length;
  return html`
    <div class="row between tools">
      <div class="search grow"><${Icon} name="search" /><input class="input" type="search" value=${text} placeholder=${say("page.models.installed.find")} aria-label=${say("page.models.installed.find")} onInput=${(/** @type {any} */ e) => set({ find: e.target.value })} /></div>
      <label class="row tight small"><span class="muted">${say("page.models.sort")}</span><select class="input" value=${sort} onChange=${(/** @type {any} */ e) => set({ order: e.target.value === "name" ? "" : e.target.value })}>${SORTS.map((s) => html`<option key=${s} value=${s}>${say(`page.models.order.${s}`)}</option>`)}</select></label>
      <button type="button" class="button" disabled=${looking} onClick=${look}>${looking ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="refresh" />`}${say("page.models.updates.look")}</button>
    </div>
    <p class="small muted" role="status">${say("page.models.total", { n: shown.length, size: total })}${round > 0 && ` · ${changed ? say("page.models.updates.found", { n: changed }) : say("page.models.updates.none")}`}</p>
    ${shown.length === 0
      ? html`<${Empty} icon="models" title=${text ? say("page.models.installed.nothing", { asked: text }) : say("page.models.installed.none")}><p class="row centre"><${Link} class="button small" to=${{ tab: "recommended" }}>${say("page.models.tab.recommended")}<//><${Link} class="button small" to=${{ tab: "tools" }}>${say("page.models.tab.tools")}<//></p><//>`
      : html`<div class="table-wrap"><table class="table folds installed">
        <caption class="sr">${say("page.models.installed.title")}</caption>
        <thead><tr>${["name", "format", "size", "owner", "added", "used"].map((c) => html`<th scope="col" key=${c} class=${c === "size" ? "end" : ""}>${say(`page.models.column.${c}`)}</th>`)}<th scope="col"><span class="sr">${say("page.models.deeds")}</span></th></tr></thead>
        <tbody><${Growing} key=${text + sort} tag="tr" rows=${shown} draw=${(/** @type {Installed} */ m) => html`<${Row} key=${m.name} model=${m} isActive=${m.name === chosen} update=${updates.get(m.name)} />`} /></tbody>
      </table></div>`}`;
}

/** @param {{model: Installed, isActive: boolean, update?: Update}} props */
function Row({ model: m, isActive, update }) {
  const gone = m.missing || m.damaged;
  return html`<tr>
    <th scope="row"><span class="model-name"><${Light} name=${m.name} gone=${gone} /><span><${Link} to=${{ model: m.name }}>${m.name}<//>
      ${m.pinned && html` <${Icon} name="pin" label=${say("page.models.pinned")} />`}
      ${m.aliases.map((a) => html` <span class="badge" key=${a}>${a}</span>`)}
      ${gone && html` <span class="badge bad">${say(m.missing ? "page.models.missing" : "page.models.damaged")}</span>`}
      ${update?.state === "changed" && html` <span class="badge warn">${say("page.models.update.there")}</span>`}</span></span></th>
    <td data-label=${say("page.models.column.format")}><span>${m.format.toUpperCase()}${m.quantisation ? ` · ${m.quantisation}` : ""}</span></td>
    <td class="end num" data-label=${say("page.models.column.size")}>${size(m.size_bytes)}</td>
    <td data-label=${say("page.models.column.owner")}><${Owners} model=${m} /></td>
    <td class="num" data-label=${say("page.models.column.added")}>${m.added_at ? date(m.added_at) : say("page.models.with_house")}</td>
    <td class="num" data-label=${say("page.models.column.used")}>${m.last_used_at ? ago(m.last_used_at) : say("page.models.never")}</td>
    <td class="end deed">${isActive
      ? html`<span class="badge accent"><${Icon} name="check" />${say("page.models.active")}</span>`
      : html`<button type="button" class="button small" disabled=${gone} onClick=${() => activate(m.name).catch(report)}>${say("page.models.activate")}<span class="sr"> ${m.name}</span></button>`}</td>
  </tr>`;
}

/** @param {{name: string, gone: boolean}} props */
export function Light({ name, gone }) {
  use(awake);
  const state = lightOf(name, gone ? "missing" : "asleep");
  return html`<span class="light" data-state=${state} role="img" aria-label=${say(`page.selector.state.${state}`)} title=${say(`page.selector.state.${state}`)}></span>`;
}

/** @param {{model: {source: string, owners: string[]}}} props */
export function Owners({ model }) {
  if (!model.owners.length) return html`<span>${model.source === "adopted" ? say("page.models.owner.other") : say("page.models.owner.house")}</span>`;
  return html`<span class="row tight">${model.source !== "adopted" && html`<span>${say("page.models.owner.house")}</span>`}${model.owners.map((o) => html`<span class="badge" key=${o}>${ownerText(o)}</span>`)}</span>`;
}

/** @param {string} owner */
export const ownerText = (owner) => say(`page.models.owner.${owner}`).replace(/^page\.models\.owner\./, "");
