/** Models: what lives here. */
import { ago, say, size } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { Shown, useApi } from "../lib/load.js";
import { html, render } from "../lib/preact.js";
import { use } from "../lib/store.js";
import { report } from "../lib/toast.js";
import { activate, active, awake, ended, lightOf } from "../shell/house.js";

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Models} />`, place);

function Models() {
  return html`<div class="stack loose"><${Installed} key=${use(ended).length} /></div>`;
}

function Installed() {
  const found = useApi("/domicile/models");
  const chosen = use(active)?.name;
  use(awake);
  return html`<section class="stack">
    <h2>${say("page.models.installed")}</h2>
    <${Shown} of=${found}>${(/** @type {{models: any[]}} */ { models }) => html`
      <div class="table-wrap"><table class="table folds">
        <thead><tr><th scope="col">${say("page.models.name")}</th><th scope="col">${say("page.models.format")}</th><th scope="col" class="end">${say("page.models.size")}</th><th scope="col">${say("page.models.used")}</th><th scope="col"><span class="sr">${say("page.models.deeds")}</span></th></tr></thead>
        <tbody>${models.map((m) => html`<tr key=${m.name}>
          <th scope="row"><span class="row tight"><span class="light" data-state=${lightOf(m.name, m.missing ? "missing" : "asleep")} aria-hidden="true"></span>${m.name}</span></th>
          <td data-label=${say("page.models.format")}><span>${m.format.toUpperCase()}${m.quantisation ? ` · ${m.quantisation}` : ""}</span></td>
          <td class="end num" data-label=${say("page.models.size")}>${size(m.size_bytes)}</td>
          <td data-label=${say("page.models.used")}>${m.last_used_at ? ago(m.last_used_at) : say("page.models.never")}</td>
          <td class="end">${m.name === chosen
            ? html`<span class="badge accent"><${Icon} name="check" />${say("page.models.active")}</span>`
            : html`<button type="button" class="button small" onClick=${() => activate(m.name).catch(report)}>${say("page.models.activate")}</button>`}</td>
        </tr>`)}</tbody>
      </table></div>
      <p class="small muted">${say("page.models.total", { n: models.length, size: models.reduce((sum, m) => sum + m.size_bytes, 0) })}</p>`}<//>
  </section>`;
}
