/** Speech: a file or the microphone is written down, with times that lead back into the sound. */
import { ask } from "../../lib/api.js";
import { announce } from "../../lib/a11y.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, render, useEffect, useRef, useState } from "../../lib/preact.js";
import { eventsOf } from "../../lib/sse.js";
import { use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { choices, refresh } from "../../shell/house.js";
import { Able } from "../able.js";
import { Choose, hears } from "./choose.js";
import { Engine } from "./engine.js";
import { Recorder } from "./recorder.js";
import { Coming, heard, listeners } from "./tab.js";
import { Transcript } from "./transcript.js";

/** @typedef {{id: number, start: number, end: number, text: string}} Segment */
/** @typedef {{model: string, language: string, translate: boolean}} Wish */

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Speech} />`, place);

function Speech() {
  const all = use(choices);
  const [inTab, setInTab] = useState(/** @type {{name: string, tab: true}[]} */ ([]));
  const models = [...(all?.installed.filter(hears) ?? []), ...inTab];
  const [wish, setWish] = useState(/** @type {Wish} */ ({ model: "", language: "", translate: false }));
  const [sound, setSound] = useState(/** @type {{file: File, url: string} | null} */ (null));
  const [segments, setSegments] = useState(/** @type {Segment[]} */ ([]));
  const [facts, setFacts] = useState(/** @type {{language?: string, duration?: number, speed?: number} | null} */ (null));
  const [going, setGoing] = useState(/** @type {AbortController | null} */ (null));
  const [share, setShare] = useState(/** @type {number | null} */ (null));
  useEffect(() => void refresh().catch(report), []);
  useEffect(() => void listeners().then(setInTab, report), [all]);
  useEffect(() => () => sound && URL.revokeObjectURL(sound.url), [sound]);

  /** @param {File} file */
  const take = (file) => {
    going?.abort();
    setSound({ file, url: URL.createObjectURL(file) });
    setSegments([]);
    setFacts(null);
  };
  const write = async () => {
    if (!sound) return;
    const leave = new AbortController();
    setGoing(leave);
    setSegments([]);
    setShare(null);
    setFacts(null);
    const chosen = models.find((m) => m.name === wish.model) ?? models[0];
    const deed = inTab.some((m) => m === chosen) ? heard : written;
    try {
      await deed(sound.file, { ...wish, model: wish.model || (deed === heard ? chosen.name : "") }, leave.signal, (event) => {
        if (event.segment) {
          setSegments((before) => [...before, event.segment]);
          if (event.duration) setShare(Math.min(1, event.segment.end / event.duration));
        } else setFacts(event);
      });
      announce(say("page.speech.ready"));
    } catch (trouble) {
      if (!leave.signal.aborted) report(trouble);
    }
    setGoing(null);
  };

  return html`<div class="stack loose speech">
    <${Engine} />
    ${models.length > 0 &&
    html`<section class="card stack" aria-label=${say("page.speech.sound")}>
      <${Drop} take=${take} />
      <div class="row speech-ways"><${Recorder} take=${take} /></div>
      ${sound && html`<p class="cut"><strong>${sound.file.name}</strong></p>`}
      <${Choose} models=${models} wish=${wish} change=${setWish} />
      <div class="row">
        ${going
          ? html`<button type="button" class="button" onClick=${() => going.abort()}><${Icon} name="stop" />${say("page.speech.stop")}</button>`
          : html`<button type="button" class="button primary" disabled=${!sound} onClick=${write}><${Icon} name="speech" />${say("page.speech.write")}</button>`}
        ${going && html`<${Coming} />`}
        ${going && html`<progress class="grow" max="1" value=${share ?? undefined} aria-label=${say("page.speech.going")}></progress>`}
      </div>
    </section>`}
    ${sound && html`<${Transcript} key=${sound.url} sound=${sound} segments=${segments} change=${setSegments} facts=${facts} going=${going !== null} />`}
    <${Able} need="speech" tasks=${["automatic-speech-recognition"]} intro=${say("page.speech.intro")} />
  </div>`;
}

/**
 * Send a file, and tell each event of its transcript.
 * @param {File} file @param {Wish} wish @param {AbortSignal} signal @param {(event: any) => void} tell
 */
async function written(file, wish, signal, tell) {
  const body = new FormData();
  body.append("model", wish.model || "whisper-1");
  body.append("stream", "true");
  if (wish.language) body.append("language", wish.language);
  body.append("file", file, file.name);
  const way = wish.translate ? "translations" : "transcriptions";
  const answer = await ask(`/v1/audio/${way}`, { method: "POST", body, signal });
  for await (const one of eventsOf(/** @type {ReadableStream<Uint8Array>} */ (answer.body))) {
    if (one.data === "[DONE]") return;
    const event = JSON.parse(one.data);
    if (event.error) throw Object.assign(new Error(event.error.message), { hint: event.error.hint });
    tell(event);
  }
}

/** @param {{take: (file: File) => void}} props */
function Drop({ take }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [over, setOver] = useState(false);
  /** @param {FileList | null | undefined} files */
  const first = (files) => {
    const file = files?.[0];
    if (!file) return;
    if (file.size === 0) toast(say("page.speech.empty"), { kind: "bad" });
    else take(file);
  };
  /** @param {DragEvent} event */
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    first(event.dataTransfer?.files);
  };
  /** @param {DragEvent} event */
  const hover = (event) => {
    event.preventDefault();
    setOver(true);
  };
  return html`<div class=${`speech-drop${over ? " over" : ""}`} onDragOver=${hover} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <${Icon} name="speech" />
    <p>${say("page.speech.drop")}</p>
    <label class="button"><${Icon} name="attach" />${say("page.speech.file")}
      <input ref=${input} class="sr" type="file" accept="audio/*,video/*,.mp3,.wav,.m4a,.ogg,.flac,.webm,.mp4,.opus" onChange=${() => first(input.current?.files)} /></label>
  </div>`;
}
