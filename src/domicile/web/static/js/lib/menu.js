/** A button with a menu that hangs from it, above everything else: the browser's own popover closes it. */
import { arrows } from "./a11y.js";
import { Icon } from "./icon.js";
import { html, useEffect, useRef, useState } from "./preact.js";

/** @typedef {{label: string, icon?: string, run: () => unknown, danger?: boolean, checked?: boolean, href?: never} | null | false | undefined | ""} Item */

/** @param {{label: string, icon?: string, items: () => Item[], small?: boolean, text?: string, disabled?: boolean, pressed?: boolean}} props
 * `items` is asked when it opens; `text` stands beside the icon */
export function Menu({ label, icon = "more", items, small = true, text, disabled = false, pressed }) {
  const button = useRef(/** @type {HTMLElement | null} */ (null));
  const [isOpen, setOpen] = useState(false);
  const close = () => setOpen(false);
  return html`<button type="button" ref=${button} class="ghost ${text ? "" : "icon-only"} ${small ? "small" : ""} ${pressed ? "is-on" : ""}" aria-haspopup="menu" aria-expanded=${isOpen} title=${label}
      disabled=${disabled} onClick=${() => setOpen(!isOpen)}><${Icon} name=${icon} label=${text ? undefined : label} />${text && html`<span class="cut">${text}</span>`}</button>
    ${isOpen && html`<${Panel} label=${label} items=${items().filter(Boolean)} button=${button} close=${close} />`}`;
}

/** @param {{label: string, items: any[], button: {current: HTMLElement | null}, close: () => void}} props */
function Panel({ label, items, button, close }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const panel = /** @type {HTMLElement} */ (place.current);
    const from = /** @type {HTMLElement} */ (button.current);
    panel.showPopover();
    const [box, mine] = [from.getBoundingClientRect(), panel.getBoundingClientRect()];
    const below = box.bottom + 4 + mine.height < innerHeight - 8;
    panel.style.top = `${Math.max(8, below ? box.bottom + 4 : box.top - mine.height - 4)}px`;
    panel.style.left = `${Math.max(8, Math.min(box.left, innerWidth - mine.width - 8))}px`;
    panel.querySelector("button")?.focus();
    /** @param {any} event */
    const toggled = (event) => event.newState === "closed" && close();
    panel.addEventListener("toggle", toggled);
    return () => {
      if (panel.contains(document.activeElement)) from.focus();
    };
  }, []);
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    event.stopPropagation();
    if (event.key === "Tab" || event.key === "Escape") [event.preventDefault(), close()];
    else arrows(event, [.../** @type {NodeListOf<HTMLElement>} */ (/** @type {HTMLElement} */ (place.current).querySelectorAll("button"))]);
  };
  return html`<div class="menu panel" popover="auto" role="menu" aria-label=${label} ref=${place} onKeyDown=${keys}>
    ${items.map((item) => html`<button type="button" key=${item.label} role=${item.checked === undefined ? "menuitem" : "menuitemcheckbox"} aria-checked=${item.checked} class=${item.danger ? "danger" : ""}
      onClick=${() => (close(), item.run())}>${item.icon && html`<${Icon} name=${item.icon} />`}<span class="cut">${item.label}</span>${item.checked && html`<${Icon} name="check" />`}</button>`)}
  </div>`;
}
