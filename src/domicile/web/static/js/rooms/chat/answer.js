/** One answer, as it comes: the pieces of a stream in OpenAI's dialect. */
import { ApiError, ask } from "../../lib/api.js";
import { eventsOf } from "../../lib/sse.js";

/** @typedef {{tokens: number | null, perSecond: number | null, finish: string | null}} Facts */
/** @typedef {{text: string, thought: string, by: string | null, facts: Facts | null}} Part */

/**
 * @param {{model: string, messages: {role: string, content: string}[], strategy?: string, signal: AbortSignal}} wish
 * @returns {AsyncGenerator<Part>}
 */
export async function* answer({ model, messages, strategy, signal }) {
  const json = { model, messages, stream: true, stream_options: { include_usage: true }, ...(strategy ? { strategy } : {}) };
  const reply = await ask("/v1/chat/completions", { json, signal });
  /** @type {Facts} */
  const facts = { tokens: null, perSecond: null, finish: null };
  for await (const { data } of eventsOf(/** @type {ReadableStream<Uint8Array>} */ (reply.body))) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(reply.status, chunk.error);
    const choice = chunk.choices?.[0];
    const delta = choice?.delta ?? {};
    facts.finish = choice?.finish_reason ?? facts.finish;
    facts.tokens = chunk.usage?.completion_tokens ?? facts.tokens;
    facts.perSecond = chunk.timings?.predicted_per_second ?? facts.perSecond;
    yield { text: delta.content ?? "", thought: delta.reasoning_content ?? "", by: chunk.served_by ?? null, facts: facts.finish ? { ...facts } : null };
  }
}
