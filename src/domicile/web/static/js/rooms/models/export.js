/** A model given to Ollama, and its Modelfile. */
import { get, post } from "../../lib/api.js";
import { Dialog, open } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useId, useState } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";
import { go } from "./route.js";

/** @param {{model: {name: string}, at: string, disabled: boolean}} props */
export function Export({ model, at, disabled }) {
  const show = () => get(`${at}/modelfile`).then((found) => open(Modelfile, { text: found.modelfile }), report);
  return html`<section class="card stack tight"><h3>${say("page.models.give")}</h3><p class="small muted">${say("page.models.give.why")}</p>
    <div class="row tight"><button type="button" class="button small" disabled=${disabled} onClick=${() => open(Give, { at, name: model.name })}><${Icon} name="external" />${say("page.models.give.ollama")}</button>
    <button type="button" class="button small" disabled=${disabled} onClick=${show}>Modelfile</button></div></section>`;
}

/** @param {{text: string, close: () => void}} props */
function Modelfile({ text, close }) {
  const copy = () => navigator.clipboard.writeText(text).then(() => toast(say("page.md.copied"), { kind: "good" }), report);
  const save = () => {
    const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    Object.assign(document.createElement("a"), { href: address, download: "Modelfile" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };
  const foot = html`<button type="button" class="button" onClick=${save}><${Icon} name="download" />${say("page.models.save")}</button><button type="button" class="button primary" onClick=${copy}><${Icon} name="copy" />${say("page.md.copy")}</button>`;
  return html`<${Dialog} title="Modelfile" onClose=${close} foot=${foot}><pre class="text-box" tabindex="0">${text}</pre><//>`;
}

/** @param {{at: string, name: string, close: () => void}} props */
function Give({ at, name, close }) {
  const [said, setSaid] = useState({ as: "", via: "auto", force: false });
  const [error, setError] = useState(/** @type {any} */ (null));
  const id = useId();
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    post(`${at}/export`, { to: "ollama", as: said.as.trim() || null, via: said.via, force: said.force }).then(() => (close(), go({ tab: "downloads" })), setError);
  };
  return html`<${Dialog} title=${say("page.models.give.ollama")} onClose=${close} foot=${html`<button type="submit" form=${id} class="button primary">${say("page.models.give.go")}</button>`}>
    <form id=${id} class="stack tight" onSubmit=${submit}>
      <label class="field"><span class="label">${say("page.models.give.as")} <span class="optional">${say("page.common.optional")}</span></span><input class="input" value=${said.as} placeholder=${name.split("/").at(-1)?.toLowerCase()} autocomplete="off" onInput=${(/** @type {any} */ e) => setSaid({ ...said, as: e.target.value })} /></label>
      <label class="field"><span class="label">${say("page.models.give.via")}</span><select class="input" value=${said.via} onChange=${(/** @type {any} */ e) => setSaid({ ...said, via: e.target.value })}>${["auto", "link", "api"].map((v) => html`<option key=${v} value=${v}>${say(`page.models.give.via.${v}`)}</option>`)}</select></label>
      <label class="check"><input type="checkbox" checked=${said.force} onChange=${(/** @type {any} */ e) => setSaid({ ...said, force: e.target.checked })} /><span>${say("page.models.give.force")}</span></label>
      ${error && html`<div class="note bad" role="alert"><${Icon} name="warn" /><div><p>${error.message}</p>${error.hint && html`<p class="small muted">${error.hint}</p>`}</div></div>`}
    </form><//>`;
}
