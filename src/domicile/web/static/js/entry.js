/** The door beyond this machine: sign in; or, the first time, make the first account with the code the house printed. */
import { ask } from "./lib/api.js";
import { say } from "./lib/i18n.js";
import { Trouble } from "./lib/load.js";
import { html, render, useId, useRef, useState } from "./lib/preact.js";
import { state } from "./lib/state.js";

const island = /** @type {HTMLElement} */ (document.getElementById("island"));
const first = Boolean(/** @type {any} */ (state).first);
island.replaceChildren();
render(html`<${Entry} />`, island);
island.removeAttribute("aria-busy");

function Entry() {
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const what = first ? "first" : "sign-in";

  /** @param {Event} event */
  const enter = async (event) => {
    event.preventDefault();
    const said = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (form.current)));
    setBusy(true);
    setError(null);
    try {
      await ask(`/domicile/account/${what}`, { json: said });
      location.reload();
    } catch (trouble) {
      setError(trouble);
      setBusy(false);
      /** @type {HTMLInputElement | null} */ (form.current?.querySelector(first ? "[name=code]" : "[name=password]"))?.focus();
    }
  };
  return html`<form ref=${form} class="stack" onSubmit=${enter}>
    <h1>${first ? say("page.entry.first") : say("page.entry.title")}</h1>
    <p class="muted">${first ? say("page.entry.first.text") : say("page.entry.text")}</p>
    ${first && html`<${Field} name="code" label=${say("page.entry.code")} help=${say("page.entry.code.help")} autocomplete="one-time-code" mono />`}
    <${Field} name="name" label=${say("page.entry.name")} autocomplete="username" />
    <${Field} name="password" label=${say("page.entry.password")} type="password" autocomplete=${first ? "new-password" : "current-password"} help=${first ? say("page.entry.password.help") : null} />
    ${error && html`<${Trouble} error=${error} />`}
    <button class="button primary" disabled=${busy}>${busy && html`<span class="spinner" aria-hidden="true"></span>`}${first ? say("page.entry.make") : say("page.entry.in")}</button>
  </form>`;
}

/** @param {{name: string, label: string, help?: string | null, type?: string, autocomplete: string, mono?: boolean}} props */
function Field({ name, label, help = null, type = "text", autocomplete, mono = false }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${label}</label>
    <input class="input ${mono ? "code-input" : ""}" id=${id} name=${name} type=${type} required autocomplete=${autocomplete} autocapitalize="none" spellcheck=${false} aria-describedby=${help ? `${id}-help` : undefined} />
    ${help && html`<span class="help" id="${id}-help">${help}</span>`}</div>`;
}
