/** What can go wrong with a model in the tab, in the reader's words; and the patience of whoever waits for one. */
import { say } from "../lib/i18n.js";

/** Of the same shape as an error of the house, so that a room shows both alike. */
export class TabError extends Error {
  /** @param {string} code of `page.error.tab.<code>` and its `.hint` @param {Record<string, unknown>} [facts] */
  constructor(code, facts = {}) {
    super(say(`page.error.tab.${code}`, facts));
    this.name = "TabError";
    this.status = 0;
    this.code = code;
    const hint = say(`page.error.tab.${code}.hint`, facts);
    /** @type {string | null} */
    this.hint = hint.startsWith("page.error.") ? null : hint;
  }
}

/** As fetch says it when it was told to stop. */
export const stopped = () => new DOMException("stopped", "AbortError");

/**
 * Wait for work that may never end: given up when nothing was heard of it for `quietMs`, or when the person stops it.
 * `begin` is given `beat`, to be called at each sign of life; `drop` ends what was begun.
 * @template T @param {(beat: () => void) => Promise<T>} begin
 * @param {{quietMs: number, signal?: AbortSignal, drop: () => void}} options @returns {Promise<T>}
 */
export function patiently(begin, { quietMs, signal, drop }) {
  return new Promise((resolve, reject) => {
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    };
    /** @param {any} reason */
    const giveUp = (reason) => {
      end();
      drop();
      reject(reason);
    };
    const stop = () => giveUp(stopped());
    const beat = () => {
      clearTimeout(timer);
      timer = setTimeout(() => giveUp(new TabError("silent", { seconds: Math.round(quietMs / 1000) })), quietMs);
    };
    if (signal?.aborted) return stop();
    signal?.addEventListener("abort", stop);
    beat();
    begin(beat).then(
      (value) => (end(), resolve(value)),
      (reason) => (end(), reject(reason)),
    );
  });
}
