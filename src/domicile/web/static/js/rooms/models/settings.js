/** How a model is woken here: each setting with its value, who chose it and why; any of them can be overridden. */
import { patch } from "../../lib/api.js";
import { say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useState } from "../../lib/preact.js";
import { report } from "../../lib/toast.js";

/** @typedef {{name: string, value: any, by: string, why: string}} Setting */

/** @param {{at: string}} props */
export function Settings({ at }) {
  const found = useApi(`${at}/settings`);
  const [changed, setChanged] = useState(/** @type {any} */ (null));
  return html`<section class="card stack tight"><h3>${say("page.models.settings")}</h3><p class="small muted">${say("page.models.settings.why")}</p>
    <${Shown} of=${found}>${(/** @type {any} */ data) => html`<div class="table-wrap flat"><table class="table folds settings-table"><caption class="sr">${say("page.models.settings")}</caption>
      <thead><tr><th scope="col">${say("page.models.setting.name")}</th><th scope="col">${say("page.models.setting.value")}</th><th scope="col">${say("page.models.setting.why")}</th></tr></thead>
      <tbody>${(changed ?? data).settings.map((/** @type {Setting} */ s) => html`<${Row} key=${s.name} setting=${s} at=${at} done=${setChanged} />`)}</tbody></table></div>`}<//></section>`;
}

/** @param {{setting: Setting, at: string, done: (now: any) => void}} props */
function Row({ setting: s, at, done }) {
  const [said, setSaid] = useState(/** @type {string | null} */ (null));
  const word = say(`page.models.setting.${s.name}`).replace(/^page\.models\.setting\./, "");
  /** @param {string | null} value */
  const set = (value) => patch(at + "/settings", { [s.name]: value }).then((now) => (done(now), setSaid(null)), report);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    set(said?.trim() || null);
  };
  return html`<tr><th scope="row">${word}</th>
    <td data-label=${say("page.models.setting.value")}>${said === null
      ? html`<span class="row tight nowrap"><code>${shown(s)}</code><button type="button" class="ghost icon-only small" onClick=${() => setSaid(String(s.value ?? ""))}><${Icon} name="edit" label=${say("page.models.setting.edit", { name: word })} /></button></span>`
      : html`<form class="row tight nowrap" onSubmit=${submit}><input class="input narrow" value=${said} aria-label=${word} ref=${(/** @type {HTMLElement | null} */ e) => e?.focus()} onInput=${(/** @type {any} */ e) => setSaid(e.target.value)} onKeyDown=${(/** @type {KeyboardEvent} */ e) => e.key === "Escape" && setSaid(null)} /><button type="submit" class="button small">${say("page.models.save")}</button></form>`}</td>
    <td class="small muted setting-why"><span>${s.by === "house" ? s.why : html`<span class="badge accent">${say("page.models.setting.yours")}</span> <button type="button" class="link small" onClick=${() => set(null)}>${say("page.models.setting.back")}<span class="sr"> ${word}</span></button>`}</span></td></tr>`;
}

/** @param {Setting} s */
function shown(s) {
  if (s.name === "cache" && typeof s.value === "number") return s.value ? size(s.value) : "0";
  if (typeof s.value === "boolean") return say(s.value ? "page.models.on_" : "page.models.off_");
  if (s.value === null || (Array.isArray(s.value) && !s.value.length)) return "–";
  return Array.isArray(s.value) ? s.value.join(", ") : String(s.value);
}
