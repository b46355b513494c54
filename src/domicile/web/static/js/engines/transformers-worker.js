/** The other end of `transformers.js`: the library in a worker, told to ask nobody but the house. */
import { vendored } from "./place.js";

const CACHE = "domicile-onnx";
const ORT = "onnxruntime-web-1.31.0-dev.20260914-8d85527a0/ort-wasm-simd-threaded.asyncify";
const MOST_TOKENS = 1024;

/** @type {any} */
let pipe = null;
/** @type {any} */
let brake = null;
/** @type {Promise<any>} */
const loading = import(vendored("transformers-4.3.1/transformers.js"));

addEventListener("message", async ({ data }) => {
  const { id, deed } = data;
  try {
    if (deed === "load") await load(id, data);
    else if (deed === "chat") await (data.samples ? hear(id, data) : chat(id, data));
    else brake?.interrupt();
  } catch (trouble) {
    postMessage({ id, error: String(/** @type {any} */ (trouble)?.message ?? trouble) });
  }
});

/** From the cache, else from the house, and then kept. @param {string | URL} address @param {RequestInit} [options] */
async function ours(address, options) {
  const url = new URL(address, location.origin);
  if (url.origin !== location.origin) throw new Error(`asked ${url.origin}`);
  if (!url.pathname.startsWith("/domicile/files/")) return fetch(url, options);
  const cache = await caches.open(CACHE);
  const before = await cache.match(url);
  if (before) return before;
  const answer = await fetch(url, options);
  if (answer.status === 200 && (options?.method ?? "GET") === "GET") await cache.put(url, answer.clone());
  return answer;
}

/** @param {number} id @param {{path: string, task: string, dtype: string, folder: string, sizes: Record<string, number>, device: string, threads: number}} wish */
async function load(id, { path, task, dtype, folder, sizes, device, threads }) {
  const { env, pipeline } = await loading;
  Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, useBrowserCache: false, useWasmCache: false, fetch: ours });
  Object.assign(env.backends.onnx.wasm, { wasmPaths: { mjs: vendored(`${ORT}.mjs`), wasm: vendored(`${ORT}.wasm`) }, numThreads: threads });
  /** @type {Map<string, number>} */
  const came = new Map();
  const total = Object.values(sizes).reduce((sum, n) => sum + n, 0);
  const heard = (/** @type {{status: string, file?: string, loaded?: number}} */ { status, file, loaded }) => {
    if (status === "progress" && file) came.set(file, loaded ?? 0);
    const all = [...came.values()].reduce((sum, n) => sum + n, 0);
    postMessage({ id, progress: status === "ready" ? { loaded: 0, total: null, step: "prepare" } : { loaded: Math.min(all, total), total, step: "fetch" } });
  };
  pipe = await pipeline(task, path, { dtype, device, subfolder: folder, local_files_only: true, progress_callback: heard });
  postMessage({ id, done: true });
}

/** @param {number} id @param {{messages: any[], maxTokens?: number, temperature?: number}} wish */
async function chat(id, { messages, maxTokens, temperature }) {
  const { TextStreamer, InterruptableStoppingCriteria } = await loading;
  brake = new InterruptableStoppingCriteria();
  let tokens = 0;
  const begun = performance.now();
  const streamer = new TextStreamer(pipe.tokenizer, {
    skip_prompt: true,
    skip_special_tokens: true,
    callback_function: (/** @type {string} */ text) => postMessage({ id, part: { text, facts: null } }),
    token_callback_function: () => void tokens++,
  });
  const sampling = temperature ? { do_sample: true, temperature } : {};
  await pipe(messages, { max_new_tokens: maxTokens ?? MOST_TOKENS, streamer, stopping_criteria: brake, return_full_text: false, ...sampling });
  const facts = { tokens, perSecond: (tokens / (performance.now() - begun)) * 1000, finish: tokens >= (maxTokens ?? MOST_TOKENS) ? "length" : "stop" };
  postMessage({ id, part: { text: "", facts } });
  postMessage({ id, done: true });
}

/** Segments, with the seconds at which each begins and ends. @param {number} id @param {{samples: Float32Array, language?: string, translate?: boolean}} wish */
async function hear(id, { samples, language, translate }) {
  const { InterruptableStoppingCriteria } = await loading;
  brake = new InterruptableStoppingCriteria();
  const long = samples.length > 30 * 16000 ? { chunk_length_s: 30, stride_length_s: 5 } : {};
  const said = { ...(language ? { language } : {}), ...(translate ? { task: "translate" } : {}) };
  const { chunks } = await pipe(samples, { ...long, ...said, return_timestamps: true, stopping_criteria: brake });
  const end = samples.length / 16000;
  for (const { text, timestamp } of chunks) postMessage({ id, part: { text, start: Math.min(timestamp[0] ?? 0, end), end: Math.min(timestamp[1] ?? end, end) } });
  postMessage({ id, done: true });
}
