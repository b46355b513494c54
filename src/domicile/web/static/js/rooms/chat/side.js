/** The conversations at the side: new, searched, pinned, by folder, by day; several at once; the archive. */
import { patch, remove } from "../../lib/api.js";
import { confirm, open } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Menu } from "../../lib/menu.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { kept, signal, use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { groupsOf } from "./groups.js";
import { archive, erase, Item, move, ticked } from "./item.js";
import { newChat } from "./room.js";
import { archived, folders, found, pinned, recent, refreshFolders, search, shelfOf } from "./shelves.js";

const PAUSE_MS = 160;
/** Folders that are unfolded. */
const unfolded = kept("folders", /** @type {string[]} */ ([]));
/** Is the archive looked at? */
const inArchive = signal(false);

export function Side() {
  const [words, setWords] = useState("");
  const result = use(found);
  const old = use(inArchive);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) return void (first.current = false);
    const timer = setTimeout(() => search(words), words ? PAUSE_MS : 0);
    return () => clearTimeout(timer);
  }, [words]);
  /** @param {KeyboardEvent} event */
  const keys = (event) => event.key === "Escape" && words && (event.stopPropagation(), setWords(""));
  const move = async () => open((await import("./moving.js")).Moving);
  return html`<div class="chats">
    <div class="chats-head">
      <button type="button" class="button grow" onClick=${() => newChat()}><${Icon} name="plus" />${say("page.chat.new")}</button>
      <${Menu} small=${false} label=${say("page.chat.list.more")} items=${() => [
        { icon: "check", label: say("page.chat.select"), run: () => void (ticked.value = new Set()) },
        { icon: "archive", label: say(old ? "page.chat.list.all" : "page.chat.list.archive"), run: () => void (inArchive.value = !old) },
        { icon: "download", label: say("page.chat.moving"), run: move },
      ]} />
    </div>
    <div class="search"><${Icon} name="search" /><input class="input" type="search" id="find" placeholder=${say("page.chat.search")} aria-label=${say("page.chat.search")} value=${words}
      onInput=${(/** @type {any} */ e) => setWords(e.target.value)} onKeyDown=${keys} /></div>
    <${Bulk} />
    <nav class="chats-list" aria-label=${say("page.chat.list")}>
      ${words && result ? html`<${Shown} shelf=${result} title=${say("page.chat.found")} empty=${say("page.chat.found.none", { words })} />`
        : old ? html`<div class="row tight between"><h2 class="chats-title">${say("page.chat.list.archive")}</h2><button type="button" class="ghost small" onClick=${() => (inArchive.value = false)}>${say("page.chat.list.all")}</button></div><${Shown} shelf=${archived} empty=${say("page.chat.list.archive.none")} />`
        : html`<${Everything} />`}
    </nav>
  </div>`;
}

function Everything() {
  const own = use(folders);
  const [one, two] = [use(pinned.part), use(recent.part)];
  const nothing = one.there && two.there && !one.chats.length && !two.chats.length && !own.length;
  if (nothing) return html`<p class="chats-none small muted">${say("page.chat.list.none")}</p>`;
  return html`${one.chats.length > 0 && html`<${Shown} shelf=${pinned} title=${say("page.chat.group.pinned")} />`}
    ${own.map((folder) => html`<${Folder} key=${folder.id} folder=${folder} />`)}
    <${Shown} shelf=${recent} days=${true} />`;
}

