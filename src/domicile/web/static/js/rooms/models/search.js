/** The Hub's shelves: what was looked for, page after page. What was found is kept while one is in this room. */
import { get } from "../../lib/api.js";
import { ago, count, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { Fit } from "./badges.js";
import { CompareBox } from "./chosen.js";
import { Filters, Order } from "./filters.js";
import { Empty, Heading, parametersText } from "./parts.js";
import { Link } from "./route.js";
import { queryOf } from "./where.js";

/** @typedef {{id: string, author: string, task: string | null, downloads: number | null, likes: number | null, updated: number | null, gated: boolean,
 *   licence: string | null, formats: string[], parameters: number | null, size_bytes: number | null, best: any}} Found */
/** @typedef {{results: Found[], cursor: string | null, stale: boolean, age_s: number, unsuited: number}} Pages */

/** What was found, by query: the back button shows it at once. @type {Map<string, Pages>} */
const kept = new Map();

/** @param {{where: import("./where.js").Where}} props */
export function View({ where }) {
  const { said } = where;
  const query = queryOf(said);
  const [pages, setPages] = useState(/** @type {Pages | null} */ (kept.get(query) ?? null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const [round, setRound] = useState(0);

  /** @param {Pages | null} before @param {AbortSignal} [signal] */
  const more = async (before, signal) => {
    setBusy(true);
    setError(null);
    try {
      const found = await get(`/domicile/search?${queryOf(said, before?.cursor)}`, { signal });
      const seen = new Set(before?.results.map((r) => r.id));
      const now = { ...found, results: [...(before?.results ?? []), ...found.results.filter((/** @type {Found} */ r) => !seen.has(r.id))] };
      now.unsuited += before?.unsuited ?? 0;
      kept.set(query, now);
      setPages(now);
      if (before) requestAnimationFrame(() => /** @type {HTMLElement | null} */ (document.querySelector(`.results > li:nth-child(${before.results.length + 1}) a`))?.focus());
    } catch (trouble) {
      if (!signal?.aborted) setError(trouble);
    } finally {
      if (!signal?.aborted) setBusy(false);
    }
  };
  useEffect(() => {
    const known = kept.get(query);
    setPages(known ?? null);
    if (known && round === 0) return;
    const leave = new AbortController();
    const soon = setTimeout(() => more(null, leave.signal), 60); // filters changed in a row ask once
    return () => {
      clearTimeout(soon);
      leave.abort();
    };
  }, [query, round]);

  const told = pages && [say("page.models.found", { n: pages.results.length }), pages.stale && say("page.models.found.stale"), pages.unsuited > 0 && say("page.models.found.unsuited", { n: pages.unsuited })].filter(Boolean).join(" · ");
  return html`<${Heading}>${say("page.models.search.title")}<//>
    <${Filters} said=${said} />
    <${Order} said=${said}>${told}<//>
    ${error && html`<${Trouble} error=${error} again=${() => (pages ? more(pages) : setRound(round + 1))} />`}
    ${!pages && !error && html`<${Coming} />`}
    ${pages?.results.length === 0 && html`<${Nothing} said=${said} more=${pages.cursor ? () => more(pages) : null} />`}
    ${pages && pages.results.length > 0 && html`<ul class="results" aria-busy=${busy}>${pages.results.map((r) => html`<${Row} key=${r.id} found=${r} />`)}</ul>
      ${pages.cursor && html`<div class="row more"><button type="button" class="button" disabled=${busy} onClick=${() => more(pages)}>${busy && html`<span class="spinner" aria-hidden="true"></span>`}${say("page.models.more")}</button></div>`}`}`;
}

/** @param {{found: Found}} props */
function Row({ found }) {
  const [author, name] = [found.id.slice(0, found.id.indexOf("/")), found.id.slice(found.id.indexOf("/") + 1)];
  const facts = [
    found.task && say(`page.models.task.${found.task}`, {}).replace(/^page\.models\.task\./, ""),
    parametersText(found.parameters),
    found.size_bytes && say("page.models.about", { size: size(found.size_bytes) }),
    found.formats.map((f) => f.toUpperCase()).join(", "),
    found.licence,
  ].filter(Boolean);
  return html`<li class="result">
    <div class="grow">
      <h3><${Link} to=${{ repository: found.id }}><span class="org">${author}/</span>${name}<//>${found.gated && html` <span class="badge warn" title=${say("page.models.gated.why")}>${say("page.models.gated")}</span>`}</h3>
      <p class="small muted facts-line">${facts.join(" · ")}</p>
      <p class="small muted numbers">
        ${found.downloads !== null && html`<span title=${say("page.models.downloads.why")}><${Icon} name="download" /><span class="sr">${say("page.models.downloads")} </span>${count(found.downloads)}</span>`}
        ${found.likes !== null && html`<span><${Icon} name="star" /><span class="sr">${say("page.models.likes")} </span>${count(found.likes)}</span>`}
        ${found.updated && html`<span>${say("page.models.updated", { when: ago(found.updated) })}</span>`}
      </p>
    </div>
    <div class="result-end"><${Fit} repository=${found.id} best=${found.best} able=${found.formats.includes("gguf")} /><${CompareBox} reference=${found.id} /></div>
  </li>`;
}

/** @param {{said: Record<string, string>, more: (() => void) | null}} props */
function Nothing({ said, more }) {
  const fewer = Object.keys(said).some((name) => !["text", "sort", "limit"].includes(name));
  return html`<${Empty} icon="search" title=${say("page.models.nothing")}><p>${say("page.models.nothing.hint")}</p>
    <p class="row centre">${fewer && html`<${Link} class="button small" to=${{ tab: "search", said: { text: said.text ?? "" } }}>${say("page.models.filters.clear")}<//>`}
      ${more && html`<button type="button" class="button small" onClick=${more}>${say("page.models.more")}</button>`}
      <${Link} class="button small" to=${{ tab: "recommended" }}>${say("page.models.tab.recommended")}<//></p><//>`;
}

/** Rows that are coming, in their place. */
const Coming = () => html`<div role="status" aria-label=${say("page.shell.loading")}><ul class="results" aria-hidden="true">${[1, 2, 3, 4].map((n) => html`<li class="result pending" key=${n}><div class="grow"><span class="bone"></span><span class="bone short"></span></div></li>`)}</ul></div>`;
