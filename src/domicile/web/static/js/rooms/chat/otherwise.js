/** Another answer, by somebody else or with other parameters. */
import { Dialog } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { html, useId, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { choices } from "../../shell/house.js";
import { Parameters } from "./parameters.js";

/** @param {{model: string | null, parameters: Record<string, any>, close: (how?: {model?: string, parameters: Record<string, any>}) => void}} props */
export function Otherwise({ model, parameters, close }) {
  const [values, setValues] = useState(parameters);
  const [name, setName] = useState(model ?? "");
  const installed = use(choices)?.installed.filter((m) => m.state !== "missing") ?? [];
  const id = useId();
  const known = installed.some((m) => m.name === name);
  const foot = html`<button type="button" class="button" onClick=${() => close()}>${say("page.common.cancel")}</button>
    <button type="button" class="button primary" onClick=${() => close({ ...(known ? { model: name } : {}), parameters: values })}>${say("page.chat.again")}</button>`;
  return html`<${Dialog} title=${say("page.chat.again.otherwise")} onClose=${() => close()} foot=${foot}>
    <div class="field"><label for=${id}>${say("page.chat.again.model")}</label>
      <select class="input" id=${id} value=${name} onChange=${(/** @type {any} */ e) => setName(e.target.value)}>
        ${!known && html`<option value=${name}>${name}</option>`}
        ${installed.map((m) => html`<option key=${m.name} value=${m.name}>${m.name}</option>`)}
      </select></div>
    <${Parameters} values=${values} set=${setValues} />
  <//>`;
}
