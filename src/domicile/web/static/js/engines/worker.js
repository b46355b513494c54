/**
 * An engine in a worker of its own, so that the page stays quick, and so that what hangs can be ended: the part of it
 * that runs on the page. The worker answers `{id, part | progress | done | error}`; `webllm-worker.js` and
 * `transformers-worker.js` are the other end.
 */
import { patiently, stopped, TabError } from "./trouble.js";

/** How long an answer that was told to stop may go on before its worker is ended. */
const STOP_MS = 5000;

export class Remote {
  /** @param {string} file the worker's module, beside this one */
  constructor(file) {
    this.file = file;
    /** @type {Worker | null} */
    this.worker = null;
    this.number = 0;
    /** @type {Map<number, (said: any) => void>} */
    this.listeners = new Map();
  }

  get loaded() {
    return this.worker !== null;
  }

  drop() {
    this.worker?.terminate();
    this.worker = null;
    for (const tell of this.listeners.values()) tell({ error: "ended" });
    this.listeners.clear();
  }

  #open() {
    const worker = (this.worker = new Worker(new URL(this.file, import.meta.url), { type: "module" }));
    worker.onmessage = ({ data }) => this.listeners.get(data.id)?.(data);
    worker.onerror = (event) => {
      event.preventDefault();
      for (const tell of this.listeners.values()) tell({ error: event.message || "worker" });
    };
    return worker;
  }

  /** @param {Record<string, unknown>} wish @param {(said: any) => void} tell @returns {number} */
  #ask(wish, tell) {
    const id = ++this.number;
    this.listeners.set(id, tell);
    (this.worker ?? this.#open()).postMessage({ id, ...wish });
    return id;
  }

  /** @param {Record<string, unknown>} wish @param {import("./types.js").LoadOptions & {quietMs: number}} options */
  async load(wish, { onProgress, signal, quietMs }) {
    this.drop();
    await patiently(
      (beat) =>
        new Promise((resolve, reject) => {
          const id = this.#ask({ deed: "load", ...wish }, (said) => {
            beat();
            if (said.progress) return onProgress?.(said.progress);
            this.listeners.delete(id);
            if (said.error) reject(new TabError("load", { problem: String(said.error).slice(0, 300) }));
            else resolve(undefined);
          });
        }),
      { quietMs, signal, drop: () => this.drop() },
    ).catch((trouble) => {
      this.drop();
      throw signal?.aborted ? stopped() : trouble;
    });
  }

  /** @param {Record<string, unknown>} wish @param {AbortSignal} [signal] @returns {AsyncGenerator<any>} */
  async *stream(wish, signal) {
    if (!this.worker) throw new TabError("asleep");
    /** @type {any[]} */
    const came = [];
    let wake = () => {};
    const id = this.#ask({ deed: "chat", ...wish }, (said) => (came.push(said), wake()));
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const stop = () => {
      this.worker?.postMessage({ id, deed: "stop" });
      timer = setTimeout(() => this.drop(), STOP_MS);
    };
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
    try {
      for (;;) {
        while (!came.length) await new Promise((resolve) => (wake = () => resolve(undefined)));
        const said = came.shift();
        if (signal?.aborted && (said.done || said.error)) throw stopped();
        if (said.error) throw new TabError("answer", { problem: String(said.error).slice(0, 300) });
        if (said.done) return;
        yield said.part;
      }
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      if (this.listeners.delete(id)) this.worker?.postMessage({ id, deed: "stop" });
    }
  }
}
