/** The self-test of a model: what the last one found, and another one. */
import { post } from "../../lib/api.js";
import { ago, number, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useState } from "../../lib/preact.js";

/** @param {{model: {name: string, self_test: any}, at: string, disabled: boolean}} props */
export function Trial({ model, at, disabled }) {
  const [found, setFound] = useState(model.self_test);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (null));
  const run = () => {
    setBusy(true);
    setError(null);
    post(`${at}/selftest`).then(setFound, setError).finally(() => setBusy(false));
  };
  return html`<section class="card stack tight" aria-busy=${busy}><div class="row between"><h3>${say("page.models.trial")}</h3>
      <button type="button" class="button small" disabled=${busy || disabled} onClick=${run}>${busy && html`<span class="spinner" aria-hidden="true"></span>`}${say(found ? "page.models.trial.again" : "page.models.trial.run")}</button></div>
    ${error && html`<${Trouble} error=${error} />`}
    ${!found && !error && html`<p class="small muted">${say("page.models.trial.why")}</p>`}
    ${found && html`<div role="status"><ul class="checks">${found.checks.map((/** @type {any} */ c) => html`<li key=${c.check} data-well=${String(c.well)}><${Icon} name=${c.well === null ? "info" : c.well ? "check" : "warn"} /><span>${c.text}</span></li>`)}</ul></div>
      <p class="small muted num">${[found.tokens_per_second && say("page.models.speed.exact", { speed: number(found.tokens_per_second, 1) }), found.at && ago(found.at)].filter(Boolean).join(" · ")}</p>`}
  </section>`;
}
