/** A field with its words, as the forms of this room need it; and a form that says what went wrong beside its button. */
import { html, useId, useState } from "../../lib/preact.js";
import { Trouble } from "../../lib/load.js";

/** @param {{name: string, label: string, help?: string, type?: string, value?: string, options?: [string, string][], required?: boolean, autocomplete?: string}} props */
export function Field({ name, label, help, type = "text", value = "", options, required = true, autocomplete = "off" }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${label}</label>
    ${options ? html`<select class="input" id=${id} name=${name}>${options.map(([v, t]) => html`<option key=${v} value=${v} selected=${v === value}>${t}</option>`)}</select>`
      : html`<input class="input" id=${id} name=${name} type=${type} defaultValue=${value} required=${required} autocomplete=${autocomplete} spellcheck=${false} aria-describedby=${help ? `${id}h` : undefined} />`}
    ${help && html`<span class="help" id="${id}h">${help}</span>`}</div>`;
}

/** @param {{send: (said: Record<string, string>) => Promise<unknown>, yes: string, children?: any}} props */
export function Form({ send, yes, children }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      await send(/** @type {any} */ (Object.fromEntries(new FormData(form))));
      form.reset();
    } catch (trouble) {
      setError(trouble);
    }
    setBusy(false);
  };
  return html`<form class="stack" onSubmit=${submit}><div class="fields">${children}</div>
    ${error && html`<${Trouble} error=${error} />`}
    <div><button class="button primary" disabled=${busy}>${yes}</button></div></form>`;
}
