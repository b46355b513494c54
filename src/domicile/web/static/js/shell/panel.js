/** A panel that hangs from its button: Escape, a click outside or leaving it by Tab closes it. */
import { useEffect, useRef } from "../lib/preact.js";

/** @param {boolean} isOpen @param {() => void} close @returns {{current: HTMLElement | null}} for the element that holds button and panel */
export function usePanel(isOpen, close) {
  const holder = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!isOpen) return;
    const button = /** @type {HTMLElement | null} */ (holder.current?.querySelector("[aria-expanded]") ?? null);
    /** @param {Event} event */
    const outside = (event) => {
      const target = /** @type {Element} */ (event.target);
      if (target.isConnected && !holder.current?.contains(target) && !target.closest("dialog, .toasts")) close();
    };
    /** @param {KeyboardEvent} event */
    const keys = (event) => {
      if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
      close();
      button?.focus();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    document.addEventListener("keydown", keys);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
      document.removeEventListener("keydown", keys);
    };
  }, [isOpen]);
  return holder;
}
