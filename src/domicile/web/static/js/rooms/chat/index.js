/** The room where one talks: the conversations at the side, the one that is open, where one writes. */
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, render, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { active, away } from "../../shell/house.js";
import { Composer } from "./composer.js";
import { add } from "./files.js";
import { keys } from "./keys.js";
import { arrive, beginning, current, newChat, send, sideShown, strategy } from "./room.js";
import { begin } from "./shelves.js";
import { Side } from "./side.js";
import { Thread } from "./thread.js";
import { Tools } from "./tools.js";
import { prepare } from "./written.js";

/** @param {HTMLElement} place */
export function mount(place) {
  arrive();
  render(html`<${Chat} />`, place);
  render(html`<${Tools} />`, /** @type {HTMLElement} */ (document.getElementById("room-tools")));
  render(html`<${Side} />`, /** @type {HTMLElement} */ (document.getElementById("side-slot")));
  begin();
  keys();
  shell();
  setTimeout(prepare, 1500); // before the first answer, after the first sight
}

/** What the shell does otherwise in this room. */
function shell() {
  const show = () => document.body.classList.toggle("side-hidden", !sideShown.value);
  sideShown.subscribe(show);
  show();
  for (const link of document.querySelectorAll('.rooms a[aria-current], a.brand')) {
    link.addEventListener("click", (event) => {
      const { metaKey, ctrlKey, shiftKey } = /** @type {MouseEvent} */ (event);
      if (metaKey || ctrlKey || shiftKey) return;
      event.preventDefault();
      newChat();
    });
  }
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll(".switch a[hreflang]"))) {
    link.addEventListener("click", () => {
      const chat = new URLSearchParams(location.search).get("chat");
      if (chat) link.search = new URLSearchParams({ chat, lang: link.hreflang }).toString();
    });
  }
  current.subscribe(named);
  named();
}

/** The title of the window is that of the conversation. */
let unnamed = () => {};
function named() {
  unnamed();
  const talk = current.value;
  const name = () => (document.title = `${talk?.chat.value?.title || document.querySelector("h1")?.textContent} · Domicile`);
  unnamed = talk?.chat.subscribe(name) ?? (() => {});
  name();
}

function Chat() {
  const talk = use(current);
  const [model, target] = [use(active), use(away)];
  const answers = !!(model || target);
  const over = useDrop();
  return html`<div class="chat-room ${over ? "is-over" : ""}">
    ${talk ? html`<${Thread} key=${talk.id} talk=${talk} />` : html`<${Welcome} answers=${answers} />`}
    <${Composer} answers=${answers} />
    ${over && html`<div class="drop-here" aria-hidden="true"><p>${say("page.chat.drop")}</p></div>`}
  </div>`;
}

/** Files that are dropped anywhere in the room. Is something held over it? */
function useDrop() {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const room = /** @type {HTMLElement} */ (document.getElementById("room"));
    /** @param {DragEvent} event */
    const has = (event) => event.dataTransfer?.types.includes("Files");
    /** @type {[string, (event: any) => void][]} */
    const heard = [
      ["dragover", (event) => has(event) && (event.preventDefault(), setOver(true))],
      ["dragleave", (event) => !room.contains(event.relatedTarget) && setOver(false)],
      ["drop", (event) => {
        setOver(false);
        if (!has(event)) return;
        event.preventDefault();
        add(event.dataTransfer.files);
      }],
    ];
    for (const [name, deed] of heard) room.addEventListener(name, deed);
    return () => heard.forEach(([name, deed]) => room.removeEventListener(name, deed));
  }, []);
  return over;
}

const STARTERS = ["fit", "quantisation", "private"];
/** The small model that comes with the house: who has only that one is told that there are others. */
const SAMPLE = "graine";

/** @param {{answers: boolean}} props */
function Welcome({ answers }) {
  const { temporary } = use(beginning);
  const model = use(active);
  use(away);
  const words = !answers ? "page.chat.welcome.nobody" : temporary ? "page.chat.temporary.text" : strategy() === "home" ? "page.chat.welcome.text" : "page.chat.welcome.elsewhere";
  return html`<div class="welcome">
    <h2>${say(temporary ? "page.chat.temporary" : "page.chat.welcome")}</h2>
    <p>${say(words)}</p>
    ${answers && html`<div class="starters">${STARTERS.map((one) => {
      const question = say(`page.chat.starter.${one}`);
      return html`<button type="button" class="button" key=${one} onClick=${() => send(question, []).catch(report)}>${question}</button>`;
    })}</div>`}
    ${model?.name === SAMPLE && html`<p class="small">${say("page.chat.welcome.sample", { model: SAMPLE })}</p>`}
    <p class="welcome-next">
      <a class=${answers ? "ghost" : "button primary"} href="/models"><${Icon} name="models" />${say("page.chat.welcome.find")}</a>
      ${answers && html`<a class="ghost" href="/settings#tools"><${Icon} name="tools" />${say("page.chat.welcome.editor")}</a>`}
    </p>
  </div>`;
}
