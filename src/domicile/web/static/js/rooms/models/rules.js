/** The exact figure beside the rules of thumb people use, and why those are wrong here. */
import { get } from "../../lib/api.js";
import { percent, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { Memory } from "./parts.js";

/** @typedef {import("./judged.js").Report & {engine: {kv_bytes: number | null, compute_bytes: number | null, trouble: string | null} | null, advice: string | null,
 *   rules_of_thumb: {rule: string, bytes: number, error: number, wrong: string}[]}} Opinion */

/** @param {{reference: string, label: string, said: Record<string, string>}} props */
export function Rules({ reference, label, said }) {
  const [found, setFound] = useState(/** @type {Opinion | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [exact, setExact] = useState(false);
  const { context, kv, on } = said;
  useEffect(() => {
    const leave = new AbortController();
    const asked = new URLSearchParams({ model: reference });
    for (const [key, value] of Object.entries({ context, kv, on })) if (value) asked.set(key, value);
    if (!exact || on) asked.set("quick", "true");
    const soon = setTimeout(() => {
      get(`/domicile/fit?${asked}`, { signal: leave.signal }).then(
        (opinion) => (setFound(opinion), setError(null)),
        (trouble) => leave.signal.aborted || setError(trouble),
      );
    }, 250);
    return () => {
      clearTimeout(soon);
      leave.abort();
    };
  }, [reference, context, kv, on, exact]);
  return html`<section class="card stack tight rules" aria-busy=${!found}>
    <div class="card-head"><h3>${say("page.models.rules", { label })}</h3>
      ${!on && !exact && html`<button type="button" class="button small" onClick=${() => setExact(true)}>${say("page.models.rules.ask")}</button>`}</div>
    ${error && html`<${Trouble} error=${error} />`}
    ${!found && !error && html`<p class="loading"><span class="spinner" aria-hidden="true"></span>${say("page.models.rules.reading")}</p>`}
    ${found && html`
      <div class="row"><strong class="grow">${say("page.models.rules.ours")}</strong><${Memory} report=${found} /></div>
      ${exact && !on && (found.engine === null
        ? html`<p class="small muted" role="status"><span class="spinner" aria-hidden="true"></span> ${say("page.models.rules.asking")}</p>`
        : html`<p class="note ${found.engine.trouble ? "" : "good"}" role="status"><${Icon} name=${found.engine.trouble ? "info" : "check"} /><span>${found.engine.trouble ?? found.why.at(-1)}</span></p>`)}
      <ul class="why-list small">${found.why.map((w) => html`<li key=${w}>${w}</li>`)}<li>${found.speed_why}</li></ul>
      ${found.rules_of_thumb.length > 0 && html`<h4>${say("page.models.rules.thumb")}</h4><ul class="list rule-list">${found.rules_of_thumb.map((r) => html`<li key=${r.rule}>
        <code>${say(`page.models.rule.${r.rule}`)}</code><span class="num">${size(r.bytes)}</span><span class="badge ${Math.abs(r.error) > 0.15 ? "warn" : ""}">${r.error > 0 ? "+" : ""}${percent(r.error)}</span><span class="grow small muted">${r.wrong}</span></li>`)}</ul>`}
      ${found.advice && html`<p class="small">${found.advice}</p>`}`}
  </section>`;
}
