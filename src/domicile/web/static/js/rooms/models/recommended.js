/** Models we recommend, by need and by who makes them; the one that suits this machine first. */
import { say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { active, choices, talk } from "../../shell/house.js";
import { CompareBox } from "./chosen.js";
import { firstOf, toneOf } from "./judged.js";
import { Empty, Get, Heading, parametersText, Speed, Verdict } from "./parts.js";
import { go, Link } from "./route.js";

/** @typedef {{id: string, name: string, needs: string[], organisation: string, repository: string, gguf: string | null, quantisation: string | null,
 *   reference: string, best_for: string, size_bytes: number | null, about_bytes: number | null, parameters: number | null, licence: string | null,
 *   context: number | null, year: number | null, here: import("./judged.js").Report | null}} Model */

/** What fits first, what cannot be told last but one. @param {Model} model */
const rankOf = (model) => ({ good: 0, warn: 1, "": 2, bad: 3 })[toneOf(model.here?.verdict ?? "unknown")];

/** @param {{where: import("./where.js").Where}} props */
export function View({ where }) {
  const found = useApi("/domicile/recommended");
  return html`<${Heading}>${say("page.models.recommended.title")}<//>
    <${Shown} of=${found}>${(/** @type {any} */ data) => html`<${Shelves} data=${data} said=${where.said} />`}<//>`;
}

/** @param {{data: {needs: Record<string, string>, organisations: string[], models: Model[]}, said: Record<string, string>}} props */
function Shelves({ data, said }) {
  const [need, organisation] = [said.need ?? "", said.organisation ?? ""];
  /** @param {Record<string, string>} more */
  const filter = (more) => go({ tab: "recommended", said: { ...said, ...more } }, { replace: true });
  const wanted = data.models.filter((m) => (!need || m.needs.includes(need)) && (!organisation || m.organisation === organisation)).sort((a, b) => rankOf(a) - rankOf(b));
  const first = need || organisation ? null : firstOf(data.models);
  return html`
    ${first && html`<${First} model=${first} />`}
    <div class="row between filters">
      <div class="chips" role="group" aria-label=${say("page.models.need")}>
        ${[["", say("page.models.need.all")], ...Object.entries(data.needs)].map(([id, word]) => html`<button type="button" class="chip" key=${id} aria-pressed=${id === need} onClick=${() => filter({ need: id })}>${word}</button>`)}
      </div>
      <label class="row tight small"><span class="muted">${say("page.models.organisation")}</span>
        <select class="input" value=${organisation} onChange=${(/** @type {any} */ e) => filter({ organisation: e.target.value })}>
          <option value="">${say("page.models.organisation.all")}</option>${data.organisations.map((o) => html`<option key=${o} value=${o}>${o}</option>`)}</select></label>
    </div>
    ${wanted.length
      ? html`<ul class="cards">${wanted.map((m) => html`<${Card} key=${m.id} model=${m} needs=${data.needs} />`)}</ul>`
      : html`<${Empty} icon="search" title=${say("page.models.recommended.none")}><p><button type="button" class="button small" onClick=${() => filter({ need: "", organisation: "" })}>${say("page.models.filters.clear")}</button></p><//>`}
    <p class="small muted">${say("page.models.recommended.about")}</p>`;
}

/** @param {{model: Model}} props */
function First({ model }) {
  return html`<section class="card first" aria-labelledby="first-model">
    <div class="grow stack tight">
      <p class="eyebrow">${say("page.models.first")}</p>
      <h3 id="first-model"><${Link} to=${{ repository: model.gguf ?? model.repository }}>${model.name}<//></h3>
      <p>${model.best_for}</p>
      <${Figures} model=${model} />
    </div>
    <div class="row tight"><${Deeds} model=${model} primary=${true} /></div>
  </section>`;
}

/** @param {{model: Model, needs: Record<string, string>}} props */
function Card({ model, needs }) {
  return html`<li class="card model-card">
    <div class="row tight between top-line"><span class="small muted cut">${[model.organisation, model.year, model.licence].filter(Boolean).join(" · ")}</span>${model.here && html`<${Verdict} report=${model.here} />`}</div>
    <h3><${Link} to=${{ repository: model.gguf ?? model.repository }}>${model.name}<//></h3>
    <p class="best">${model.best_for}</p>
    <p class="small muted">${model.needs.map((n) => needs[n]).join(" · ")}</p>
    <${Figures} model=${model} />
    <div class="row between deeds"><${Deeds} model=${model} /><${CompareBox} reference=${model.reference} name=${model.name} /></div>
  </li>`;
}

/** @param {{model: Model}} props */
function Figures({ model }) {
  const { here } = model;
  const about = (/** @type {number} */ bytes) => say("page.models.about", { size: size(bytes) });
  const weight = model.size_bytes ? size(model.size_bytes) : model.about_bytes ? about(model.about_bytes) : null;
  /** @type {[string, any][]} */
  const facts = [
    ["download", weight && html`<span title=${parametersText(model.parameters) ?? ""}>${weight}</span>`],
    ["memory", here?.total_bytes ? about(here.total_bytes) : null],
    ["speed", here && html`<${Speed} speed=${here.tokens_per_second} why=${here.speed_why} />`],
  ];
  return html`<dl class="figures">${facts.filter(([, shown]) => shown).map(([name, shown]) => html`<div key=${name}><dt>${say(`page.models.figure.${name}`)}</dt><dd class="num">${shown}</dd></div>`)}</dl>`;
}

/** @param {{model: Model, primary?: boolean}} props */
function Deeds({ model, primary = false }) {
  const chosen = use(active)?.name;
  const all = use(choices);
  const wanted = [model.reference, model.name].map((n) => n.toLowerCase());
  const mine = all?.installed.find((m) => wanted.includes(m.name.toLowerCase()) || m.aliases.some((a) => wanted.includes(a.toLowerCase())));
  const here = mine && (mine.name === chosen
    ? html`<span class="badge accent"><${Icon} name="check" />${say("page.models.active")}</span>`
    : html`<button type="button" class="button small ${primary ? "primary" : ""}" onClick=${() => talk(mine.name).catch(report)}><${Icon} name="chat" />${say("page.shell.talk")}<span class="sr"> ${model.name}</span></button>`);
  return html`<${Get} reference=${model.reference} name=${model.name} primary=${primary} here=${here} />`;
}
