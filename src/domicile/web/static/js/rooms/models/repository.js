/** A repository, whole: what it is, every variant against this machine (or another), and what its makers say of it. */
import { get } from "../../lib/api.js";
import { ago, count, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { Card } from "./card.js";
import { CompareBox } from "./chosen.js";
import { Controls } from "./controls.js";
import { Empty, Heading, Legend, OnTheHub } from "./parts.js";
import { go, Link } from "./route.js";
import { Rules } from "./rules.js";
import { Variants } from "./variants.js";

/** @typedef {import("./judged.js").Report & {label: string, quantisation: string | null, size_bytes: number, files: string[], bits_per_weight: number, quality_loss: number | null}} Variant */
/** @typedef {{repository: string, commit: string, gated: boolean, licence: string | null, author: string | null, task: string | null, downloads: number | null, likes: number | null,
 *   updated: number | null, scan: {verdict: string, issues: {path: string, verdict: string}[], runs_code: string[]} | null, scan_text: string | null, age_s: number,
 *   best: string | null, reason: {text: string}, variants: Variant[]}} Repository */

/** @param {{where: import("./where.js").Where}} props */
export function View({ where }) {
  const name = /** @type {string} */ (where.repository);
  const { context, kv, on, variant } = where.said;
  const [table, setTable] = useState(/** @type {Repository | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [round, setRound] = useState(0);
  useEffect(() => {
    const leave = new AbortController();
    const asked = new URLSearchParams({ model: name, fresh: "300" });
    for (const [key, value] of Object.entries({ context, kv, on })) if (value) asked.set(key, value);
    get(`/domicile/repository?${asked}`, { signal: leave.signal }).then(
      (found) => (setTable(found), setError(null)),
      (trouble) => leave.signal.aborted || setError(trouble),
    );
    return () => leave.abort();
  }, [name, context, kv, on, round]);

  /** @param {Record<string, string>} more */
  const set = (more) => go({ repository: name, said: { ...where.said, ...more } }, { replace: true });
  const slash = name.indexOf("/");
  const chosen = table?.variants.find((v) => v.label === variant) ?? table?.variants.find((v) => v.label === table.best) ?? table?.variants[0];
  return html`
    <div class="stack tight">
      <p class="small"><${Link} to=${{ tab: "search", said: {} }}>${say("page.models.tab.search")}<//> <span class="muted" aria-hidden="true">›</span> <${Link} to=${{ tab: "search", said: { author: name.slice(0, slash) } }}>${name.slice(0, slash)}<//></p>
      <${Heading}><span class="org">${name.slice(0, slash + 1)}</span>${name.slice(slash + 1)}<//>
      ${table && html`<${About} of=${table} />`}
    </div>
    ${error && html`<${Trouble} error=${error} again=${() => setRound(round + 1)} />`}
    ${!table && !error && html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.models.repository.reading")}</p>`}
    ${table && html`
      <${Scan} of=${table} />
      ${table.variants.length === 0
        ? html`<${NoVariant} of=${table} />`
        : html`
          <section class="card stack">
            <${Controls} said=${where.said} set=${set} variants=${table.variants} />
          </section>
          <section class="stack tight">
            <div class="row between"><h3>${say("page.models.variants", { n: table.variants.length })}</h3><${Legend} room=${table.variants[0].available_bytes} /></div>
            ${table.best && html`<p class="note good"><${Icon} name="star" /><span>${table.reason.text}</span></p>`}
            ${!table.best && html`<p class="note warn"><${Icon} name="warn" /><span>${table.reason.text}</span></p>`}
            <${Variants} table=${table} chosen=${chosen?.label ?? null} choose=${(/** @type {string} */ label) => set({ variant: label })} elsewhere=${on ?? null} />
          </section>
          ${chosen && html`<${Rules} key=${chosen.label} reference=${`${name}:${chosen.label}`} label=${chosen.label} said=${where.said} />`}`}
      <${Card} repository=${name} />`}`;
}

/** @param {{of: Repository}} props */
function About({ of: r }) {
  return html`<div class="row tight about">
      ${r.gated && html`<span class="badge warn" title=${say("page.models.gated.why")}>${say("page.models.gated")}</span>`}
      <span class="badge" title=${say("page.models.figure.licence")}>${r.licence ?? say("page.models.licence.none")}</span>
      ${r.task && html`<span class="badge">${say(`page.models.task.${r.task}`).replace(/^page\.models\.task\./, "")}</span>`}
      <span class="small muted numbers">
        ${r.downloads !== null && html`<span title=${say("page.models.downloads.why")}><${Icon} name="download" /><span class="sr">${say("page.models.downloads")} </span>${count(r.downloads)}</span>`}
        ${r.likes !== null && html`<span><${Icon} name="star" /><span class="sr">${say("page.models.likes")} </span>${count(r.likes)}</span>`}
        ${r.updated && html`<span>${say("page.models.updated", { when: ago(r.updated) })}</span>`}
      </span>
      <span class="grow"></span>
      <${CompareBox} reference=${r.repository} />
      <${OnTheHub} repository=${r.repository} />
    </div>
    ${r.gated && html`<p class="small muted">${say("page.models.gated.how")}</p>`}
    ${r.age_s > 600 && html`<p class="small muted">${say("page.models.found.stale")}</p>`}`;
}

/** What the Hub's own scan says, and which files could run code. @param {{of: Repository}} props */
function Scan({ of }) {
  if (!of.scan) return null;
  const tone = { safe: "good", unscanned: "", caution: "warn" }[of.scan.verdict] ?? "bad";
  return html`<div class="note ${tone}"><${Icon} name=${tone === "good" ? "check" : tone ? "warn" : "info"} /><div class="grow">
    <p>${of.scan_text}</p>
    ${of.scan.runs_code.length > 0 && html`<p>${say("page.models.scan.runs_code", { n: of.scan.runs_code.length })}</p>`}
    ${(of.scan.issues.length > 0 || of.scan.runs_code.length > 0) && html`<details class="small"><summary>${say("page.models.scan.files")}</summary>
      <ul class="plain">${[...new Set([...of.scan.issues.map((i) => i.path), ...of.scan.runs_code])].slice(0, 100).map((path) => html`<li key=${path}><code>${path}</code></li>`)}</ul></details>`}
  </div></div>`;
}

/** Nothing that runs here: say so, and look for the same model as GGUF. @param {{of: Repository}} props */
function NoVariant({ of }) {
  const text = of.repository.slice(of.repository.indexOf("/") + 1);
  return html`<${Empty} icon="models" title=${say("page.models.variants.none")}><p>${say("page.models.variants.none.hint")}</p>
    <p><${Link} class="button small" to=${{ tab: "search", said: { text, format: "gguf" } }}>${say("page.models.variants.none.look")}<//></p><//>`;
}
