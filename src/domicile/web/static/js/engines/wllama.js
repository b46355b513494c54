/**
 * wllama: llama.cpp as WebAssembly, for GGUF. Files are kept in the browser's own folder for this page (OPFS), and are
 * there when the house is closed. Computes on WebGPU where there is one, else on the processor, in a worker of its own.
 */
import { folderOf, read, vendored } from "./place.js";
import { part } from "./server.js";
import { patiently, stopped, TabError } from "./trouble.js";

/** @typedef {import("./types.js").Engine} Engine */
/** @typedef {import("./types.js").Model} Model */

const QUIET_MS = 90_000;
const CONTEXT = 4096;
/** How wllama 3.8.1 names its files: `cache/<sha1 of the address>_<file>`, beside `cache/__metadata__<that>`. */
const [FOLDER, NOTES] = ["cache", "__metadata__"];
/** A module with a memory of 64-bit addresses: `(module (memory i64 1))`. */
const MEMORY64 = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 5, 3, 1, 4, 1]);

/** @type {any} */
let running = null;
/** @type {AbortController | null} */
let current = null;

const unload = async () => {
  const before = running;
  running = null;
  await before?.exit().catch(() => {});
};

/** @type {Engine} */
export const engine = {
  name: "wllama",

  async able() {
    if (!navigator.storage?.getDirectory) return { able: false, why: "no_storage" };
    const firefox = navigator.userAgent.includes("Firefox"); // runs without JSPI, on the processor alone
    if (!WebAssembly.validate(MEMORY64) || !("Suspending" in WebAssembly || firefox)) return { able: false, why: "old_browser" };
    return { able: true, why: null };
  },

  async load(model, { onProgress, signal, quietMs = QUIET_MS, threads, context = CONTEXT } = {}) {
    const { able, why } = await this.able();
    if (!able) throw new TabError(/** @type {string} */ (why));
    await unload();
    const url = folderOf(model.name, true) + (model.entry ?? "").split("/").map(encodeURIComponent).join("/");
    await forgetChanged(url);
    const { Wllama, LoggerWithoutDebug } = await import(vendored("wllama-3.8.1/wllama.js"));
    const quiet = { ...LoggerWithoutDebug, log() {}, warn() {}, error() {} };
    const mine = new Wllama({ default: vendored("wllama-3.8.1/wllama.wasm") }, { allowOffline: true, suppressNativeLog: true, logger: quiet });
    mine.setCompat(null); // its build for old browsers would come from a CDN
    const stop = new AbortController();
    signal?.addEventListener("abort", () => stop.abort());
    await patiently(
      (beat) => {
        /** @param {{loaded: number, total: number}} now */
        const heard = ({ loaded, total }) => {
          beat();
          onProgress?.(loaded < total ? { loaded, total, step: "fetch" } : { loaded: 0, total: null, step: "prepare" });
        };
        const wish = { progressCallback: heard, signal: stop.signal, n_ctx: context, n_parallel: 1, n_threads: threads ?? threadsHere() };
        return mine.loadModelFromUrl(url, wish);
      },
      { quietMs, signal, drop: () => (stop.abort(), mine.exit().catch(() => {})) },
    ).catch(async (trouble) => {
      mine.exit().catch(() => {});
      if (signal?.aborted) throw stopped();
      if (trouble instanceof TabError) throw trouble;
      if (/quota|space/i.test(String(trouble?.name) + String(trouble?.message))) throw new TabError("full");
      throw new TabError("load", { problem: String(trouble?.message ?? trouble).slice(0, 300) });
    });
    running = mine;
  },

  async *chat(messages, { signal, maxTokens, temperature } = {}) {
    if (!running) throw new TabError("asleep");
    const mine = (current = new AbortController());
    const stop = () => mine.abort();
    signal?.addEventListener("abort", stop);
    const facts = { tokens: null, perSecond: null, finish: null };
    try {
      const wish = { messages, stream: true, abortSignal: mine.signal, max_tokens: maxTokens ?? -1, ...(temperature === undefined ? {} : { temperature }) };
      for await (const chunk of await running.createChatCompletion(wish)) yield part(chunk, facts);
    } catch (trouble) {
      if (mine.signal.aborted) throw stopped();
      throw new TabError("answer", { problem: String(/** @type {any} */ (trouble)?.message ?? trouble).slice(0, 300) });
    } finally {
      signal?.removeEventListener("abort", stop);
      if (current === mine) current = null;
    }
  },

  abort: async () => current?.abort(),
  unload,

  async kept() {
    /** @type {Map<string, import("./types.js").Kept & {files: number, of: number}>} */
    const found = new Map();
    for (const { key, size, url, whole } of await entries()) {
      const ours = url ? read(url) : null;
      const id = ours?.name ?? `?${key}`;
      const before = found.get(id) ?? { id, engine: "wllama", name: ours?.name ?? key.slice(41), size_bytes: 0, whole: true, files: 0, of: Number(/-of-(\d{5})\.gguf$/.exec(key)?.[1] ?? 1) };
      found.set(id, { ...before, size_bytes: before.size_bytes + size, whole: before.whole && whole, files: before.files + 1 });
    }
    return [...found.values()].map(({ files, of, ...one }) => ({ ...one, whole: one.whole && files >= of }));
  },

  async forget(id) {
    for (const { key, url } of await entries()) {
      if ((url ? read(url)?.name : `?${key}`) === id) await drop(key);
    }
  },
};

/** A core or two is left to whatever else the person does: threads that wait for each other are worse than one. */
export const threadsHere = () => (crossOriginIsolated ? Math.max(1, Math.floor((navigator.hardwareConcurrency || 2) / 2)) : 1);

async function folder() {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
}

/** Every file of weights that is kept, with the address it came from; without one where a download was cut.
 * @returns {Promise<{key: string, size: number, url: string | null, etag: string, whole: boolean}[]>} */
async function entries() {
  if (!navigator.storage?.getDirectory) return [];
  const found = [];
  const here = await folder();
  for await (const [key, handle] of /** @type {any} */ (here).entries()) {
    if (handle.kind !== "file" || key.startsWith(NOTES)) continue;
    const { size } = await handle.getFile();
    const note = await here.getFileHandle(NOTES + key).then((h) => h.getFile()).then((f) => f.text()).then(JSON.parse).catch(() => null);
    found.push({ key, size, url: note?.originalURL ?? null, etag: note?.etag ?? "", whole: note?.originalSize === size });
  }
  return found;
}

/** @param {string} key */
async function drop(key) {
  const here = await folder();
  for (const name of [key, NOTES + key]) await here.removeEntry(name).catch(() => {});
}

/** The house may have another version of the model by now; where it does not answer, what is kept will do. @param {string} url */
async function forgetChanged(url) {
  const before = (await entries()).filter((e) => e.url && read(e.url)?.name === read(url)?.name);
  for (const one of before) {
    const now = await fetch(/** @type {string} */ (one.url), { method: "HEAD" }).catch(() => null);
    const etag = (now?.headers.get("etag") ?? "").replace(/[^A-Za-z0-9]/g, "");
    if (now && (now.status === 404 || (now.ok && etag !== one.etag))) await drop(one.key);
  }
}
