/** The lists of conversations: pinned, recent, each folder, the archive, what was searched. Page by page, kept up to date. */
import { get } from "../../lib/api.js";
import { signal } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { news } from "../../shell/house.js";
import { placed } from "./groups.js";

/** @typedef {import("./conversation.js").Chat & {found?: {message: string, before: string, match: string, after: string} | null}} Chat */
/** @typedef {{id: string, name: string, chats: number}} Folder */
/** @typedef {{chats: Chat[], next: string | null, loading: boolean, there: boolean}} Part */

const PAGE = 60;

export class Shelf {
  /** @param {Record<string, string>} asked @param {((chat: Chat) => boolean) | null} has which chats belong here; null: nothing comes by itself */
  constructor(asked, has) {
    this.asked = asked;
    this.has = has;
    /** @type {import("../../lib/store.js").Signal<Part>} */
    this.part = signal(/** @type {Part} */ ({ chats: [], next: null, loading: false, there: false }));
    this.round = 0;
  }

  /** Ask for the beginning again. */
  load() {
    return this.#ask(null);
  }

  /** Ask for what follows, if anything does. */
  more() {
    const { next, loading } = this.part.value;
    if (next && !loading) return this.#ask(next);
  }

  /** @param {string | null} cursor */
  async #ask(cursor) {
    const round = ++this.round;
    this.part.value = { ...this.part.value, loading: true };
    try {
      const found = await get(`/domicile/chats?${new URLSearchParams({ ...this.asked, limit: String(PAGE), ...(cursor ? { cursor } : {}) })}`);
      if (round !== this.round) return;
      const known = new Set(cursor ? this.part.value.chats.map((one) => one.id) : []);
      const chats = cursor ? [...this.part.value.chats, ...found.chats.filter((/** @type {Chat} */ one) => !known.has(one.id))] : found.chats;
      this.part.value = { chats, next: found.next, loading: false, there: true };
    } catch (trouble) {
      if (round === this.round) this.part.value = { ...this.part.value, loading: false };
      report(trouble);
    }
  }

  /** A chat is new, or has changed. @param {Chat} chat */
  hear(chat) {
    const { chats, next, there } = this.part.value;
    if (!there) return;
    const before = chats.find((one) => one.id === chat.id);
    if (this.has === null) {
      if (before) this.#set(chats.map((one) => (one.id === chat.id ? { ...one, ...chat } : one)));
    } else if (this.has(chat)) this.#set(placed(chats, chat, next !== null));
    else if (before) this.lose(chat.id);
  }

  /** @param {string} id */
  lose(id) {
    this.#set(this.part.value.chats.filter((one) => one.id !== id));
  }

  /** @param {Chat[]} chats */
  #set(chats) {
    this.part.value = { ...this.part.value, chats };
  }
}

export const pinned = new Shelf({ pinned: "true" }, (c) => c.pinned && !c.archived);
export const recent = new Shelf({ pinned: "false", folder: "none" }, (c) => !c.pinned && !c.folder && !c.archived);
export const archived = new Shelf({ archived: "true" }, (c) => c.archived);
/** @type {Map<string, Shelf>} */
const ofFolder = new Map();
/** @type {import("../../lib/store.js").Signal<Folder[]>} */
export const folders = signal(/** @type {Folder[]} */ ([]));
/** What was searched for, and what was found. @type {import("../../lib/store.js").Signal<Shelf | null>} */
export const found = signal(/** @type {Shelf | null} */ (null));

/** @param {string} id */
export function shelfOf(id) {
  const known = ofFolder.get(id) ?? new Shelf({ folder: id, pinned: "false" }, (c) => c.folder === id && !c.pinned && !c.archived);
  ofFolder.set(id, known);
  return known;
}

/** @param {string} words */
export function search(words) {
  if (!words.trim()) return void (found.value = null);
  const shelf = new Shelf({ q: words }, null);
  shelf.load().then(() => (found.value = shelf));
}

export async function refreshFolders() {
  folders.value = (await get("/domicile/chats/folders")).folders;
}

/** All that is shown, from the beginning. */
const all = () => [pinned, recent, archived, ...ofFolder.values(), ...(found.value ? [found.value] : [])];

export function begin() {
  const load = () => {
    refreshFolders().catch(report);
    for (const shelf of new Set([pinned, recent, ...all().filter((s) => s.part.value.there)])) shelf.load();
  };
  load();
  let first = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let soon;
  news.subscribe(({ name, data }) => {
    if (name === "chat") for (const shelf of all()) shelf.hear(data);
    else if (name === "removed") for (const shelf of all()) shelf.lose(data.id);
    else if (name !== "open" || !first) load(); // away for a while, or many came at once
    first &&= name !== "open";
    if (name === "chat" || name === "removed") {
      clearTimeout(soon);
      if (folders.value.length) soon = setTimeout(() => refreshFolders().catch(report), 600);
    }
  });
}
