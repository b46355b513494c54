/** The conversation that is open: its branch from top to bottom, followed while it grows unless the reader went up. */
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { Answer } from "./answer.js";
import { Computed } from "./tab.js";
import { newChat, wanted } from "./room.js";
import { versions } from "./tree.js";
import { Question } from "./turn.js";

const NEAR_PX = 64;

/** @param {{talk: import("./conversation.js").Conversation}} props */
export function Thread({ talk }) {
  const [chat, messages, trouble] = [use(talk.chat), use(talk.messages), use(talk.trouble)];
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const follow = useRef(true);
  const [behind, setBehind] = useState(false);
  const path = talk.branch;
  const down = () => {
    const here = /** @type {HTMLElement} */ (place.current);
    follow.current = true;
    setBehind(false);
    here.scrollTop = here.scrollHeight;
  };
  useEffect(() => {
    const here = /** @type {HTMLElement} */ (place.current);
    const watch = new ResizeObserver(() => {
      if (follow.current) here.scrollTop = here.scrollHeight;
      else setBehind(here.scrollHeight - here.scrollTop - here.clientHeight > NEAR_PX);
    });
    watch.observe(/** @type {Element} */ (here.firstElementChild));
    watch.observe(here);
    return () => watch.disconnect();
  }, []);
  const said = path.findLast((one) => one.role === "user")?.id;
  useEffect(() => {
    if (said && place.current) down(); // what the reader has just said is looked at
  }, [said]);
  useEffect(() => {
    const id = wanted.value;
    if (!id || !messages.has(id)) return;
    wanted.value = null;
    if (path.some((one) => one.id === id)) seek(id);
    else talk.show(id).then(() => seek(id), () => {});
  }, [messages, wanted.value]);
  /** @param {string} id */
  const seek = (id) => {
    follow.current = false;
    requestAnimationFrame(() => {
      const turn = document.getElementById(id);
      turn?.scrollIntoView({ block: "center" });
      turn?.classList.add("sought");
      turn?.focus({ preventScroll: true });
    });
  };
  const scrolled = () => {
    const here = /** @type {HTMLElement} */ (place.current);
    follow.current = here.scrollHeight - here.scrollTop - here.clientHeight < NEAR_PX;
    setBehind(!follow.current);
  };
  return html`<div class="talk-place">
    <div class="talk" ref=${place} onScroll=${scrolled} tabindex="0" role="log" aria-live="off" aria-label=${chat?.title || say("page.chat.talk")}>
      <div class="talk-inner">
        ${trouble && html`<${Trouble} error=${trouble} /><p><button type="button" class="button" onClick=${() => newChat()}>${say("page.chat.new")}</button></p>`}
        ${!trouble && !chat && html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`}
        ${chat?.system && html`<details class="system"><summary>${say("page.chat.system")}</summary><p>${chat.system}</p></details>`}
        ${path.map((one) => html`<${Turn} key=${one.parent ?? one.id} talk=${talk} message=${one} />`)}
        <${Computed} talk=${talk} />
      </div>
    </div>
    ${behind && html`<button type="button" class="button to-end" onClick=${down}><${Icon} name="down" />${say(talk.writing.length ? "page.chat.to_end.writing" : "page.chat.to_end")}</button>`}
  </div>`;
}

/** @param {{talk: import("./conversation.js").Conversation, message: import("./tree.js").Message}} props */
function Turn({ talk, message }) {
  if (message.role === "user") return html`<${Question} key=${message.id} talk=${talk} message=${message} />`;
  const { all, at } = versions(talk.messages.value, message);
  const together = all[at] ?? [message];
  if (together.length < 2) return html`<${Answer} key=${message.id} talk=${talk} message=${message} />`;
  return html`<section class="columns" aria-label=${say("page.chat.together")} tabindex="0">
    ${together.map((one) => html`<${Answer} key=${one.id} talk=${talk} message=${one} beside=${true} shown=${one.id === message.id} />`)}
  </section>`;
}
