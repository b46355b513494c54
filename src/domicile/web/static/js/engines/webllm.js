/** web-llm: models compiled with MLC, on WebGPU alone. Weights, configuration and library come from the house and are kept in the browser's caches. */
import { forgetIn, keptIn } from "./caches.js";
import { folderOf } from "./place.js";
import { part } from "./server.js";
import { TabError } from "./trouble.js";
import { Remote } from "./worker.js";

/** @typedef {import("./types.js").Engine} Engine */

const CACHES = ["webllm/model", "webllm/config", "webllm/wasm"];
/** Compiling its shaders takes a while on a slow card, and says nothing meanwhile. */
const QUIET_MS = 180_000;

const remote = new Remote("./webllm-worker.js");
/** @type {AbortController | null} */
let current = null;

/** The card that WebGPU gives, or why it gives none. */
export async function adapter() {
  const gpu = /** @type {any} */ (navigator).gpu;
  if (!gpu) return { card: null, why: isSecureContext ? "no_webgpu" : "not_secure" };
  const card = await gpu.requestAdapter().catch(() => null);
  return { card, why: card ? null : "no_adapter" };
}

/** The record of web-llm's list for a model of this house: everything at one place, ours.
 * @param {import("./types.js").Model} model */
export function record(model) {
  const { model_lib, ...rest } = model.record ?? {};
  const base = folderOf(model.name);
  return { ...rest, model: base, model_id: model.name, model_lib: base + encodeURIComponent(model_lib ?? "") };
}

/** @type {Engine} */
export const engine = {
  name: "webllm",

  async able() {
    const { card, why } = await adapter();
    return { able: card !== null, why };
  },

  async load(model, { onProgress, signal, quietMs = QUIET_MS } = {}) {
    const { card, why } = await adapter();
    if (!card) throw new TabError(/** @type {string} */ (why));
    const lacking = (model.record?.required_features ?? []).filter((/** @type {string} */ f) => !card.features.has(f));
    if (lacking.length) throw new TabError("no_feature", { features: lacking.join(", ") });
    await remote.load({ record: record(model), size_bytes: model.size_bytes }, { onProgress, signal, quietMs });
  },

  async *chat(messages, { signal, maxTokens, temperature } = {}) {
    const mine = (current = new AbortController());
    const stop = () => mine.abort();
    signal?.addEventListener("abort", stop);
    const facts = { tokens: null, perSecond: null, finish: null };
    try {
      const wish = { messages, max_tokens: maxTokens, temperature };
      for await (const chunk of remote.stream(wish, mine.signal)) yield part(chunk, facts);
    } finally {
      signal?.removeEventListener("abort", stop);
      if (current === mine) current = null;
    }
  },

  abort: async () => current?.abort(),
  unload: async () => remote.drop(),
  kept: () => keptIn(CACHES, "webllm"),
  forget: (id) => forgetIn(CACHES, id),
};
