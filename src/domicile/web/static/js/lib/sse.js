/** Server-sent events over fetch: with headers of our own, aborted at will, gone on after the last one that was seen. */
import { ask, ApiError } from "./api.js";

/** @typedef {{id: string | null, event: string, data: string}} ServerEvent */

/**
 * The events of an answer, one by one. @param {ReadableStream<Uint8Array>} stream @returns {AsyncGenerator<ServerEvent>}
 */
export async function* eventsOf(stream) {
  const reader = stream.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = "";
  let [id, event, data] = [/** @type {string | null} */ (null), "message", /** @type {string[]} */ ([])];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { id, event, data: data.join("\n") };
          [event, data] = ["message", []];
        } else if (!line.startsWith(":")) {
          const [, name, text] = /** @type {RegExpMatchArray} */ (line.match(/^([^:]*):? ?(.*)$/s));
          if (name === "data") data.push(text);
          else if (name === "event") event = text;
          else if (name === "id") id = text;
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Listen for as long as the page is looked at: comes back by itself, and after the last event it saw. A hidden tab lets
 * its connection go (a browser has six to a house, for all tabs together).
 * @param {string} path
 * @param {Record<string, (data: any) => void>} handlers by the name of the event; data is JSON
 * @param {{onState?: (state: "open" | "lost", trouble?: any) => void, lasting?: boolean}} [options] `lasting`: also while hidden
 * @returns {() => void} stops
 */
export function listen(path, handlers, { onState, lasting = false } = {}) {
  /** @type {AbortController | null} */
  let current = null;
  let [stopped, last, failures] = [false, /** @type {string | null} */ (null), 0];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const open = async () => {
    if (stopped || current || (!lasting && document.hidden)) return;
    const mine = (current = new AbortController());
    try {
      /** @type {Record<string, string>} */
      const headers = last === null ? {} : { "Last-Event-ID": last };
      const answer = await ask(path, { headers: { Accept: "text/event-stream", ...headers }, signal: mine.signal, cache: "no-store" });
      failures = 0;
      onState?.("open");
      for await (const one of eventsOf(/** @type {ReadableStream<Uint8Array>} */ (answer.body))) {
        if (one.id !== null) last = one.id;
        handlers[one.event]?.(JSON.parse(one.data));
      }
    } catch (trouble) {
      if (trouble instanceof ApiError && trouble.status >= 400 && trouble.status < 500 && trouble.status !== 429) stopped = true;
      if (!mine.signal.aborted) onState?.("lost", trouble);
    }
    if (current === mine) current = null;
    if (!stopped && !mine.signal.aborted) timer = setTimeout(open, Math.min(15000, 500 * 2 ** failures++));
  };
  const look = () => {
    if (lasting) return;
    if (document.hidden) {
      current?.abort();
      current = null;
    } else {
      clearTimeout(timer);
      open();
    }
  };
  const leave = () => current?.abort();
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", leave);
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    current?.abort();
    document.removeEventListener("visibilitychange", look);
    removeEventListener("pagehide", leave);
  };
}
