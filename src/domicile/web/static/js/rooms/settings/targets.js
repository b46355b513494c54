/** Who else may answer: entered, asked for the person's consent one by one, tried, put in order. */
import { patch, post, remove } from "../../lib/api.js";
import { confirm } from "../../lib/dialog.js";
import { number, say } from "../../lib/i18n.js";
import { Shown, useApi } from "../../lib/load.js";
import { html } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";
import { Field, Form } from "./form.js";

export function Targets() {
  const loaded = useApi("/domicile/targets");
  /** @param {any} t @param {boolean} yes */
  const consent = async (t, yes) => {
    if (yes && !(await confirm({ title: say("page.settings.consent", { name: t.name }), text: say("page.settings.consent.text", { url: t.url }), yes: say("page.settings.consent.yes") }))) return;
    await post(`/domicile/targets/${t.name}/consent`, { consent: yes }).then(loaded.again, report);
  };
  /** @param {any} t */
  const test = (t) => post(`/domicile/targets/${t.name}/test`).then((r) => [toast(say("page.settings.tested", { name: t.name, n: r.there.length, t: `${number(r.latency_s * 1000)} ms` }), { kind: "good" }), loaded.again()], report);
  return html`<${Shown} of=${loaded}>${(/** @type {any} */ l) => html`<section class="card stack"><h2>${say("page.settings.strategy")}</h2>
      <div class="stack tight" role="radiogroup" aria-label=${say("page.settings.strategy")}>${l.strategies.map((/** @type {string} */ s) => html`<label class="check" key=${s}><input type="radio" name="strategy" checked=${l.strategy === s} onChange=${() => patch("/domicile/settings", { strategy: s }).then(loaded.again, report)} /><span>${say(`page.settings.strategy.${s}`)}</span></label>`)}</div></section>
    <section class="card stack"><h2>${say("page.settings.targets")}</h2><p class="muted">${say("page.settings.targets.text")}</p>
      ${l.targets.length === 0 ? html`<p class="muted">${say("page.settings.targets.none")}</p>` : html`<ul class="list">${l.targets.map((/** @type {any} */ t, /** @type {number} */ at) => html`<li key=${t.name} class="wrap"><div class="grow"><strong>${t.name}</strong> <span class="badge ${t.consented_at ? "away" : ""}">${say(t.consented_at ? "page.settings.consented" : "page.settings.no_consent")}</span>
          <p class="small muted cut">${t.url}${t.reach ? ` · ${say(`page.settings.reach.${t.reach}`)}` : ""}</p>${t.health && html`<p class="small muted">${t.health.well ? say("page.settings.well") : t.health.problem}</p>`}</div>
        <div class="row tight">${at > 0 && html`<button type="button" class="button small" onClick=${() => post("/domicile/targets/order", { names: [t.name, ...l.targets.slice(0, at).map((/** @type {any} */ o) => o.name)].filter(Boolean) }).then(loaded.again, report)}>${say("page.settings.first")}</button>`}
        ${t.consented_at ? html`<button type="button" class="button small" onClick=${() => test(t)}>${say("page.settings.test")}</button><button type="button" class="button small" onClick=${() => consent(t, false)}>${say("page.settings.withdraw")}</button>` : html`<button type="button" class="button small" onClick=${() => consent(t, true)}>${say("page.settings.allow")}</button>`}
        <button type="button" class="button small danger" onClick=${() => remove(`/domicile/targets/${t.name}`).then(loaded.again, report)}>${say("page.settings.remove.yes")}</button></div></li>`)}</ul>`}</section>
    <section class="card stack"><h2>${say("page.settings.target.add")}</h2><${Form} yes=${say("page.settings.target.add")} send=${(/** @type {any} */ said) => post("/domicile/targets", Object.fromEntries(Object.entries(said).filter(([, v]) => v))).then(loaded.again)}>
      <${Field} name="name" label=${say("page.settings.name")} help=${say("page.settings.target.presets", { names: l.presets.join(", ") })} /><${Field} name="url" label=${say("page.settings.target.url")} required=${false} help="https://…/v1" /><${Field} name="key" type="password" label=${say("page.settings.target.key")} required=${false} help=${say("page.settings.target.key.help")} /><//></section>`}<//>`;
}
