/** The address of this room: links that change it without a load, the back button, and what is shown where. */
import { html } from "../../lib/preact.js";
import { signal } from "../../lib/store.js";
import { hrefOf, whereOf } from "./where.js";

/** @typedef {import("./where.js").Where} Where */

/** @type {import("../../lib/store.js").Signal<Where>} */
export const where = signal(whereOf(location.search));

const scroller = () => /** @type {HTMLElement} */ (document.getElementById("room"));
/** How the last step came about: where to scroll to, and whether the focus goes to the new heading. */
export const step = { scroll: /** @type {number | null} */ (null), moved: false };

/** @param {Partial<Where>} to @param {{replace?: boolean}} [options] `replace`: a filter, not a step to come back from */
export function go(to, { replace = false } = {}) {
  const href = hrefOf(to);
  if (replace) history.replaceState(history.state, "", href);
  else {
    history.replaceState({ ...history.state, scroll: scroller().scrollTop }, "");
    history.pushState({}, "", href);
    Object.assign(step, { scroll: 0, moved: true });
  }
  where.value = whereOf(location.search);
}

/** Follow the back and forward buttons, and turn links of this room into steps. */
export function follow() {
  history.scrollRestoration = "manual";
  addEventListener("popstate", (event) => {
    Object.assign(step, { scroll: event.state?.scroll ?? 0, moved: true });
    where.value = whereOf(location.search);
  });
  // The side's own link to this room begins it anew, without a load.
  document.querySelector('.rooms a[href="/models"]')?.addEventListener("click", (event) => {
    const click = /** @type {MouseEvent} */ (event);
    if (!plain(click)) return;
    event.preventDefault();
    go({});
  });
}

/** @param {MouseEvent} event */
const plain = (event) => event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;

/** A link within this room. @param {{to: Partial<Where>, children?: any, [attribute: string]: any}} props */
export function Link({ to, children, ...rest }) {
  /** @param {MouseEvent} event */
  const click = (event) => {
    if (!plain(event)) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${hrefOf(to)} onClick=${click} ...${rest}>${children}</a>`;
}
