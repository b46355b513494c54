/** Small pieces that several views of this room draw. */
import { count, number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report as trouble } from "../../lib/toast.js";
import { comingOf, jobs, pull } from "../../shell/house.js";
import { Going } from "../../shell/notices.js";
import { barOf, paceOf, speedOf, toneOf } from "./judged.js";
import { step } from "./route.js";

/** @typedef {import("./judged.js").Report} Report */

/** The heading of a view: it takes the focus when one came here by a link of the room. @param {{children?: any, wide?: boolean}} props */
export function Heading({ children }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (!step.moved) return;
    step.moved = false;
    place.current?.focus({ preventScroll: true });
    const room = /** @type {HTMLElement} */ (document.getElementById("room"));
    room.scrollTop = step.scroll ?? 0;
  }, []);
  return html`<h2 class="view-title" tabindex="-1" ref=${place}>${children}</h2>`;
}

/** @param {{report: {verdict: string, verdict_text: string, why?: string[]}}} props */
export function Verdict({ report }) {
  const tone = toneOf(report.verdict);
  return html`<span class="badge ${tone}" title=${report.why?.[0]}>${tone && html`<${Icon} name=${tone === "good" ? "check" : "warn"} />`}${report.verdict_text}</span>`;
}

/** @param {{speed: {low: number | null, high: number | null}, why?: string}} props */
export function Speed({ speed, why }) {
  const text = speedText(speed);
  return html`<span class="num pace" data-pace=${paceOf(speed) ?? ""} title=${why}>${text ?? html`<span class="muted">${say("page.models.speed.unknown")}</span>`}</span>`;
}

/** @param {{low: number | null, high: number | null}} speed @returns {string | null} */
export function speedText(speed) {
  const found = speedOf(speed);
  if (!found) return null;
  const [low, high] = found.map((n) => number(n, 2));
  return low === high ? say("page.models.speed.exact", { speed: low }) : say("page.models.speed.range", { low, high });
}

/** Weights, context and buffers against what a model may take here. @param {{report: Report, thin?: boolean}} props */
export function Memory({ report }) {
  const bar = barOf(report);
  if (!bar) return html`<span class="muted">${say("page.models.memory.unknown")}</span>`;
  const told = bar.segments.map((s) => `${say(`page.models.memory.${s.part}`)} ${size(s.bytes)}`).join(", ");
  const room = report.available_bytes ? say("page.models.memory.room", { room: report.available_bytes }) : "";
  return html`<span class="memory">
    <span class="bar ${bar.over ? "over" : ""}" role="img" aria-label=${`${told}. ${room}`} title=${`${told}. ${room}`}>
      ${bar.segments.map((s) => html`<span class="part ${s.part}" key=${s.part} style=${{ width: `${(100 * s.share).toFixed(2)}%` }}></span>`)}
      ${bar.mark !== null && html`<span class="mark" style=${{ left: `${(100 * bar.mark).toFixed(2)}%` }}></span>`}
    </span>
    <span class="num">${size(/** @type {number} */ (report.total_bytes))}</span>
  </span>`;
}

/** What the colours of the bars are. @param {{room: number | null}} props */
export function Legend({ room }) {
  return html`<p class="legend small muted">${["weights", "context", "buffers"].map((part) => html`<span key=${part}><i class="part ${part}" aria-hidden="true"></i>${say(`page.models.memory.${part}`)}</span>`)}
    ${room !== null && html`<span><i class="mark" aria-hidden="true"></i>${say("page.models.memory.room", { room })}</span>`}</p>`;
}

/** A button that downloads, the bar while it does, and what stands there afterwards.
 * @param {{reference: string, name?: string, primary?: boolean, here?: any}} props `here`: drawn where it is installed */
export function Get({ reference, name = reference, primary = false, here }) {
  use(jobs);
  const [asked, setAsked] = useState(false);
  const job = comingOf(reference);
  if (job) return html`<div class="get-going"><${Going} job=${job} /></div>`;
  if (here) return here;
  const start = () => {
    setAsked(true);
    pull(reference).catch(trouble).finally(() => setAsked(false));
  };
  return html`<button type="button" class="button small ${primary ? "primary" : ""}" disabled=${asked} title=${say("page.models.get", { name })} onClick=${start}>
    ${asked ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="download" />`}<span class="word">${say("page.common.get")}</span><span class="sr"> ${name}</span></button>`;
}

/** @param {{icon: string, title: string, children?: any}} props what an empty list says, and the next step */
export const Empty = ({ icon, title, children }) => html`<div class="empty card"><${Icon} name=${icon} /><p><strong>${title}</strong></p>${children}</div>`;

/** Rows that are drawn as one comes near them: a thousand cost no more than a screen.
 * @param {{rows: any[], draw: (row: any) => any, by?: number, tag?: string}} props `tag`: the element that watches, within a list or a table */
export function Growing({ rows, draw, by = 60, tag = "li" }) {
  const [shown, setShown] = useState(by);
  const end = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (shown >= rows.length || !end.current) return;
    const watch = new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && setShown((n) => n + by), { rootMargin: "600px" });
    watch.observe(end.current);
    return () => watch.disconnect();
  }, [shown, rows.length]);
  return html`${rows.slice(0, shown).map(draw)}${shown < rows.length && html`<${tag} class="growing" aria-hidden="true" ref=${end}></${tag}>`}`;
}

/** 8 192 as 8K, 131 072 as 128K. @param {number} tokens */
export const contextText = (tokens) => (tokens % 1024 === 0 && tokens >= 1024 ? say("page.models.context.k", { n: tokens / 1024 }) : number(tokens));

/** @param {number | null | undefined} parameters */
export const parametersText = (parameters) => (parameters ? count(parameters) : null);

/** A model's public page, where it has one. @param {{repository: string}} props */
export const OnTheHub = ({ repository }) => html`<a class="small" href=${`https://huggingface.co/${repository}`} target="_blank" rel="noopener noreferrer">${say("page.models.on_the_hub")} <${Icon} name="external" /></a>`;
