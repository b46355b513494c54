/** Dialogs: the browser's own <dialog>, which keeps the focus and closes by Escape; and the question before a deed. */
import { say } from "./i18n.js";
import { Icon } from "./icon.js";
import { html, render, useEffect, useId, useRef } from "./preact.js";

/** @param {{title: string, onClose: () => void, children?: any, foot?: any, busy?: boolean}} props */
export function Dialog({ title, onClose, children, foot, busy = false }) {
  const place = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const shown = place.current;
    shown?.showModal();
    /** @type {HTMLElement | null | undefined} */ (shown?.querySelector("[data-first], .dialog-body input"))?.focus();
    return () => {
      shown?.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  /** @param {Event} event */
  const cancel = (event) => {
    event.preventDefault();
    if (!busy) onClose();
  };
  return html`<dialog class="dialog" ref=${place} aria-labelledby=${id} onCancel=${cancel}>
    <div class="dialog-head">
      <h2 id=${id}>${title}</h2>
      <button type="button" class="ghost icon-only" disabled=${busy} onClick=${onClose}><${Icon} name="close" label=${say("page.common.close")} /></button>
    </div>
    <div class="dialog-body stack">${children}</div>
    ${foot && html`<div class="dialog-foot">${foot}</div>`}
  </dialog>`;
}

/** Open a component in a dialog's place; it gets `close(result)`. @template T
 * @param {any} component @param {Record<string, any>} [props] @returns {Promise<T | undefined>} */
export function open(component, props = {}) {
  return new Promise((resolve) => {
    const place = Object.assign(document.createElement("div"), { className: "dialog-host" });
    document.body.append(place);
    /** @param {T} [result] */
    const close = (result) => {
      render(null, place);
      place.remove();
      resolve(result);
    };
    render(html`<${component} ...${props} close=${close} />`, place);
  });
}

/** Ask before a deed that cannot be undone.
 * @param {{title: string, text: string, yes: string, danger?: boolean}} question @returns {Promise<boolean>} */
export async function confirm(question) {
  return (await open(Question, question)) === true;
}

/** @param {{title: string, text: string, yes: string, danger?: boolean, close: (yes?: boolean) => void}} props */
function Question({ title, text, yes, danger = false, close }) {
  const foot = html`
    <button type="button" class="button" data-first onClick=${() => close()}>${say("page.common.cancel")}</button>
    <button type="button" class="button primary ${danger ? "danger" : ""}" onClick=${() => close(true)}>${yes}</button>`;
  return html`<${Dialog} title=${title} onClose=${() => close()} foot=${foot}><p>${text}</p><//>`;
}
