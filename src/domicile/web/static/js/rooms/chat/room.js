/** What the parts of the room share: which conversation is open, what the next one begins with, who is asked. */
import { post, remove } from "../../lib/api.js";
import { state } from "../../lib/state.js";
import { kept, signal } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { active, away, choices } from "../../shell/house.js";
import { placeOf } from "../../shell/place.js";
import { Conversation } from "./conversation.js";
import { compute } from "./tab.js";

/** @typedef {{system: string | null, parameters: Record<string, any>, strategy: string | null, temporary: boolean}} Beginning */

/** @type {import("../../lib/store.js").Signal<Conversation | null>} null: a new one, that nobody has said anything in */
export const current = signal(/** @type {Conversation | null} */ (null));
/** @type {() => Beginning} */
const fresh = () => ({ system: null, parameters: {}, strategy: null, temporary: false });
/** What a new conversation begins with. */
export const beginning = signal(fresh());
/** Models that answer side by side; with fewer than two, the one of the header answers. @type {import("../../lib/store.js").Signal<string[]>} */
export const together = signal(/** @type {string[]} */ ([]));
/** Do keys alone do things? */
export const keysOn = kept("keys", true);
/** Is the side shown, on a wide screen? */
export const sideShown = kept("side", true);
/** The message to go to once a conversation is there. @type {import("../../lib/store.js").Signal<string | null>} */
export const wanted = signal(/** @type {string | null} */ (null));
/** Counts whenever the composer had better have the focus. */
export const focusWanted = signal(0);

const LAST = "domicile.chat.last";

/** Who is asked: as a body of `answer` has it. @returns {Record<string, any>} */
export function whom() {
  const target = choices.value?.away.find((t) => t.name === away.value);
  const name = active.value?.name ?? Object.keys(/** @type {any} */ (target)?.models ?? {})[0];
  if (away.value) return { ...(name ? { model: name } : {}), strategy: "away" };
  if (together.value.length > 1) return { models: together.value };
  return name ? { model: name } : {};
}

/** Where the next question may go: `home`, `home-then-away`, `away`. */
export const strategy = () => (away.value ? "away" : (current.value?.chat.value ?? beginning.value).strategy ?? choices.value?.strategy ?? state.strategy);

/** @param {string} id @param {{message?: string, push?: boolean, whole?: any}} [how] */
export function openChat(id, { message, push = true, whole } = {}) {
  wanted.value = message ?? null;
  if (current.value?.id === id) return;
  close();
  current.value = new Conversation(id, whole);
  together.value = [];
  sessionStorage.setItem(LAST, id);
  if (push) history.pushState(null, "", `/?chat=${encodeURIComponent(id)}`);
  focusWanted.value++;
}

/** A new conversation: it is made when something is said in it. @param {{push?: boolean, temporary?: boolean}} [how] */
export function newChat({ push = true, temporary = false } = {}) {
  close();
  current.value = null;
  beginning.value = { ...fresh(), temporary };
  sessionStorage.removeItem(LAST);
  if (push) history.pushState(null, "", "/");
  focusWanted.value++;
}

/** Leave what is open. A temporary one is gone with that. */
function close() {
  const left = current.value;
  if (!left) return;
  left.leave();
  if (left.temporary && !left.trouble.value) remove(left.path()).catch(() => {}); // gone already, or the house is
}

/** Does this browser compute the next answer? */
export const inTab = () => !away.value && together.value.length < 2 && !!active.value && placeOf(active.value.name, active.value.format) === "tab";

/** Say something, in the conversation that is open or in a new one. @param {string} text @param {string[]} attachments */
export async function send(text, attachments) {
  const talk = current.value ?? (await begin());
  if (inTab() && active.value) {
    await talk.add([{ role: "user", text }]);
    return void compute(talk, active.value.name).catch(report);
  }
  await talk.answer({ text, ...(attachments.length ? { attachments } : {}), ...whom() });
}

/** Make the new conversation. @returns {Promise<Conversation>} */
export async function begin() {
  const { temporary, system, parameters, strategy: chosen } = beginning.value;
  const whole = await post("/domicile/chats", { temporary, parameters, ...(system ? { system } : {}), ...(chosen ? { strategy: chosen } : {}) });
  const models = together.value;
  openChat(whole.id, { whole });
  together.value = models;
  return /** @type {Conversation} */ (current.value);
}

/** Open what the address says; without one, what this tab had open when it left for another room. */
export function arrive() {
  const said = new URLSearchParams(location.search).get("chat");
  const last = sessionStorage.getItem(LAST);
  if (said) openChat(said, { push: false });
  else if (last) {
    openChat(last, { push: false });
    history.replaceState(null, "", `/?chat=${encodeURIComponent(last)}`);
  }
  addEventListener("popstate", () => {
    const id = new URLSearchParams(location.search).get("chat");
    if (id) openChat(id, { push: false });
    else newChat({ push: false });
  });
}
