/** The other end of `webllm.js`: web-llm in a worker. */
import { vendored } from "./place.js";

/** @type {any} */
let engine = null;
const loading = import(vendored("web-llm-0.2.86/web-llm.js"));

addEventListener("message", async ({ data }) => {
  const { id, deed } = data;
  try {
    if (deed === "load") await load(id, data);
    else if (deed === "chat") await chat(id, data);
    else await engine?.interruptGenerate();
  } catch (trouble) {
    postMessage({ id, error: String(/** @type {any} */ (trouble)?.message ?? trouble) });
  }
});

/** @param {number} id @param {{record: any, size_bytes: number}} wish */
async function load(id, { record, size_bytes }) {
  const { MLCEngine } = await loading;
  engine = new MLCEngine({
    appConfig: { model_list: [record], cacheBackend: "cache" },
    logLevel: "ERROR",
    initProgressCallback: (/** @type {{progress: number, text: string}} */ { progress, text }) => {
      const fetching = /fetch|param cache/i.test(text);
      const now = fetching ? { loaded: progress * size_bytes, total: size_bytes, step: "fetch" } : { loaded: progress, total: 1, step: "prepare" };
      postMessage({ id, progress: now });
    },
  });
  await engine.reload(record.model_id);
  postMessage({ id, done: true });
}

/** @param {number} id @param {{messages: any[], max_tokens?: number, temperature?: number}} wish */
async function chat(id, { messages, max_tokens, temperature }) {
  const wish = { messages, stream: true, stream_options: { include_usage: true }, max_tokens, temperature };
  for await (const part of await engine.chat.completions.create(wish)) postMessage({ id, part });
  postMessage({ id, done: true });
}
