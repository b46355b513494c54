/** Files on their way to a message: sent to the house as soon as they are chosen, written down when they are sound. */
import { ask, get, patch, remove } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { signal } from "../../lib/store.js";
import { choices, refresh } from "../../shell/house.js";
import { beginning, current } from "./room.js";

/** @typedef {{number: number, name: string, size: number, blob: Blob, temporary: boolean, state: "coming" | "hearing" | "here" | "failed", file?: import("./tree.js").Attachment, why?: any}} Coming */

/** @type {import("../../lib/store.js").Signal<Coming[]>} */
export const coming = signal(/** @type {Coming[]} */ ([]));
/** A text that is pasted and longer than this becomes a file. */
export const LONG_PASTE = 6000;
let counted = 0;

const temporary = () => current.value?.temporary ?? beginning.value.temporary;

/** @param {number} number @param {Partial<Coming>} more */
const set = (number, more) => (coming.value = coming.value.map((one) => (one.number === number ? { ...one, ...more } : one)));

/** @param {Iterable<File>} files */
export function add(files) {
  for (const file of files) attach(file, file.name || "file");
}

/** @param {Blob} blob @param {string} name */
export async function attach(blob, name) {
  const one = { number: ++counted, name, size: blob.size, blob, temporary: temporary(), state: /** @type {const} */ ("coming") };
  coming.value = [...coming.value, one];
  await sent(one);
}

/** @param {Coming} one */
async function sent(one) {
  try {
    const query = new URLSearchParams({ name: one.name, ...(temporary() ? { temporary: "1" } : {}) });
    const answer = await ask(`/domicile/chats/attachments?${query}`, { method: "POST", body: one.blob, headers: { "Content-Type": "application/octet-stream" } });
    const file = await answer.json();
    set(one.number, { state: "here", file, name: file.name, temporary: temporary() });
    if (file.kind === "audio") await hear(one.number, file, one.blob);
  } catch (why) {
    set(one.number, { state: "failed", why });
  }
}

/** A sound is written down, where somebody here can. @param {number} number @param {import("./tree.js").Attachment} file @param {Blob} blob */
async function hear(number, file, blob) {
  const model = await listener();
  if (!model) return;
  set(number, { state: "hearing" });
  try {
    const text = await transcribed(blob, file.name, model);
    set(number, { state: "here", file: { ...file, ...(await patch(`/domicile/chats/attachments/${file.id}`, { text })) } });
  } catch (why) {
    set(number, { state: "here", why });
  }
}

/** The model that hears, if one lives here. @returns {Promise<string | null>} */
export async function listener() {
  const all = choices.value ?? (await refresh());
  return all.installed.find((m) => m.task === "automatic-speech-recognition" && m.state !== "missing")?.name ?? null;
}

/** @param {Blob} blob @param {string} name @param {string} model @returns {Promise<string>} */
export async function transcribed(blob, name, model) {
  const body = new FormData();
  body.append("model", model);
  body.append("file", blob, name);
  return (await (await ask("/v1/audio/transcriptions", { method: "POST", body })).json()).text;
}

/** @param {Coming} one */
export function drop(one) {
  coming.value = coming.value.filter((other) => other.number !== one.number);
  if (one.file) remove(`/domicile/chats/attachments/${one.file.id}`).catch(() => {}); // forgotten after a day in any case
}

/** Their ids, once all are where the conversation is (in memory alone, for a temporary one); null while some are on their way.
 * @returns {Promise<string[] | null>} */
export async function ready() {
  for (const one of coming.value.filter((c) => c.temporary !== temporary() && c.state === "here")) {
    set(one.number, { state: "coming" });
    await sent(one);
  }
  if (coming.value.some((one) => one.state === "coming" || one.state === "hearing")) return null;
  return coming.value.flatMap((one) => (one.file ? [one.file.id] : []));
}

export const taken = () => (coming.value = []);

/** Can this model see? Unknown is no reason to warn. @param {string} model */
export async function sees(model) {
  /** @type {{capabilities?: string[]}} */
  const { capabilities } = await get(`/domicile/models/${model.split("/").map(encodeURIComponent).join("/")}`);
  return !capabilities || capabilities.includes("vision");
}

/** Is a paste long enough to be a file? @param {string} text */
export const isLong = (text) => text.length > LONG_PASTE;
/** What it is then called. */
export const pastedName = () => say("page.chat.file.pasted");
