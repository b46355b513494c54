/** The room where one talks: asks whoever answers now, streams, stops. */
import { say } from "../../lib/i18n.js";
import { html, render, useEffect, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { active, away } from "../../shell/house.js";
import { answer } from "./answer.js";
import { Composer } from "./composer.js";
import { Turn } from "./turn.js";

/** @typedef {{role: "user" | "assistant", content: string, thought?: string, by?: string, done?: boolean, error?: any, facts?: import("./answer.js").Facts}} Said */

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Chat} />`, place);

function Chat() {
  const [turns, setTurns] = useState(/** @type {Said[]} */ ([]));
  const [going, setGoing] = useState(/** @type {AbortController | null} */ (null));
  const [model, target] = [use(active), use(away)];
  const name = model?.name;

  /** @param {string} text */
  const send = async (text) => {
    const before = /** @type {Said[]} */ ([...turns.filter((t) => !t.error), { role: "user", content: text, done: true }]);
    /** @type {Said} */
    let reply = { role: "assistant", content: "", by: target ?? name };
    const leave = new AbortController();
    /** @param {Partial<Said>} news */
    const show = (news) => setTurns([...before, (reply = { ...reply, ...news })]);
    show({});
    setGoing(leave);
    try {
      const messages = before.map(({ role, content }) => ({ role, content }));
      for await (const part of answer({ model: name ?? "", messages, strategy: target ? "away" : undefined, signal: leave.signal })) {
        show({ content: reply.content + part.text, thought: (reply.thought ?? "") + part.thought, by: part.by ?? reply.by, facts: part.facts ?? reply.facts });
      }
      show({ done: true });
    } catch (trouble) {
      show({ done: true, error: leave.signal.aborted ? undefined : trouble });
      if (!leave.signal.aborted && !(trouble instanceof Error && "status" in trouble)) report(trouble);
    }
    setGoing(null);
  };

  return html`${turns.length ? html`<${Talk} turns=${turns} />` : html`<${Welcome} send=${send} ready=${!!(name || target)} />`}
    <${Composer} send=${send} stop=${going ? () => going.abort() : null} ready=${!!(name || target)} />`;
}

/** @param {{turns: Said[]}} props */
function Talk({ turns }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const follow = useRef(true);
  useEffect(() => {
    const talk = /** @type {HTMLElement} */ (place.current);
    const watch = new ResizeObserver(() => follow.current && (talk.scrollTop = talk.scrollHeight));
    watch.observe(/** @type {Element} */ (talk.firstElementChild));
    return () => watch.disconnect();
  }, []);
  const scrolled = () => {
    const talk = /** @type {HTMLElement} */ (place.current);
    follow.current = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 48;
  };
  return html`<div class="talk" ref=${place} onScroll=${scrolled} tabindex="0" role="log" aria-label=${say("page.chat.talk")}>
    <div class="talk-inner">${turns.map((one, number) => html`<${Turn} key=${number} said=${one} />`)}</div>
  </div>`;
}

const STARTERS = ["fit", "quantisation", "private"];

/** @param {{send: (text: string) => void, ready: boolean}} props */
function Welcome({ send, ready }) {
  return html`<div class="welcome">
    <h2>${say("page.chat.welcome")}</h2>
    <p>${say(ready ? "page.chat.welcome.text" : "page.chat.welcome.nobody")}</p>
    ${ready && html`<div class="starters">${STARTERS.map((one) => {
      const question = say(`page.chat.starter.${one}`);
      return html`<button type="button" class="button" key=${one} onClick=${() => send(question)}>${question}</button>`;
    })}</div>`}
    ${!ready && html`<a class="button primary" href="/models">${say("page.selector.all")}</a>`}
  </div>`;
}
