/** What a person said: its files, its versions, the same said otherwise. */
import { confirm } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Menu } from "../../lib/menu.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";
import { File } from "./file.js";
import { openChat, whom } from "./room.js";
import { post } from "../../lib/api.js";
import { versions } from "./tree.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./tree.js").Message} Message */

/** @param {{talk: Conversation, message: Message}} props */
export function Question({ talk, message }) {
  const [edits, setEdits] = useState(false);
  /** @param {string} text */
  const said = async (text) => {
    setEdits(false);
    await talk.answer({ edit: message.id, text, ...whom() });
  };
  return html`<article class="turn user" id=${message.id} tabindex="-1">
    <h3 class="sr">${say("page.chat.you")}</h3>
    ${message.attachments.length > 0 && html`<div class="files">${message.attachments.map((one) => html`<${File} key=${one.id} file=${one} />`)}</div>`}
    ${edits
      ? html`<${Editor} text=${message.text} yes=${say("page.chat.send")} done=${said} close=${() => setEdits(false)} note=${say("page.chat.edit.note")} />`
      : message.text && html`<div class="said">${message.text}</div>`}
    ${!edits && html`<footer class="turn-foot">
      <${Versions} talk=${talk} message=${message} />
      <button type="button" class="ghost icon-only small edit-button" title=${say("page.chat.edit")} onClick=${() => setEdits(true)}><${Icon} name="edit" label=${say("page.chat.edit")} /></button>
      <${Copy} text=${message.text} />
      <${Menu} label=${say("page.chat.more")} items=${() => deeds(talk, message)} />
    </footer>`}
  </article>`;
}

/** @param {{text: string}} props */
export function Copy({ text }) {
  const copy = () => navigator.clipboard.writeText(text).then(() => toast(say("page.md.copied"), { kind: "good" }), report);
  return html`<button type="button" class="ghost icon-only small" title=${say("page.chat.copy")} onClick=${copy}><${Icon} name="copy" label=${say("page.chat.copy")} /></button>`;
}

/** What may be done with any message. @param {Conversation} talk @param {Message} message */
export const deeds = (talk, message) => [
  { icon: "fork", label: say("page.chat.fork"), run: () => post(talk.path("/fork"), { message: message.id }).then((whole) => openChat(whole.id, { whole })).catch(report) },
  { icon: "trash", label: say("page.chat.forget"), danger: true, run: () => forget(talk, message) },
];

/** @param {Conversation} talk @param {Message} message */
async function forget(talk, message) {
  const sure = await confirm({ title: say("page.chat.forget.title"), text: say("page.chat.forget.text"), yes: say("page.chat.delete"), danger: true });
  if (sure) await talk.forget(message.id).catch(report);
}

/** `‹ 2/3 ›`. @param {{talk: Conversation, message: Message}} props */
export function Versions({ talk, message }) {
  const { all, at } = versions(talk.messages.value, message);
  if (all.length < 2) return null;
  /** @param {number} to */
  const go = (to) => talk.show(all[to][0].id).catch(report);
  return html`<span class="versions" role="group" aria-label=${say("page.chat.versions")}>
    <button type="button" class="ghost icon-only small" disabled=${at === 0} onClick=${() => go(at - 1)}><${Icon} name="left" label=${say("page.chat.version.before")} /></button>
    <span class="num">${at + 1}/${all.length}</span>
    <button type="button" class="ghost icon-only small" disabled=${at === all.length - 1} onClick=${() => go(at + 1)}><${Icon} name="right" label=${say("page.chat.version.after")} /></button>
  </span>`;
}

/** Where words are changed. @param {{text: string, yes: string, note?: string, done: (text: string) => Promise<void>, close: () => void}} props */
export function Editor({ text, yes, note, done, close }) {
  const [now, setNow] = useState(text);
  const place = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useEffect(() => {
    const area = /** @type {HTMLTextAreaElement} */ (place.current);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }, []);
  const finish = () => {
    if (now.trim()) done(now).catch(report);
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.key === "Escape") [event.stopPropagation(), close()];
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) [event.preventDefault(), finish()];
  };
  return html`<div class="editor">
    <textarea ref=${place} class="input" aria-label=${say("page.chat.edit")} value=${now} onInput=${(/** @type {any} */ e) => setNow(e.target.value)} onKeyDown=${keys}></textarea>
    <div class="row tight between"><span class="small muted grow">${note}</span>
      <button type="button" class="button small" onClick=${close}>${say("page.common.cancel")}</button>
      <button type="button" class="button small primary" disabled=${!now.trim()} onClick=${finish}>${yes}</button></div>
  </div>`;
}
