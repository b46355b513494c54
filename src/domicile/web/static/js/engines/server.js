/** The house itself, or whoever it asks elsewhere: the engine that every other one is compared with. */
import { ApiError, ask, inPath, post } from "../lib/api.js";
import { eventsOf } from "../lib/sse.js";

/** @typedef {import("./types.js").Engine} Engine */

let name = "";
/** @type {AbortController | null} */
let current = null;

/** @type {Engine} */
export const engine = {
  name: "server",
  able: async () => ({ able: true, why: null }),
  async load(model, { signal } = {}) {
    name = model.name;
    await post(`/domicile/models/${inPath(name)}/wake`, {}, { signal });
  },
  async *chat(messages, { signal, maxTokens, temperature, strategy } = {}) {
    const mine = (current = new AbortController());
    const stop = () => mine.abort();
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) mine.abort();
    const json = { model: name, messages, stream: true, stream_options: { include_usage: true }, max_tokens: maxTokens, temperature, strategy };
    try {
      const answer = await ask("/v1/chat/completions", { json, signal: mine.signal });
      yield* parts(answer);
    } finally {
      signal?.removeEventListener("abort", stop);
      if (current === mine) current = null;
    }
  },
  abort: async () => current?.abort(),
  unload: async () => void (await post(`/domicile/models/${inPath(name)}/sleep`, {})),
  kept: async () => [],
  forget: async () => {},
};

/** Ask by name, without waking it first: the house wakes it. @param {string} model */
export const addressed = (model) => ((name = model), engine);

/** @param {Response} answer @returns {AsyncGenerator<import("./types.js").Part>} */
async function* parts(answer) {
  const facts = { tokens: null, perSecond: null, finish: null };
  for await (const { data } of eventsOf(/** @type {ReadableStream<Uint8Array>} */ (answer.body))) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(answer.status, chunk.error);
    yield part(chunk, facts);
  }
}

/** A piece of OpenAI's stream, with what is known so far in `facts`. @param {any} chunk @param {{tokens: number | null, perSecond: number | null, finish: string | null}} facts */
export function part(chunk, facts) {
  const choice = chunk.choices?.[0];
  const delta = choice?.delta ?? {};
  facts.finish = choice?.finish_reason ?? facts.finish;
  facts.tokens = chunk.usage?.completion_tokens ?? chunk.timings?.predicted_n ?? facts.tokens;
  facts.perSecond = chunk.timings?.predicted_per_second ?? chunk.usage?.extra?.decode_tokens_per_s ?? facts.perSecond;
  return { text: delta.content ?? "", thought: delta.reasoning_content ?? "", by: chunk.served_by ?? null, facts: facts.finish ? { ...facts } : null };
}
