/** Words that a model wrote or writes, as Markdown or as they are. */
import { Markdown } from "../../lib/md.js";
import { html, useEffect, useRef } from "../../lib/preact.js";

/** @param {{text: string, done: boolean}} props */
export function Written({ text, done }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const drawer = useRef(/** @type {Markdown | null} */ (null));
  useEffect(() => {
    drawer.current ??= new Markdown(/** @type {HTMLElement} */ (place.current));
    drawer.current.draw(text, done);
  }, [text, done]);
  return html`<div class="written" ref=${place}></div>`;
}
