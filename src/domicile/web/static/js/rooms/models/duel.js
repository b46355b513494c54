/** The same words to two models that live here, one after the other: they would only slow each other down. */
import { ask } from "../../lib/api.js";
import { number, say } from "../../lib/i18n.js";
import { Markdown } from "../../lib/md.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { eventsOf } from "../../lib/sse.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { choices } from "../../shell/house.js";

export function Duel() {
  const models = (use(choices)?.installed ?? []).filter((m) => m.state !== "missing").map((m) => m.name);
  const [pair, setPair] = useState(/** @type {string[]} */ ([]));
  const [words, setWords] = useState("");
  const [busy, setBusy] = useState(false);
  const [rates, setRates] = useState(/** @type {(number | null)[]} */ ([null, null]));
  const places = [useRef(/** @type {HTMLElement | null} */ (null)), useRef(/** @type {HTMLElement | null} */ (null))];
  const leave = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => leave.current?.abort(), []);
  if (models.length === 0) return null;
  const [a, b] = [pair[0] ?? models[0], pair[1] ?? models[1] ?? models[0]];
  /** @param {Event} event */
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return leave.current?.abort();
    leave.current = new AbortController();
    setBusy(true);
    setRates([null, null]);
    for (const place of places) place.current?.replaceChildren();
    try {
      for (const [i, model] of [a, b].entries()) {
        const rate = await answer(model, words, /** @type {HTMLElement} */ (places[i].current), leave.current.signal);
        setRates((before) => before.map((r, j) => (j === i ? rate : r)));
      }
    } catch (trouble) {
      report(trouble);
    } finally {
      setBusy(false);
    }
  };
  return html`<section class="card stack"><h3>${say("page.models.duel")}</h3>
    <form class="stack tight" onSubmit=${submit}>
      <textarea class="input" rows="2" required value=${words} aria-label=${say("page.models.duel.words")} placeholder=${say("page.models.duel.words")} onInput=${(/** @type {any} */ e) => setWords(e.target.value)}></textarea>
      <div class="duel">${[a, b].map((model, i) => html`<div class="stack tight" key=${i}>
        <select class="input" value=${model} disabled=${busy} aria-label=${say("page.models.duel.model", { n: i + 1 })} onChange=${(/** @type {any} */ e) => setPair(i === 0 ? [e.target.value, b] : [a, e.target.value])}>${models.map((m) => html`<option key=${m} value=${m}>${m}</option>`)}</select>
        <div class="answer" ref=${places[i]} aria-live="polite"></div>
        ${rates[i] !== null && html`<p class="small muted num">${say("page.models.speed.exact", { speed: number(/** @type {number} */ (rates[i]), 1) })}</p>`}</div>`)}</div>
      <div><button type="submit" class="button ${busy ? "" : "primary"}">${busy && html`<span class="spinner" aria-hidden="true"></span>`}${say(busy ? "page.models.duel.stop" : "page.models.duel.ask")}</button></div>
    </form></section>`;
}

/** @param {string} model @param {string} words @param {HTMLElement} place @param {AbortSignal} signal @returns {Promise<number | null>} tokens a second */
async function answer(model, words, place, signal) {
  const drawn = new Markdown(place);
  const asked = await ask("/v1/chat/completions", { json: { model, messages: [{ role: "user", content: words }], stream: true, max_tokens: 512 }, signal });
  let [text, rate] = ["", /** @type {number | null} */ (null)];
  for await (const one of eventsOf(/** @type {ReadableStream<Uint8Array>} */ (asked.body))) {
    if (one.data === "[DONE]") break;
    const said = JSON.parse(one.data);
    text += said.choices?.[0]?.delta?.content ?? "";
    rate = said.timings?.predicted_per_second ?? rate;
    drawn.draw(text);
  }
  drawn.draw(text, true);
  return rate;
}
