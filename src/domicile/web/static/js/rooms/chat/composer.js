/** Where one writes: Enter sends, Shift and Enter begins a line; the same button stops. */
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";

/** @param {{send: (text: string) => void, stop: (() => void) | null, ready: boolean}} props */
export function Composer({ send, stop, ready }) {
  const [text, setText] = useState("");
  const place = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) place.current?.focus();
  }, []);
  const submit = () => {
    if (!text.trim() || stop || !ready) return;
    send(text.trim());
    setText("");
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  };
  /** @param {Event} event */
  const sent = (event) => {
    event.preventDefault();
    submit();
  };
  return html`<div class="composer-place">
    <form class="composer" onSubmit=${sent}>
      <textarea ref=${place} rows="1" placeholder=${say("page.chat.placeholder")} aria-label=${say("page.chat.placeholder")} value=${text}
        onInput=${(/** @type {any} */ e) => setText(e.target.value)} onKeyDown=${keys}></textarea>
      ${stop
        ? html`<button type="button" class="button" onClick=${stop}><${Icon} name="stop" label=${say("page.chat.stop")} /></button>`
        : html`<button type="submit" class="button primary" disabled=${!text.trim() || !ready}><${Icon} name="send" label=${say("page.chat.send")} /></button>`}
    </form>
    <p class="composer-note">${say("page.chat.note")}</p>
  </div>`;
}
