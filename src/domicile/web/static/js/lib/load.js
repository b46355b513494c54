/** What a component asks of the API before it can show something: loading, the answer, or what went wrong. */
import { get } from "./api.js";
import { say } from "./i18n.js";
import { Icon } from "./icon.js";
import { html, useEffect, useState } from "./preact.js";

/** @typedef {{data: any, error: any, again: () => void}} Loaded */

/** @param {string} path @returns {Loaded} */
export function useApi(path) {
  const [found, setFound] = useState({ data: /** @type {any} */ (null), error: /** @type {any} */ (null) });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const leave = new AbortController();
    get(path, { signal: leave.signal }).then(
      (data) => setFound({ data, error: null }),
      (error) => leave.signal.aborted || setFound({ data: null, error }),
    );
    return () => leave.abort();
  }, [path, round]);
  return { ...found, again: () => setRound(round + 1) };
}

/** Draws what came, or that it comes, or why it does not. @param {{of: Loaded, children: (data: any) => any}} props */
export function Shown({ of, children }) {
  if (of.error) return html`<${Trouble} error=${of.error} again=${of.again} />`;
  if (of.data === null) return html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`;
  return children(of.data);
}

/** @param {{error: any, again?: () => void}} props */
export function Trouble({ error, again }) {
  return html`<div class="note bad" role="alert"><${Icon} name="warn" /><div class="grow stack tight"><p>${error.message}</p>
    ${error.hint && html`<p class="small muted">${error.hint}</p>`}
    ${again && html`<div><button type="button" class="button small" onClick=${again}>${say("page.common.again")}</button></div>`}</div></div>`;
}
