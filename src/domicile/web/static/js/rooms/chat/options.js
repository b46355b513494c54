/** The settings of the conversation: what the model is told first, its parameters, presets, and who may answer. */
import { get, patch, post, remove } from "../../lib/api.js";
import { Dialog } from "../../lib/dialog.js";
import { list, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useId, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { choices, refresh } from "../../shell/house.js";
import { Parameters } from "./parameters.js";
import { beginning, current } from "./room.js";

/** @typedef {{id: string, name: string, system: string | null, parameters: Record<string, any>, model: string | null}} Preset */

const WAYS = ["home", "home-then-away", "away"];

/** @param {{close: () => void}} props */
export function Options({ close }) {
  const talk = current.value;
  const before = talk?.chat.value ?? beginning.value;
  const [system, setSystem] = useState(before.system ?? "");
  const [parameters, setParameters] = useState(before.parameters);
  const [strategy, setStrategy] = useState(before.strategy);
  const [wrong, setWrong] = useState("");
  const id = useId();
  const keep = async () => {
    const values = { system: system.trim() || null, parameters, strategy };
    try {
      if (talk) await talk.change(values);
      else beginning.value = { ...beginning.value, ...values };
      close();
    } catch (trouble) {
      setWrong(/** @type {Error} */ (trouble).message);
    }
  };
  const reset = () => {
    setSystem("");
    setParameters({});
    setStrategy(null);
  };
  const foot = html`<button type="button" class="ghost" onClick=${reset}><${Icon} name="refresh" />${say("page.chat.set.reset")}</button><span class="grow"></span>
    <button type="button" class="button" onClick=${close}>${say("page.common.cancel")}</button>
    <button type="button" class="button primary" onClick=${keep}>${say("page.chat.keep")}</button>`;
  return html`<${Dialog} title=${say("page.chat.options")} onClose=${close} foot=${foot}>
    <p class="small muted">${say(talk ? "page.chat.options.this" : "page.chat.options.next")}</p>
    <${Presets} system=${system} parameters=${parameters} pick=${(/** @type {Preset} */ p) => (setSystem(p.system ?? ""), setParameters(p.parameters))} />
    <div class="field"><label for=${id}>${say("page.chat.system")}</label>
      <textarea class="input" id=${id} data-first rows="4" value=${system} placeholder=${say("page.chat.system.example")} onInput=${(/** @type {any} */ e) => setSystem(e.target.value)}></textarea></div>
    <${Parameters} values=${parameters} set=${setParameters} />
    <${Strategy} chosen=${strategy} set=${setStrategy} />
    ${wrong && html`<p class="note bad" role="alert"><${Icon} name="warn" />${wrong}</p>`}
  <//>`;
}

/** @param {{chosen: string | null, set: (way: string) => void}} props */
function Strategy({ chosen, set }) {
  const all = use(choices);
  useEffect(() => void refresh().catch(report), []);
  const targets = all?.away.map((t) => t.name) ?? [];
  const now = chosen ?? all?.strategy ?? "home";
  return html`<fieldset class="ways"><legend>${say("page.chat.who")}</legend>
    ${WAYS.map((way) => html`<label class="check" key=${way}><input type="radio" name="strategy" value=${way} checked=${now === way} disabled=${way !== "home" && !targets.length} onChange=${() => set(way)} />
      <span>${say(`page.chat.who.${way}`)}<span class="small muted"> ${say(`page.chat.who.${way}.help`)}</span></span></label>`)}
    <p class="small muted">${all && (targets.length ? say("page.chat.who.consented", { targets: list(targets) }) : say("page.chat.who.nobody"))} <a href="/settings">${say("page.chat.who.settings")}</a></p>
  </fieldset>`;
}

/** @param {{system: string, parameters: Record<string, any>, pick: (preset: Preset) => void}} props */
function Presets({ system, parameters, pick }) {
  const [all, setAll] = useState(/** @type {Preset[]} */ ([]));
  const [chosen, setChosen] = useState("");
  const [name, setName] = useState(/** @type {string | null} */ (null));
  const [select, field] = [useId(), useId()];
  const load = () => get("/domicile/chats/presets").then((found) => setAll(found.presets), report);
  useEffect(() => void load(), []);
  const values = { system: system.trim() || null, parameters };
  /** @param {string} id */
  const choose = (id) => {
    setChosen(id);
    const found = all.find((p) => p.id === id);
    if (found) pick(found);
  };
  /** @param {Promise<any>} deed @param {string} [word] */
  const then = (deed, word) => deed.then(async (made) => (await load(), setName(null), word && toast(word, { kind: "good" }), made)).catch(report);
  const add = () => then(post("/domicile/chats/presets", { name, ...values })).then((made) => made && setChosen(made.id));
  return html`<div class="field"><label for=${select}>${say("page.chat.preset")}</label>
    <div class="row tight">
      <select class="input grow" id=${select} value=${chosen} onChange=${(/** @type {any} */ e) => choose(e.target.value)}>
        <option value="">${say(all.length ? "page.chat.preset.none" : "page.chat.preset.empty")}</option>
        ${all.map((p) => html`<option key=${p.id} value=${p.id}>${p.name}</option>`)}
      </select>
      ${chosen && html`<button type="button" class="button small" onClick=${() => then(patch(`/domicile/chats/presets/${chosen}`, values), say("page.chat.preset.kept"))}>${say("page.chat.preset.update")}</button>
        <button type="button" class="ghost icon-only" onClick=${() => then(remove(`/domicile/chats/presets/${chosen}`)).then(() => setChosen(""))}><${Icon} name="trash" label=${say("page.chat.preset.delete")} /></button>`}
      ${!chosen && name === null && html`<button type="button" class="button small" onClick=${() => setName("")}>${say("page.chat.preset.add")}</button>`}
    </div>
    ${name !== null && html`<div class="row tight"><input class="input grow" id=${field} maxlength="200" value=${name} aria-label=${say("page.chat.preset.name")} placeholder=${say("page.chat.preset.name")} onInput=${(/** @type {any} */ e) => setName(e.target.value)} />
      <button type="button" class="button small" disabled=${!name.trim()} onClick=${add}>${say("page.chat.keep")}</button></div>`}
  </div>`;
}
