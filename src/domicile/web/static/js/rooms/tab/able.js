/** The models that live in the house: which of them this browser can run, loaded and unloaded one at a time. */
import { engineOf, IN_TAB, load, now, unload } from "../../engines/index.js";
import { percent, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { Going } from "./going.js";

/** @typedef {import("../../engines/types.js").Ability} Ability */

/** @param {{models: import("../../engines/types.js").Model[], kept: import("../../engines/types.js").Kept[], share: number[]}} props */
export function Able({ models, kept, share }) {
  const [abilities, setAbilities] = useState(/** @type {Record<string, Ability>} */ ({}));
  useEffect(() => {
    Promise.all(IN_TAB.map(async (name) => [name, await (await engineOf(name)).able()])).then((all) => setAbilities(Object.fromEntries(all)));
  }, []);
  const [slow, quick] = share;
  return html`<section class="stack">
    <h2>${say("page.tab.models")}</h2>
    <p class="muted">${say("page.tab.speed", { from: percent(slow), to: percent(quick) })}</p>
    ${!models.length && html`<p class="empty">${say("page.tab.models.none")}</p>`}
    ${models.length > 0 && html`<div class="table-wrap"><table class="table folds">
      <thead><tr><th scope="col">${say("page.tab.name")}</th><th scope="col">${say("page.tab.engine")}</th><th scope="col" class="end">${say("page.tab.size")}</th><th scope="col"><span class="sr">${say("page.tab.deeds")}</span></th></tr></thead>
      <tbody>${models.map((m) => html`<${Row} key=${m.name} model=${m} ability=${m.engine ? abilities[m.engine] : undefined} kept=${kept.some((k) => k.name === m.name && k.whole)} />`)}</tbody>
    </table></div>`}
    <${Means} abilities=${abilities} />
  </section>`;
}

/** @param {{model: import("../../engines/types.js").Model, ability: Ability | undefined, kept: boolean}} props */
function Row({ model, ability, kept }) {
  const { model: current, phase } = use(now);
  const mine = current === model.name;
  const why = model.why ?? (ability && !ability.able ? ability.why : null);
  return html`<tr>
    <th scope="row">${model.name}${why && html`<span class="why small muted">${say(`page.error.tab.${why}`, { name: model.name, size: model.size_bytes })}</span>`}
      ${mine && phase === "loading" && html`<${Going} />`}</th>
    <td data-label=${say("page.tab.engine")}>${say(`page.tab.engine.${model.engine}`)}</td>
    <td class="end num" data-label=${say("page.tab.size")}>${size(model.size_bytes)}</td>
    <td class="end"><span class="row tight">
      ${kept && html`<span class="badge good"><${Icon} name="check" />${say("page.tab.kept.badge")}</span>`}
      ${mine
        ? html`<button type="button" class="button small" onClick=${() => unload().catch(report)}>${say(phase === "loading" ? "page.tab.stop" : "page.tab.unload")}</button>`
        : html`<button type="button" class="button small" disabled=${!!why || !ability} onClick=${() => load(model.name).catch(report)}>${say("page.tab.load")}<span class="sr"> ${model.name}</span></button>`}
    </span></td>
  </tr>`;
}

/** What this browser can compute with. @param {{abilities: Record<string, Ability>}} props */
function Means({ abilities }) {
  const gpu = abilities.webllm;
  if (!gpu) return null;
  return html`<dl class="facts">
    <dt>WebGPU</dt><dd>${gpu.able ? say("page.tab.webgpu.yes") : say(`page.error.tab.${gpu.why}`)}</dd>
    <dt>${say("page.tab.threads")}</dt><dd>${say(crossOriginIsolated ? "page.tab.threads.many" : "page.tab.threads.one", { n: navigator.hardwareConcurrency || 1 })}</dd>
  </dl>`;
}