/** @param {{folder: import("./shelves.js").Folder}} props */
function Folder({ folder }) {
  const isOpen = use(unfolded).includes(folder.id);
  const [name, setName] = useState(/** @type {string | null} */ (null));
  const toggle = () => (unfolded.value = isOpen ? unfolded.value.filter((id) => id !== folder.id) : [...unfolded.value, folder.id]);
  const path = `/domicile/chats/folders/${folder.id}`;
  const rename = async () => {
    setName(null);
    if (name?.trim() && name !== folder.name) await patch(path, { name }).then(refreshFolders).catch(report);
  };
  const drop = async () => {
    const sure = await confirm({ title: say("page.chat.folder.delete"), text: say("page.chat.folder.delete.text", { name: folder.name }), yes: say("page.chat.delete"), danger: true });
    if (sure) await remove(path).then(() => Promise.all([refreshFolders(), recent.load()])).catch(report);
  };
  return html`<section class="folder">
    <div class="folder-head">
      ${name === null ? html`<button type="button" class="ghost grow" aria-expanded=${isOpen} onClick=${toggle}><${Icon} name=${isOpen ? "chevron" : "right"} /><${Icon} name="folder" /><span class="grow cut">${folder.name}</span><span class="num small muted">${folder.chats}</span></button>
        <${Menu} label=${say("page.chat.deeds", { title: folder.name })} items=${() => [
          { icon: "edit", label: say("page.chat.rename"), run: () => setName(folder.name) },
          { icon: "trash", label: say("page.chat.folder.delete"), danger: true, run: drop },
        ]} />`
      : html`<input class="input" autofocus maxlength="200" value=${name} aria-label=${say("page.chat.folder.name")} onInput=${(/** @type {any} */ e) => setName(e.target.value)} onBlur=${rename} onKeyDown=${(/** @type {KeyboardEvent} */ e) => e.key === "Enter" && rename()} />`}
    </div>
    ${isOpen && html`<${Shown} shelf=${shelfOf(folder.id)} empty=${say("page.chat.folder.empty")} />`}
  </section>`;
}

/** A list, whose next page comes when its end is near. @param {{shelf: import("./shelves.js").Shelf, title?: string, empty?: string, days?: boolean}} props */
function Shown({ shelf, title, empty, days = false }) {
  const { chats, next, there } = use(shelf.part);
  const end = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!shelf.part.value.there && !shelf.part.value.loading) shelf.load();
  }, [shelf]);
  useEffect(() => {
    if (!next) return;
    const watch = new IntersectionObserver((seen) => seen.some((e) => e.isIntersecting) && shelf.more(), { rootMargin: "600px" });
    watch.observe(/** @type {HTMLElement} */ (end.current));
    return () => watch.disconnect();
  }, [shelf, next]);
  const groups = days ? groupsOf(chats, Date.now() / 1000) : [{ name: null, chats }];
  return html`${groups.map((group) => html`<section key=${group.name}>
      ${(group.name || title) && chats.length > 0 && html`<h2 class="chats-title">${group.name ? say(`page.chat.group.${group.name}`) : title}</h2>`}
      <ul class="chat-items">${group.chats.map((chat) => html`<${Item} key=${chat.id} chat=${chat} />`)}</ul>
    </section>`)}
    ${there && !chats.length && empty && html`<p class="chats-none small muted">${empty}</p>`}
    ${next && html`<p class="chats-none small muted" ref=${end}>${say("page.shell.loading")}</p>`}`;
}

/** What is done with several at once. */
function Bulk() {
  const ticks = use(ticked);
  if (!ticks) return null;
  const ids = [...ticks];
  const leave = () => (ticked.value = null);
  /** @param {() => Promise<unknown>} deed */
  const then = (deed) => async () => (await deed()) !== false && leave();
  return html`<div class="bulk" role="group" aria-label=${say("page.chat.select")}>
    <span class="grow small num" role="status">${say("page.chat.selected", { n: ids.length })}</span>
    <button type="button" class="ghost icon-only small" disabled=${!ids.length} onClick=${then(() => move(ids))}><${Icon} name="folder" label=${say("page.chat.move")} /></button>
    <button type="button" class="ghost icon-only small" disabled=${!ids.length} onClick=${then(() => archive(ids, !inArchive.value))}><${Icon} name="archive" label=${say(inArchive.value ? "page.chat.unarchive" : "page.chat.archive")} /></button>
    <button type="button" class="ghost icon-only small" disabled=${!ids.length} onClick=${then(() => erase(ids))}><${Icon} name="trash" label=${say("page.chat.delete")} /></button>
    <button type="button" class="ghost icon-only small" onClick=${leave}><${Icon} name="close" label=${say("page.common.close")} /></button>
  </div>`;
}
