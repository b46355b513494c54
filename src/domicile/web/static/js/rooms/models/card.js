/** What a repository says of itself: sanitised by the house, and once more here; nothing in it is fetched. */
import { get } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { purified } from "../../lib/md-rules.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";

/** @param {{repository: string}} props */
export function Card({ repository }) {
  const [card, setCard] = useState(/** @type {{html: string, cut: boolean} | null} */ (null));
  const [state, setState] = useState("");
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const leave = new AbortController();
    get(`/domicile/repository/card?quiet=true&model=${encodeURIComponent(repository)}`, { signal: leave.signal }).then(setCard, (trouble) => leave.signal.aborted || setState(trouble.message));
    return () => leave.abort();
  }, [repository]);
  useEffect(() => {
    if (!card || !place.current) return;
    const made = purified(card.html);
    for (const heading of made.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
      // Its headings stand below ours.
      const lower = document.createElement(`h${Math.min(6, Number(heading.tagName[1]) + 3)}`);
      lower.append(...heading.childNodes);
      if (lower.textContent?.trim()) heading.replaceWith(lower);
      else heading.remove();
    }
    for (const pre of made.querySelectorAll("pre, table")) /** @type {HTMLElement} */ (pre).tabIndex = 0;
    place.current.replaceChildren(made);
  }, [card]);
  return html`<section class="card model-says"><div class="card-head"><h3>${say("page.models.card")}</h3><span class="small muted">${say("page.models.card.why")}</span></div>
    ${card && !card.html && html`<p class="muted small">${say("page.models.card.none")}</p>`}
    ${!card && html`<p class="muted small">${state || say("page.shell.loading")}</p>`}
    <div class="prose" ref=${place}></div>
    ${card?.cut && html`<p class="small muted">${say("page.models.card.cut")}</p>`}</section>`;
}
