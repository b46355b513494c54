/** For those who hear the page or drive it by keys: focus kept within what is open, and news said aloud. */

const FOCUSABLE = 'a[href], button:not([disabled]), input:not([disabled]), select:not([disabled]), textarea:not([disabled]), summary, [tabindex]:not([tabindex="-1"])';

/** What can take the focus within, in order. @param {Element} within @returns {HTMLElement[]} */
export function focusable(within) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (within.querySelectorAll(FOCUSABLE))].filter((e) => e.checkVisibility());
}

/** Keep the focus within an element until released; then it goes back to where it was.
 * @param {HTMLElement} within @param {{onEscape?: () => void}} [options] @returns {() => void} releases */
export function trap(within, { onEscape } = {}) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.key === "Escape" && onEscape) {
      event.stopPropagation();
      onEscape();
    }
    if (event.key !== "Tab") return;
    const all = focusable(within);
    const [first, last] = [all[0], all.at(-1)];
    const outside = !within.contains(document.activeElement);
    if (event.shiftKey && (outside || document.activeElement === first)) [last?.focus(), event.preventDefault()];
    else if (!event.shiftKey && (outside || document.activeElement === last)) [first?.focus(), event.preventDefault()];
  };
  document.addEventListener("keydown", keys, true);
  return () => {
    document.removeEventListener("keydown", keys, true);
    if (before?.isConnected) before.focus();
  };
}

/** Arrow keys, Home and End go from one to the next. @param {KeyboardEvent} event @param {HTMLElement[]} all */
export function arrows(event, all) {
  const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined || !all.length) return;
  event.preventDefault();
  all[Math.max(0, Math.min(all.length - 1, to))].focus();
}

/** @type {HTMLElement | null} */
let region = null;

/** Say something to who hears the page; nothing is seen. @param {string} text @param {boolean} [urgent] */
export function announce(text, urgent = false) {
  if (!region) {
    region = document.createElement("div");
    region.className = "sr";
    region.setAttribute("role", "status");
    document.body.append(region);
  }
  region.setAttribute("aria-live", urgent ? "assertive" : "polite");
  region.textContent = "";
  const here = region;
  requestAnimationFrame(() => (here.textContent = text));
}
