/** An editor, or any other program, asks this house: what to tell it, ready to be copied, and a trial from here. */
import { post } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useEffect, useId, useState } from "../../lib/preact.js";
import { kept, use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { active, choices, refresh } from "../../shell/house.js";
import { PROGRAMS } from "./programs.js";

/** The word that stands for a key where none is asked. */
const ANY = "domicile";
const ELSEWHERE = ["feature-extraction", "text-ranking", "automatic-speech-recognition", "text-to-image", "image-to-image"];
const chosen = kept("program", PROGRAMS[0].id);

/** @param {{closed: boolean}} props `closed`: the house asks everybody for a key */
export function Tools({ closed }) {
  const models = (use(choices)?.installed ?? []).filter((m) => m.state !== "missing" && !ELSEWHERE.includes(m.task ?? ""));
  const [name, setName] = useState(/** @type {string | null} */ (null));
  const [key, setKey] = useState(/** @type {string | null} */ (closed ? null : ANY));
  const program = PROGRAMS.find((p) => p.id === use(chosen)) ?? PROGRAMS[0];
  const model = name ?? use(active)?.name ?? models[0]?.name ?? "";
  const id = useId();
  useEffect(() => void (choices.value ?? refresh().catch(report)), []);
  const make = () => post("/domicile/account/keys", { name: program.name }).then((made) => setKey(made.key), report);
  const facts = { origin: location.origin, model, key: key ?? say("page.settings.tools.your_key") };
  return html`<section class="card stack" aria-labelledby="${id}h"><h2 id="${id}h">${say("page.settings.tools")}</h2>
    <p class="muted">${say("page.settings.tools.text")}</p>
    <div class="fields">
      <div class="field"><label for="${id}p">${say("page.settings.tools.program")}</label><select class="input" id="${id}p" value=${program.id} onChange=${(/** @type {any} */ e) => (chosen.value = e.target.value)}>
        ${PROGRAMS.map((p) => html`<option key=${p.id} value=${p.id}>${p.name}</option>`)}</select></div>
      <div class="field"><label for="${id}m">${say("page.settings.tools.model")}</label><select class="input" id="${id}m" value=${model} onChange=${(/** @type {any} */ e) => setName(e.target.value)}>
        ${(models.length ? models : [{ name: model }]).map((m) => html`<option key=${m.name} value=${m.name}>${m.name}</option>`)}</select></div>
    </div>
    ${closed && key === null && html`<div class="note warn"><${Icon} name="info" /><div class="grow row between"><span class="grow">${say("page.settings.tools.key.needed")}</span>
      <button type="button" class="button small" onClick=${make}>${say("page.settings.key.make")}</button></div></div>`}
    <p>${say(`page.settings.tools.${program.id}`)}</p>
    <div class="code"><div class="code-head"><span>${program.language}</span><${Copy} text=${program.text(facts)} what=${program.name} /></div><pre tabindex="0">${program.text(facts)}</pre></div>
    <${Trial} key=${model} model=${model} />
  </section>
  <section class="card stack"><h2>${say("page.settings.tools.other")}</h2>
    <p class="muted">${say("page.settings.tools.other.text")}</p>
    <dl class="facts tool-facts">${[
      [say("page.settings.tools.address.openai"), `${location.origin}/v1`],
      [say("page.settings.tools.address"), location.origin],
      [say("page.settings.tools.model"), model],
      ...(closed ? (key ? [[say("page.settings.tools.key"), key]] : []) : [[say("page.settings.tools.key"), ANY]]),
    ].map(([what, text]) => html`<dt>${what}</dt><dd class="row tight"><code class="grow">${text}</code><${Copy} text=${text} what=${what} bare=${true} /></dd>`)}</dl>
    <p class="small muted">${say(closed ? "page.settings.tools.key.made" : "page.settings.tools.key.none")}</p></section>`;
}

/** @param {{text: string, what: string, bare?: boolean}} props */
function Copy({ text, what, bare = false }) {
  const copy = () => navigator.clipboard.writeText(text).then(() => toast(say("page.settings.tools.copied", { what }), { kind: "good" }), report);
  const label = say("page.settings.tools.copy", { what });
  return bare
    ? html`<button type="button" class="ghost icon-only small" title=${label} onClick=${copy}><${Icon} name="copy" label=${label} /></button>`
    : html`<button type="button" class="ghost" onClick=${copy}><${Icon} name="copy" />${say("page.settings.copy")}<span class="sr"> ${what}</span></button>`;
}

/** The same question a program would ask, asked from here. @param {{model: string}} props */
function Trial({ model }) {
  const [said, setSaid] = useState(/** @type {{text?: string, error?: any} | null} */ (null));
  const [busy, setBusy] = useState(false);
  const ask = async () => {
    setBusy(true);
    const body = { model, messages: [{ role: "user", content: "Bonjour" }], max_tokens: 40 };
    await post("/v1/chat/completions", body).then((a) => setSaid({ text: a.choices[0].message.content }), (error) => setSaid({ error }));
    setBusy(false);
  };
  return html`<div class="row"><button type="button" class="button small" disabled=${busy || !model} onClick=${ask}>${busy && html`<span class="spinner" aria-hidden="true"></span>`}${say("page.settings.tools.try")}</button>
    <span class="grow small" role="status">${busy ? say("page.settings.tools.asked", { model }) : said?.text !== undefined && html`<${Icon} name="check" /> ${say("page.settings.tools.answered", { model, text: said.text.trim().slice(0, 160) })}`}</span></div>
    ${!busy && said?.error && html`<${Trouble} error=${said.error} />`}`;
}
