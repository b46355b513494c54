/** Models for a task: those that live here, and those we recommend. Shared by the rooms of pictures and speech. */
import { count, say, size } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { Shown, useApi } from "../lib/load.js";
import { html, useEffect } from "../lib/preact.js";
import { use } from "../lib/store.js";
import { report } from "../lib/toast.js";
import { choices, comingOf, jobs, pull, refresh } from "../shell/house.js";
import { Going } from "../shell/notices.js";

/** @param {{need: string, tasks: string[], intro: string}} props */
export function Able({ need, tasks, intro }) {
  const all = use(choices);
  const found = useApi(`/domicile/recommended?need=${need}`);
  useEffect(() => void refresh().catch(report), []);
  const here = all?.installed.filter((m) => tasks.includes(m.task ?? "")) ?? [];
  return html`<div class="stack loose">
    <p class="muted">${intro}</p>
    ${here.length > 0 && html`<section class="stack"><h2>${say("page.common.here")}</h2><ul class="cards">${here.map((m) => html`<li class="card" key=${m.name}><h3>${m.name}</h3><p class="muted num">${size(m.size_bytes)}</p></li>`)}</ul></section>`}
    <section class="stack"><h2>${say("page.common.recommended")}</h2>
      <${Shown} of=${found}>${(/** @type {{models: any[]}} */ { models }) => html`<ul class="cards">${models.map((m) => html`<${Card} key=${m.id} model=${m} />`)}</ul>`}<//></section>
  </div>`;
}

/** @param {{model: any}} props */
function Card({ model }) {
  use(jobs);
  const job = comingOf(model.reference);
  const facts = [model.organisation, model.size_bytes ? size(model.size_bytes) : model.parameters && count(model.parameters), model.licence].filter(Boolean);
  return html`<li class="card stack tight"><h3>${model.name}</h3><p>${model.best_for}</p><p class="muted small">${facts.join(" · ")}</p>
    ${job ? html`<${Going} job=${job} />` : html`<div><button type="button" class="button small" onClick=${() => pull(model.reference).catch(report)}><${Icon} name="download" />${say("page.common.get")}<span class="sr"> ${model.name}</span></button></div>`}</li>`;
}
