/** One conversation in the list: opened, renamed where it stands, pinned, put in a folder, archived, exported, deleted. */
import { patch, post } from "../../lib/api.js";
import { confirm, open } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { Menu } from "../../lib/menu.js";
import { html, useLayoutEffect, useRef } from "../../lib/preact.js";
import { save } from "../../lib/save.js";
import { signal, use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { current, newChat, openChat } from "./room.js";
import { refreshFolders } from "./shelves.js";

/** @typedef {import("./shelves.js").Chat} Chat */

/** Those that are ticked; null while nothing is selected. @type {import("../../lib/store.js").Signal<Set<string> | null>} */
export const ticked = signal(/** @type {Set<string> | null} */ (null));
/** The one whose title is being written. @type {import("../../lib/store.js").Signal<string | null>} */
export const renamed = signal(/** @type {string | null} */ (null));

export const titleOf = (/** @type {{title: string}} */ chat) => chat.title || say("page.chat.untitled");

/** @param {{chat: Chat}} props */
export function Item({ chat }) {
  const [here, names, ticks] = [use(current)?.id === chat.id, use(renamed) === chat.id, use(ticked)];
  if (names) return html`<li class="chat-item"><${Rename} chat=${chat} /></li>`;
  /** @param {MouseEvent} event */
  const go = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    openChat(chat.id, { message: chat.found?.message });
  };
  const tick = () => {
    const now = new Set(ticks);
    if (!now.delete(chat.id)) now.add(chat.id);
    ticked.value = now;
  };
  return html`<li class="chat-item ${here ? "is-here" : ""}">
    ${ticks && html`<input type="checkbox" checked=${ticks.has(chat.id)} onChange=${tick} aria-label=${say("page.chat.select.this", { title: titleOf(chat) })} />`}
    <a href=${`/?chat=${encodeURIComponent(chat.id)}`} aria-current=${here ? "true" : undefined} title=${titleOf(chat)} onClick=${ticks ? (/** @type {Event} */ e) => (e.preventDefault(), tick()) : go}>
      <span class="cut">${titleOf(chat)}</span>
      ${chat.writing && html`<span class="spinner" role="img" aria-label=${say("page.chat.writes")}></span>`}
      ${chat.found && html`<span class="chat-found small">${chat.found.before}<mark>${chat.found.match}</mark>${chat.found.after}</span>`}
    </a>
    ${!ticks && html`<${Menu} label=${say("page.chat.deeds", { title: titleOf(chat) })} items=${() => deedsOf(chat)} />`}
  </li>`;
}

/** @param {Chat} chat */
export function deedsOf(chat) {
  const path = `/domicile/chats/${chat.id}`;
  /** @param {Record<string, unknown>} values */
  const change = (values) => patch(path, values).catch(report);
  if (chat.temporary) return [{ icon: "trash", label: say("page.chat.delete"), danger: true, run: () => newChat() }];
  return [
    { icon: "edit", label: say("page.chat.rename"), run: () => void (renamed.value = chat.id) },
    { icon: "pin", label: say(chat.pinned ? "page.chat.unpin" : "page.chat.pin"), run: () => change({ pinned: !chat.pinned }) },
    { icon: "folder", label: say("page.chat.move"), run: () => move([chat.id], chat.folder) },
    { icon: "download", label: say("page.chat.export.markdown"), run: () => save(`${path}/export?format=markdown`).catch(report) },
    { icon: "download", label: say("page.chat.export.json"), run: () => save(`${path}/export`).catch(report) },
    { icon: "archive", label: say(chat.archived ? "page.chat.unarchive" : "page.chat.archive"), run: () => archive([chat.id], !chat.archived) },
    { icon: "trash", label: say("page.chat.delete"), danger: true, run: () => erase([chat.id], titleOf(chat)) },
  ];
}

/** @param {string[]} ids @param {boolean} archived */
export async function archive(ids, archived) {
  await Promise.all(ids.map((id) => patch(`/domicile/chats/${id}`, { archived }))).catch(report);
  toast(say(archived ? "page.chat.archived" : "page.chat.unarchived", { n: ids.length }), { kind: "good" });
}

/** @param {string[]} ids @param {string | null} [from] */
export async function move(ids, from = null) {
  const { Folders } = await import("./folders.js");
  const chosen = /** @type {{folder: string | null} | undefined} */ (await open(Folders, { from }));
  if (!chosen) return;
  await Promise.all(ids.map((id) => patch(`/domicile/chats/${id}`, chosen))).catch(report);
  await refreshFolders().catch(report);
}

/** @param {string[]} ids @param {string} [title] */
export async function erase(ids, title) {
  const text = title ? say("page.chat.delete.text", { title }) : say("page.chat.delete.many", { n: ids.length });
  if (!(await confirm({ title: say("page.chat.delete.title"), text, yes: say("page.chat.delete"), danger: true }))) return false;
  if (current.value && ids.includes(current.value.id)) newChat();
  await post("/domicile/chats/delete", { ids }).catch(report);
  return true;
}

/** @param {{chat: Chat}} props */
function Rename({ chat }) {
  const place = useRef(/** @type {HTMLInputElement | null} */ (null));
  const over = useRef(false);
  useLayoutEffect(() => place.current?.select(), []); // before the next key
  /** @param {boolean} keep */
  const done = (keep) => {
    if (over.current) return;
    over.current = true;
    const title = place.current?.value.trim() ?? "";
    renamed.value = null;
    if (keep && title !== chat.title) patch(`/domicile/chats/${chat.id}`, { title }).catch(report);
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    event.stopPropagation();
    if (event.key === "Enter") done(true);
    if (event.key === "Escape") done(false);
  };
  return html`<input class="input" ref=${place} maxlength="200" defaultValue=${chat.title} aria-label=${say("page.chat.title")} onKeyDown=${keys} onBlur=${() => done(true)} />`;
}

