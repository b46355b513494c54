/** The side on a small screen: opened by a button, closed by Escape, by a touch outside, by a choice. */
import { focusable, trap } from "../lib/a11y.js";

export function side() {
  const button = /** @type {HTMLElement} */ (document.getElementById("menu-button"));
  const panel = /** @type {HTMLElement} */ (document.getElementById("side"));
  /** @type {(() => void) | null} */
  let release = null;
  const close = () => {
    document.body.classList.remove("side-open");
    button.setAttribute("aria-expanded", "false");
    release?.();
    release = null;
  };
  button.addEventListener("click", () => {
    document.body.classList.add("side-open");
    button.setAttribute("aria-expanded", "true");
    release = trap(panel, { onEscape: close });
    requestAnimationFrame(() => focusable(panel)[0]?.focus());
  });
  document.addEventListener("click", (event) => {
    const target = /** @type {Node} */ (event.target);
    if (release && !panel.contains(target) && !button.contains(target)) close();
  });
  matchMedia("(min-width: 56rem)").addEventListener("change", close);
}
