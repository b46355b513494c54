/** A model's chat template, judged; and the end of its log. Each is read when it is opened. */
import { ask } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useState } from "../../lib/preact.js";

/** @param {{at: string}} props */
export function Template({ at }) {
  const [open, setOpen] = useState({ template: false, log: false });
  /** @param {"template" | "log"} name */
  const flip = (name) => (/** @type {any} */ e) => setOpen((before) => ({ ...before, [name]: e.target.open }));
  return html`<details class="card" onToggle=${flip("template")}><summary><h3>${say("page.models.template")}</h3></summary>${open.template && html`<${Text} at=${at} />`}</details>
    <details class="card" onToggle=${flip("log")}><summary><h3>${say("page.models.log")}</h3></summary>${open.log && html`<${Log} at=${at} />`}</details>`;
}

/** @param {{at: string}} props */
function Text({ at }) {
  const found = useApi(`${at}/template`);
  return html`<${Shown} of=${found}>${(/** @type {any} */ t) => html`<div class="stack tight">
    <p class="small">${say(t.used === "file" ? "page.models.template.own" : "page.models.template.ours")}${t.problem && ` ${t.problem}`}</p>
    ${t.example && html`<h4>${say("page.models.template.example")}</h4><pre class="text-box" tabindex="0">${t.example}</pre>`}
    ${t.used_text && html`<h4>${say("page.models.template.text")}</h4><pre class="text-box" tabindex="0">${t.used_text}</pre>`}</div>`}<//>`;
}

/** @param {{at: string}} props */
function Log({ at }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [round, setRound] = useState(0);
  if (text === null) ask(`${at}/log?lines=200`).then((answer) => answer.text()).then(setText, (trouble) => setText(trouble.message));
  return html`<div class="stack tight"><pre class="text-box log" tabindex="0">${text ?? say("page.shell.loading")}</pre>
    <div><button type="button" class="button small" onClick=${() => (setText(null), setRound(round + 1))}>${say("page.models.log.again")}</button></div></div>`;
}
