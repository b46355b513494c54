/** Which model hears, in which language, and whether it is written in English. */
import { language, say } from "../../lib/i18n.js";
import { html } from "../../lib/preact.js";

/** Whisper's languages, the most spoken ones first on the page by their name. */
const CODES =
  "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh".split(" ");

/** @param {{format: string, task?: string | null}} model */
export const hears = (model) => model.format === "whisper" || (model.format === "safetensors" && model.task === "automatic-speech-recognition");

/** @param {string} code */
export function named(code) {
  try {
    return new Intl.DisplayNames([language()], { type: "language" }).of(code === "jw" ? "jv" : code) ?? code;
  } catch {
    return code;
  }
}

/** @param {{models: {name: string, tab?: boolean}[], wish: import("./index.js").Wish, change: (wish: import("./index.js").Wish) => void}} props */
export function Choose({ models, wish, change }) {
  const languages = CODES.map((code) => ({ code, name: named(code) })).sort((a, b) => a.name.localeCompare(b.name, language()));
  const inTab = (models.find((m) => m.name === wish.model) ?? models[0])?.tab;
  return html`<div class="fields">
    <div class="field"><label for="speech-model">${say("page.speech.model")}</label>
      <select id="speech-model" class="input" value=${wish.model || models[0]?.name} onChange=${(/** @type {any} */ e) => change({ ...wish, model: e.target.value })}>
        ${models.map((m) => html`<option key=${m.name} value=${m.name}>${m.tab ? say("page.speech.in_tab", { name: m.name }) : m.name}</option>`)}
      </select>${inTab && html`<span class="help">${say("page.speech.in_tab.text")}</span>`}</div>
    <div class="field"><label for="speech-language">${say("page.speech.language")}</label>
      <select id="speech-language" class="input" value=${wish.language} onChange=${(/** @type {any} */ e) => change({ ...wish, language: e.target.value })}>
        <option value="">${inTab ? named(language()) : say("page.speech.language.auto")}</option>
        ${languages.map((l) => html`<option key=${l.code} value=${l.code}>${l.name}</option>`)}
      </select></div>
    <label class="check full"><input type="checkbox" checked=${wish.translate} onChange=${(/** @type {any} */ e) => change({ ...wish, translate: e.target.checked })} /><span>${say("page.speech.translate")}</span></label>
  </div>`;
}
