/** A conversation with a model in this tab. It stays in the tab: a reload finds it, the end of the tab is its end. */
import { chatWith, now } from "../../engines/index.js";
import { number, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { Markdown } from "../../lib/md.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { Going } from "./going.js";

/** @typedef {{role: "user" | "assistant", content: string, thought?: string, by?: string, facts?: any}} Said */

const KEY = "domicile.tab.talk";

/** @returns {Said[]} */
function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

/** @param {{models: import("../../engines/types.js").Model[]}} props */
export function Talk({ models }) {
  const [turns, setTurns] = useState(remembered);
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState(/** @type {string | null} */ (null));
  const [going, setGoing] = useState(/** @type {AbortController | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const { model: current, phase } = use(now);
  const name = chosen && models.some((m) => m.name === chosen) ? chosen : current ?? models[0]?.name;
  useEffect(() => sessionStorage.setItem(KEY, JSON.stringify(turns)), [turns]);
  if (!models.length) return null;

  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    if (going || !name || !text.trim()) return;
    const before = /** @type {Said[]} */ ([...turns, { role: "user", content: text.trim() }]);
    const leave = new AbortController();
    /** @type {Said} */
    let reply = { role: "assistant", content: "", by: name };
    const show = () => setTurns([...before, reply]);
    [setText(""), setError(null), setGoing(leave), show()];
    try {
      const messages = before.map(({ role, content }) => ({ role, content }));
      for await (const part of chatWith(name, "tab", messages, { signal: leave.signal })) {
        reply = { ...reply, content: reply.content + part.text, thought: (reply.thought ?? "") + part.thought, facts: part.facts ?? reply.facts };
        show();
      }
    } catch (trouble) {
      if (!leave.signal.aborted) setError(trouble);
      if (!reply.content) setTurns(before);
    }
    setGoing(null);
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && send(event);

  return html`<section class="card stack tab-talk">
    <div class="card-head"><h2>${say("page.tab.talk")}</h2>
      <div class="row tight"><label class="sr" for="tab-model">${say("page.tab.name")}</label>
        <select id="tab-model" class="input" value=${name} disabled=${!!going} onChange=${(/** @type {any} */ e) => setChosen(e.target.value)}>${models.map((m) => html`<option key=${m.name} value=${m.name}>${m.name}</option>`)}</select>
        ${turns.length > 0 && html`<button type="button" class="ghost small" disabled=${!!going} onClick=${() => setTurns([])}>${say("page.tab.anew")}</button>`}</div></div>
    <div class="stack" role="log" aria-label=${say("page.tab.talk")}>${turns.map((one, at) => html`<${Turn} key=${at} said=${one} done=${!going || at < turns.length - 1} />`)}</div>
    ${going && phase === "loading" && html`<${Going} />`}
    ${error && html`<${Trouble} error=${error} />`}
    <form class="row" onSubmit=${send}>
      <textarea class="input grow" rows="1" placeholder=${say("page.tab.placeholder")} aria-label=${say("page.tab.placeholder")} value=${text} onInput=${(/** @type {any} */ e) => setText(e.target.value)} onKeyDown=${keys}></textarea>
      ${going
        ? html`<button type="button" class="button" onClick=${() => going.abort()}><${Icon} name="stop" label=${say("page.tab.halt")} /></button>`
        : html`<button type="submit" class="button primary" disabled=${!text.trim()}><${Icon} name="send" label=${say("page.tab.send")} /></button>`}
    </form>
    <p class="small muted">${say("page.tab.talk.text")}</p>
  </section>`;
}

/** @param {{said: Said, done: boolean}} props */
function Turn({ said, done }) {
  if (said.role === "user") return html`<div class="tab-asked">${said.content}</div>`;
  const { tokens, perSecond } = said.facts ?? {};
  return html`<article class="tab-answer"><p class="small muted">${said.by} · ${say("page.tab.here")}${!done && !said.content && html` <span class="spinner" aria-hidden="true"></span>`}</p>
    ${said.thought && html`<details><summary>${say("page.tab.thought")}</summary><${Written} text=${said.thought} done=${done} /></details>`}
    <${Written} text=${said.content} done=${done} />
    ${done && tokens && html`<p class="small muted num">${say("page.tab.facts", { n: tokens, speed: number(perSecond ?? 0, 1) })}</p>`}</article>`;
}

/** @param {{text: string, done: boolean}} props */
function Written({ text, done }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const drawer = useRef(/** @type {Markdown | null} */ (null));
  useEffect(() => {
    drawer.current ??= new Markdown(/** @type {HTMLElement} */ (place.current));
    drawer.current.draw(text, done);
  }, [text, done]);
  return html`<div ref=${place}></div>`;
}
