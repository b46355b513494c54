/** Is all well here? It asks the Hub whether it answers: only when somebody wants it. */
import { get } from "../lib/api.js";
import { say } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { Trouble } from "../lib/load.js";
import { html, useState } from "../lib/preact.js";

export function Doctor() {
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
  return html`<section class="card stack"><div class="card-head"><h2>${say("page.doctor.title")}</h2>
      <button type="button" class="button small" disabled=${busy} onClick=${look}>${busy ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="refresh" />`}${say("page.doctor.look")}</button></div>
    <p class="muted">${say("page.doctor.text")}</p>
    ${error && html`<${Trouble} error=${error} />`}
    <div class="stack tight" role="status">${found?.map((c) => html`<div key=${c.check} class="note ${c.well ? "good" : "warn"}"><${Icon} name=${c.well ? "check" : "warn"} /><div class="grow">${c.message}${c.hint && html`<p class="small muted">${c.hint}</p>`}</div></div>`)}</div>
  </section>`;
}
