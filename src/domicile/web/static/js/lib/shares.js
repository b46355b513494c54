/** A whole and its parts, as one stacked bar with its legend: bytes of memory, bytes of a disk. */
import { size } from "./i18n.js";
import { html } from "./preact.js";

/** @typedef {{name: string, label: string, bytes: number, free?: boolean}} Part */

/** @param {{parts: Part[], total: number, label: string}} props */
export function Shares({ parts, total, label }) {
  const shown = parts.filter((p) => p.bytes > 0);
  const sum = Math.max(total, shown.reduce((all, p) => all + p.bytes, 0), 1);
  let colour = 0;
  const dressed = shown.map((p) => ({ ...p, tone: p.free ? "free" : String(colour++ % 6) }));
  return html`<figure class="shares">
    <div class="shares-bar" role="img" aria-label=${`${label} ${dressed.map((p) => `${p.label} ${size(p.bytes)}`).join(", ")}`}>
      ${dressed.map((p) => html`<span key=${p.name} data-tone=${p.tone} style=${{ width: `${(100 * p.bytes) / sum}%` }}></span>`)}</div>
    <figcaption><ul class="shares-legend">${dressed.map((p) => html`<li key=${p.name}><span class="swatch" data-tone=${p.tone}></span><span class="cut">${p.label}</span><span class="num">${size(p.bytes)}</span></li>`)}</ul></figcaption>
  </figure>`;
}
