/** Settings: where this house answers, and whether all is well in it. */
import { get } from "../lib/api.js";
import { say } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { Trouble } from "../lib/load.js";
import { html, render, useState } from "../lib/preact.js";
import { state } from "../lib/state.js";

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<div class="stack loose"><${Addresses} /><${Doctor} /></div>`, place);

function Addresses() {
  const base = location.origin;
  return html`<section class="card"><h2>${say("page.settings.tools")}</h2>
    <dl class="facts">
      <dt>OpenAI</dt><dd><code>${base}/v1</code></dd>
      <dt>Ollama, Anthropic</dt><dd><code>${base}</code></dd>
      <dt>${say("page.settings.version")}</dt><dd class="num">Domicile ${state.version}</dd>
      <dt>${say("page.settings.network")}</dt><dd>${say(state.offline ? "page.settings.offline" : "page.settings.online")}</dd>
    </dl></section>`;
}

/** It asks the Hub whether it answers: only when somebody wants it. */
function Doctor() {
  const [found, setFound] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const look = async () => {
    setBusy(true);
    setError(null);
    try {
      setFound((await get("/domicile/doctor")).checks);
    } catch (trouble) {
      setError(trouble);
    }
    setBusy(false);
  };
  return html`<section class="card stack"><div class="card-head"><h2>${say("page.settings.doctor")}</h2>
      <button type="button" class="button small" disabled=${busy} onClick=${look}>${busy ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="refresh" />`}${say("page.settings.doctor.look")}</button></div>
    <p class="muted">${say("page.settings.doctor.text")}</p>
    ${error && html`<${Trouble} error=${error} />`}
    <div class="stack tight" role="status">${found?.map((c) => html`<div key=${c.check} class="note ${c.well ? "good" : "warn"}"><${Icon} name=${c.well ? "check" : "warn"} /><div class="grow">${c.message}${c.hint && html`<p class="small muted">${c.hint}</p>`}</div></div>`)}</div>
  </section>`;
}
