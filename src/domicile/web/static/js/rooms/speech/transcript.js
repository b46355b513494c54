/** What was heard: each segment with its time, which plays it, and its text, which can be changed; and the ways out. */
import { post } from "../../lib/api.js";
import { duration, number, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useRef } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";
import { named } from "./choose.js";
import { asJson, asSrt, asText, asVtt, clock } from "./shapes.js";

/** @typedef {import("./index.js").Segment} Segment */

/** @param {{sound: {file: File, url: string}, segments: Segment[], change: (segments: Segment[]) => void, going: boolean,
 *   facts: {language?: string, duration?: number, speed?: number} | null}} props */
export function Transcript({ sound, segments, change, facts, going }) {
  const player = useRef(/** @type {HTMLAudioElement | null} */ (null));
  /** @param {Segment} one */
  const play = (one) => {
    if (!player.current) return;
    player.current.currentTime = one.start;
    player.current.play().catch(() => {});
  };
  /** @param {number} id @param {string} text */
  const edit = (id, text) => change(segments.map((s) => (s.id === id ? { ...s, text: ` ${text}` } : s)));
  const about = facts && [facts.language && named(facts.language), facts.duration && duration(Math.round(facts.duration)), facts.speed && say("page.speech.speed", { speed: number(facts.speed) })].filter(Boolean).join(" · ");
  return html`<section class="card stack" aria-label=${say("page.speech.text")}>
    <audio ref=${player} class="speech-player" controls src=${sound.url} aria-label=${sound.file.name}></audio>
    ${about && html`<p class="small muted num">${about}</p>`}
    ${facts && !segments.length && !going && html`<p class="muted" role="status">${say("page.speech.nothing")}</p>`}
    ${segments.length > 0 &&
    html`<ol class="speech-segments">${segments.map(
        (s) => html`<li key=${s.id}><button type="button" class="ghost small num" onClick=${() => play(s)} aria-label=${say("page.speech.play", { time: clock(s.start, ".") })}>${clock(s.start, ".").slice(0, 8)}</button>
          <textarea class="input" rows=${Math.max(1, Math.ceil(s.text.length / 80))} aria-label=${say("page.speech.segment", { time: clock(s.start, ".") })} value=${s.text.trim()} onInput=${(/** @type {any} */ e) => edit(s.id, e.target.value)}></textarea></li>`,
      )}</ol>
      <${Ways} name=${sound.file.name} segments=${segments} facts=${facts} />`}
  </section>`;
}

/** @param {{name: string, segments: Segment[], facts: object | null}} props */
function Ways({ name, segments, facts }) {
  const stem = name.replace(/\.[^.]*$/, "") || "text";
  /** @param {string} ending @param {string} body @param {string} type */
  const save = (ending, body, type) => {
    const url = URL.createObjectURL(new Blob([body], { type }));
    const link = Object.assign(document.createElement("a"), { href: url, download: `${stem}.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const copy = () => navigator.clipboard.writeText(asText(segments)).then(() => toast(say("page.speech.copied"), { kind: "good" }), report);
  const talk = async () => {
    try {
      const chat = await post("/domicile/chats", { title: stem.slice(0, 100) });
      await post(`/domicile/chats/${encodeURIComponent(chat.id)}/messages`, { messages: [{ role: "user", text: asText(segments) }] });
      location.assign(`/?chat=${encodeURIComponent(chat.id)}`);
    } catch (trouble) {
      report(trouble);
    }
  };
  return html`<div class="row speech-ways">
    <button type="button" class="button small" onClick=${copy}><${Icon} name="copy" />${say("page.speech.copy")}</button>
    <button type="button" class="button small" onClick=${() => save("txt", `${asText(segments)}\n`, "text/plain")}><${Icon} name="download" />${say("page.speech.save.text")}</button>
    <button type="button" class="button small" onClick=${() => save("srt", asSrt(segments), "application/x-subrip")}><${Icon} name="download" />SRT</button>
    <button type="button" class="button small" onClick=${() => save("vtt", asVtt(segments), "text/vtt")}><${Icon} name="download" />VTT</button>
    <button type="button" class="button small" onClick=${() => save("json", asJson(segments, facts), "application/json")}><${Icon} name="download" />JSON</button>
    <button type="button" class="button small" onClick=${talk}><${Icon} name="chat" />${say("page.speech.talk")}</button>
  </div>`;
}
