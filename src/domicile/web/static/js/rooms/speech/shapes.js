/** A transcript as a file: text, SRT, WebVTT, JSON; as `written.py` does it for other programs. */

/** @typedef {import("./index.js").Segment} Segment */

/** @param {number} seconds @param {string} mark */
export function clock(seconds, mark) {
  const all = Math.max(0, Math.floor(seconds * 1000 + 0.5));
  const pad = (/** @type {number} */ n, width = 2) => String(n).padStart(width, "0");
  return `${pad(Math.floor(all / 3600000))}:${pad(Math.floor(all / 60000) % 60)}:${pad(Math.floor(all / 1000) % 60)}${mark}${pad(all % 1000, 3)}`;
}

/** @param {Segment} one */
const line = (one) => one.text.split(/\s+/).join(" ").trim().replaceAll("-->", "->");

/** @param {Segment[]} segments */
export const asText = (segments) => segments.map((s) => s.text).join("").trim();
/** @param {Segment[]} segments */
export const asSrt = (segments) => segments.map((s, n) => `${n + 1}\n${clock(s.start, ",")} --> ${clock(s.end, ",")}\n${line(s)}\n\n`).join("");
/** @param {Segment[]} segments */
export const asVtt = (segments) =>
  `WEBVTT\n\n${segments.map((s) => `${clock(s.start, ".")} --> ${clock(s.end, ".")}\n${line(s).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")}\n\n`).join("")}`;
/** @param {Segment[]} segments @param {object | null} facts */
export const asJson = (segments, facts) => JSON.stringify({ text: asText(segments), ...facts, segments: segments.map(({ id, start, end, text }) => ({ id, start, end, text })) }, null, 1);
