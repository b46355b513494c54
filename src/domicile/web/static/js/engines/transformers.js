/** transformers.js: ONNX, on the processor or on WebGPU; text and, with Whisper, speech. Files are kept in a cache of ours. */
import { forgetIn, keptIn } from "./caches.js";
import { folderOf } from "./place.js";
import { stopped, TabError } from "./trouble.js";
import { Remote } from "./worker.js";
import { adapter } from "./webllm.js";
import { threadsHere } from "./wllama.js";

/** @typedef {import("./types.js").Engine} Engine */

export const CACHE = "domicile-onnx";
const QUIET_MS = 120_000;

const remote = new Remote("./transformers-worker.js");
/** @type {AbortController | null} */
let current = null;

/** @type {Engine} */
export const engine = {
  name: "transformers",

  async able() {
    return "caches" in globalThis ? { able: true, why: null } : { able: false, why: "not_secure" };
  },

  async load(model, { onProgress, signal, quietMs = QUIET_MS, threads } = {}) {
    const { able, why } = await this.able();
    if (!able) throw new TabError(/** @type {string} */ (why));
    const sizes = Object.fromEntries(model.files.map((f) => [f.name, f.size_bytes]));
    const { card } = model.dtype === "fp16" || model.dtype === "q4f16" ? await adapter() : { card: null };
    const wish = {
      path: new URL(folderOf(model.name)).pathname.replace(/\/$/, ""),
      task: model.task,
      dtype: model.dtype,
      folder: model.folder,
      sizes,
      device: card ? "webgpu" : "wasm",
      threads: threads ?? threadsHere(),
    };
    await remote.load(wish, { onProgress, signal, quietMs });
  },

  async *chat(messages, { signal, maxTokens, temperature } = {}) {
    yield* streamed({ messages, maxTokens, temperature }, signal);
  },

  abort: async () => current?.abort(),
  unload: async () => remote.drop(),
  kept: () => keptIn([CACHE], "transformers"),
  forget: (id) => forgetIn([CACHE], id),
};

/** What a loaded Whisper hears, segment by segment.
 * @param {Float32Array} samples of one channel, 16,000 a second @param {{language?: string, translate?: boolean, signal?: AbortSignal}} [options]
 * @returns {AsyncGenerator<{text: string, start: number, end: number}>} */
export async function* transcribe(samples, { language, translate, signal } = {}) {
  for await (const part of streamed({ samples, language, translate }, signal)) yield /** @type {any} */ (part);
}

/** @param {Record<string, unknown>} wish @param {AbortSignal} [signal] @returns {AsyncGenerator<import("./types.js").Part>} */
async function* streamed(wish, signal) {
  const mine = (current = new AbortController());
  const stop = () => mine.abort();
  signal?.addEventListener("abort", stop);
  try {
    for await (const part of remote.stream(wish, mine.signal)) yield { thought: "", by: null, ...part };
    if (mine.signal.aborted) throw stopped();
  } finally {
    signal?.removeEventListener("abort", stop);
    if (current === mine) current = null;
  }
}
