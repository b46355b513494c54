/** Words that a model wrote or writes, as Markdown. What draws it comes when there is something to draw. */
import { html, useEffect, useRef } from "../../lib/preact.js";

/** @type {typeof import("../../lib/md.js") | null} */
let drawing = null;
/** @type {Promise<void> | undefined} */
let coming;

/** Have what draws Markdown here. */
export const prepare = () => (coming ??= import("../../lib/md.js").then((found) => void (drawing = found)));

/** @param {{text: string, done: boolean}} props */
export function Written({ text, done }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const drawer = useRef(/** @type {import("../../lib/md.js").Markdown | null} */ (null));
  const now = useRef({ text, done });
  now.current = { text, done };
  useEffect(() => {
    const draw = () => {
      if (!drawing || !place.current) return;
      drawer.current ??= new drawing.Markdown(place.current);
      drawer.current.draw(now.current.text, now.current.done);
    };
    if (drawing) draw();
    else prepare().then(draw);
  }, [text, done]);
  return html`<div class="written" ref=${place}></div>`;
}
