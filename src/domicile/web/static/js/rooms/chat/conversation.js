/** One conversation of the house, followed as it goes: its tree, and the words of an answer as they come. */
import { announce } from "../../lib/a11y.js";
import { patch, post, remove } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { listen } from "../../lib/sse.js";
import { signal } from "../../lib/store.js";
import { newestLeaf, pathTo } from "./tree.js";

/** @typedef {import("./tree.js").Message} Message */
/** @typedef {{id: string, title: string, folder: string | null, pinned: boolean, archived: boolean, temporary: boolean, model: string | null, system: string | null,
 *   parameters: Record<string, any>, strategy: string | null, leaf: string | null, created_at: number, updated_at: number, writing: boolean}} Chat */
/** @typedef {{status: "queued" | "waking" | "reading" | "writing", position?: number | null, progress?: number | null}} Status */
/** @typedef {{text: string, reasoning: string, status: Status | null}} Live What an answer says while it is written. */

export class Conversation {
  /** @param {string} id @param {any} [whole] all of it, where it is known */
  constructor(id, whole) {
    this.id = id;
    /** @type {import("../../lib/store.js").Signal<Chat | null>} */
    this.chat = signal(/** @type {Chat | null} */ (null));
    /** @type {import("../../lib/store.js").Signal<import("./tree.js").Messages>} */
    this.messages = signal(new Map());
    /** Why it cannot be shown. @type {import("../../lib/store.js").Signal<any>} */
    this.trouble = signal(/** @type {any} */ (null));
    /** @type {Map<string, import("../../lib/store.js").Signal<Live>>} */
    this.lives = new Map();
    if (whole) this.#snapshot(whole);
    this.leave = listen(
      this.path("/events"),
      {
        snapshot: (all) => this.#snapshot(all),
        message: (one) => this.#message(one),
        status: ({ message, ...status }) => this.#live(message, { status }),
        delta: (more) => this.#delta(more),
        chat: (chat) => (this.chat.value = chat),
        forgotten: (gone) => this.#forgotten(gone),
        removed: () => (this.trouble.value = { message: say("page.chat.gone") }),
      },
      { onState: (now, why) => now === "lost" && why?.status >= 400 && why.status < 500 && (this.trouble.value = why) },
    );
  }

  /** @param {string} [more] */
  path(more = "") {
    return `/domicile/chats/${encodeURIComponent(this.id)}${more}`;
  }

  get temporary() {
    return this.id.startsWith("temp-");
  }

  /** The branch that is shown. */
  get branch() {
    return pathTo(this.messages.value, this.chat.value?.leaf ?? null);
  }

  /** Answers that are being written. */
  get writing() {
    return [...this.messages.value.values()].filter((one) => one.state === "writing");
  }

  /** The words of an answer, as they come. @param {Message} message */
  live(message) {
    const known = this.lives.get(message.id);
    if (known) return known;
    const made = signal(/** @type {Live} */ ({ text: message.text, reasoning: message.reasoning, status: null }));
    this.lives.set(message.id, made);
    return made;
  }

  // -- what is heard --

  /** @param {any} whole */
  #snapshot({ messages, path: _, statuses, ...chat }) {
    const all = new Map(messages.map((/** @type {Message} */ one) => [one.id, one]));
    for (const [id, live] of this.lives) {
      const now = all.get(id);
      if (now) live.value = { text: now.text, reasoning: now.reasoning, status: live.value.status };
    }
    this.messages.value = all;
    this.chat.value = chat;
    for (const { message, ...status } of statuses ?? []) this.#live(message, { status });
  }

  /** @param {Message} one */
  #message(one) {
    const before = this.messages.value.get(one.id);
    const live = this.lives.get(one.id);
    if (live) live.value = { text: one.text, reasoning: one.reasoning, status: one.state === "writing" ? live.value.status : null };
    this.messages.value = new Map(this.messages.value).set(one.id, one);
    if (before?.state === "writing" && one.state !== "writing") announce(say(one.error ? "page.chat.said.failed" : "page.chat.said.done", { model: one.model }));
  }

  /** @param {string} id @param {Partial<Live>} more */
  #live(id, more) {
    const message = this.messages.value.get(id);
    if (!message) return;
    const live = this.live(message);
    live.value = { ...live.value, ...more };
  }

  /** @param {{message: string, text?: string, reasoning?: string}} more */
  #delta({ message, text = "", reasoning = "" }) {
    const known = this.messages.value.get(message);
    if (!known) return;
    const { text: said, reasoning: thought } = this.live(known).value;
    this.#live(message, { text: said + text, reasoning: thought + reasoning });
  }

  /** @param {{messages: string[], leaf: string | null}} gone */
  #forgotten({ messages, leaf }) {
    const all = new Map(this.messages.value);
    for (const id of messages) all.delete(id);
    this.messages.value = all;
    if (this.chat.value) this.chat.value = { ...this.chat.value, leaf };
  }

  // -- what is done --

  /** Ask for an answer: see `POST /domicile/chats/{id}/answer`. @param {Record<string, any>} wanted */
  async answer(wanted) {
    const before = this.messages.value;
    const { chat, messages } = await post(this.path("/answer"), wanted);
    // The stream may be ahead of this reply: what it told since the question is newer, even that all is said.
    const all = new Map(this.messages.value);
    for (const one of messages) if (all.get(one.id) === before.get(one.id)) all.set(one.id, one);
    this.messages.value = all;
    this.chat.value = chat;
  }

  /** @param {string} [message] one of them; else all */
  stop(message) {
    return post(this.path("/stop"), message ? { message } : {});
  }

  /** @param {Partial<Chat>} values */
  async change(values) {
    const { writing, ...chat } = await patch(this.path(), values);
    this.chat.value = { ...this.chat.value, ...chat, writing };
  }

  /** Show the newest branch through a message. @param {string} message */
  async show(message) {
    const leaf = newestLeaf(this.messages.value, message);
    if (this.chat.value) this.chat.value = { ...this.chat.value, leaf };
    await this.change(/** @type {any} */ ({ leaf: message }));
  }

  /** Change words where they stand. @param {string} message @param {string} text */
  async correct(message, text) {
    this.#message(await patch(this.path(`/messages/${message}`), { text }));
  }

  /** Delete a message and what followed. @param {string} message */
  forget(message) {
    return remove(this.path(`/messages/${message}`));
  }

  /** Add what is said without asking the house: a question to the engine in this tab.
   * @param {{role: "user" | "assistant", text: string, reasoning?: string, model?: string}[]} messages */
  async add(messages) {
    const { messages: made } = await post(this.path("/messages"), { messages });
    const all = new Map(this.messages.value);
    for (const one of made) if (!all.has(one.id)) all.set(one.id, one);
    this.messages.value = all;
    if (this.chat.value) this.chat.value = { ...this.chat.value, leaf: made.at(-1).id };
  }
}
