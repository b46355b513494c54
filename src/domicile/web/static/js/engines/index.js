/**
 * Who computes the answer: the house (`here`), this browser (`tab`), or whom the person consented to (`away`). One way to
 * ask all of them, `chatWith`; what is loaded in this tab, and what is kept in this browser. Engines come when they are needed.
 */
import { get } from "../lib/api.js";
import { kept as remembered, signal } from "../lib/store.js";
import { TabError } from "./trouble.js";

/** @typedef {import("./types.js").Engine} Engine */
/** @typedef {import("./types.js").Model} Model */
/** @typedef {"here" | "tab" | "away"} Place */
/** @typedef {{model: string | null, phase: "idle" | "loading" | "ready" | "answering", progress: import("./types.js").Progress | null}} Now */

/** @type {Record<string, () => Promise<{engine: Engine}>>} */
const ENGINES = {
  server: () => import("./server.js"),
  wllama: () => import("./wllama.js"),
  webllm: () => import("./webllm.js"),
  transformers: () => import("./transformers.js"),
};
/** Those that run in the tab. */
export const IN_TAB = ["wllama", "webllm", "transformers"];

/** What this tab has in memory, and what it does with it. @type {import("../lib/store.js").Signal<Now>} */
export const now = signal(/** @type {Now} */ ({ model: null, phase: "idle", progress: null }));
/** What the house said of models that are kept here, for when it is closed. @type {import("../lib/store.js").Signal<Record<string, Model>>} */
export const known = remembered("tab.models", /** @type {Record<string, Model>} */ ({}));
/** Where the person wants a model to answer; the house where nothing is said. @type {import("../lib/store.js").Signal<Record<string, Place>>} */
export const places = remembered("tab.places", /** @type {Record<string, Place>} */ ({}));
/** How many threads an engine on the processor takes; null: half of the cores. @type {import("../lib/store.js").Signal<number | null>} */
export const threads = remembered("tab.threads", /** @type {number | null} */ (null));

/** @type {Engine | null} */
let loaded = null;
/** @type {AbortController | null} */
let loading = null;

/** @param {string} name @returns {Promise<Engine>} */
export async function engineOf(name) {
  const found = ENGINES[name];
  if (!found) throw new TabError("format");
  return (await found()).engine;
}

/** Models of the house that can run in a browser; those that are kept here when the house is closed.
 * @returns {Promise<{models: Model[], native_share: number[], closed: boolean}>} */
export async function models() {
  try {
    return { ...(await get("/domicile/tab")), closed: false };
  } catch (trouble) {
    if (/** @type {any} */ (trouble).status !== 0) throw trouble;
    return { models: Object.values(known.value), native_share: [], closed: true };
  }
}

/** @param {string} name @returns {Promise<Model>} */
async function modelOf(name) {
  if (now.value.model === name && known.value[name]) return known.value[name];
  const found = (await models()).models.find((m) => m.name === name);
  if (!found) throw new TabError("unknown", { name });
  return found;
}

/** Have a model ready in this tab. One at a time: another one makes room. @param {string} name @param {import("./types.js").LoadOptions} [options] */
export async function load(name, options = {}) {
  if (now.value.model === name && (now.value.phase === "ready" || now.value.phase === "answering")) return;
  const model = await modelOf(name);
  if (!model.engine) throw new TabError("format");
  if (model.why) throw new TabError(model.why, { name, size: model.size_bytes });
  await unload();
  const mine = (loading = new AbortController());
  options.signal?.addEventListener("abort", () => mine.abort());
  now.value = { model: name, phase: "loading", progress: null };
  const engine = await engineOf(model.engine);
  try {
    await engine.load(model, {
      threads: threads.value ?? undefined,
      ...options,
      signal: mine.signal,
      onProgress: (progress) => {
        if (loading === mine) now.value = { model: name, phase: "loading", progress };
        options.onProgress?.(progress);
      },
    });
  } catch (trouble) {
    if (loading === mine) now.value = { model: null, phase: "idle", progress: null };
    throw trouble;
  } finally {
    if (loading === mine) loading = null;
  }
  loaded = engine;
  known.value = { ...known.value, [name]: model };
  now.value = { model: name, phase: "ready", progress: null };
}

/** Give the memory back, or stop the loading. What is kept stays. */
export async function unload() {
  loading?.abort();
  loading = null;
  const before = loaded;
  loaded = null;
  now.value = { model: null, phase: "idle", progress: null };
  await before?.unload();
}

/** Stop the answer that is coming. */
export const abort = () => loaded?.abort();

/**
 * Ask a model, wherever it is to answer. In the tab it is loaded first, if it is not.
 * @param {string} model @param {Place} place @param {import("./types.js").Message[]} messages
 * @param {import("./types.js").ChatOptions & {onProgress?: (now: import("./types.js").Progress) => void}} [options]
 * @returns {AsyncGenerator<import("./types.js").Part>}
 */
export async function* chatWith(model, place, messages, { onProgress, ...options } = {}) {
  if (place !== "tab") {
    const { addressed } = await import("./server.js");
    yield* addressed(model).chat(messages, { ...options, ...(place === "away" ? { strategy: "away" } : {}) });
    return;
  }
  await load(model, { onProgress, signal: options.signal });
  const engine = /** @type {Engine} */ (loaded);
  now.value = { model, phase: "answering", progress: null };
  try {
    for await (const part of engine.chat(messages, options)) yield { ...part, by: model };
  } finally {
    if (now.value.model === model && now.value.phase === "answering") now.value = { model, phase: "ready", progress: null };
  }
}

/** Everything that engines keep in this browser. @returns {Promise<import("./types.js").Kept[]>} */
export async function kept() {
  const found = await Promise.all(IN_TAB.map(async (name) => (await engineOf(name)).kept().catch(() => [])));
  return found.flat();
}

/** @param {import("./types.js").Kept} one */
export async function forget(one) {
  if (now.value.model === one.name) await unload();
  await (await engineOf(one.engine)).forget(one.id);
  const { [one.name]: _, ...rest } = known.value;
  known.value = rest;
}

/** How much room this browser gives, how much is taken, and whether it promised to keep it.
 * @returns {Promise<{usage: number, quota: number, persisted: boolean} | null>} null where it does not say */
export async function room() {
  if (!navigator.storage?.estimate) return null;
  const [{ usage = 0, quota = 0 }, persisted] = await Promise.all([navigator.storage.estimate(), navigator.storage.persisted?.() ?? false]);
  return { usage, quota, persisted };
}

/** Ask the browser not to clear what is kept here when room gets short. It may say no. */
export const persist = async () => (await navigator.storage?.persist?.()) ?? false;
