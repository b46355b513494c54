/** Keys that do things. Single letters only where nobody writes, and not at all where they are switched off. */
import { open } from "../../lib/dialog.js";
import { report } from "../../lib/toast.js";
import { computed } from "./computed.js";
import { current, focusWanted, keysOn, newChat, sideShown } from "./room.js";

/** What each does, and how it is said. */
export const KEYS = /** @type {const} */ ([
  ["N", "new"],
  ["K", "search"],
  ["B", "side"],
  ["E", "edit"],
  ["C", "copy"],
  ["I", "write"],
  ["O", "options"],
  ["/", "help"],
  ["Escape", "stop"],
]);

/** @type {Record<string, () => void>} */
const DEEDS = {
  new: () => newChat(),
  search: () => {
    if (matchMedia("(max-width: 56rem)").matches) document.getElementById("menu-button")?.click();
    sideShown.value = true;
    const find = document.getElementById("find");
    if (find?.checkVisibility()) find.focus(); // what is typed next is meant for it
    else requestAnimationFrame(() => requestAnimationFrame(() => find?.focus()));
  },
  side: () => (sideShown.value = !sideShown.value),
  edit: () => last(".turn.user .edit-button")?.click(),
  copy: () => {
    const said = current.value?.branch.findLast((one) => one.role === "assistant")?.text;
    if (said) navigator.clipboard.writeText(said).catch(report);
  },
  write: () => focusWanted.value++,
  options: async () => open((await import("./options.js")).Options),
  help: async () => open((await import("./help.js")).Help),
  stop: () => {
    if (computed.value && !computed.value.trouble) computed.value.leave.abort();
    if (current.value?.writing.length) current.value.stop().catch(report);
  },
};

/** @param {string} selector @returns {HTMLElement | undefined} */
const last = (selector) => [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(selector))].at(-1);
/** @param {any} target */
const writes = (target) => target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable], [role=menu]");

/** Is this what a key is called? @param {KeyboardEvent} event */
function deedOf(event) {
  if (event.isComposing || event.altKey) return null;
  if (event.key === "Escape") return "stop";
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) return key === "k" ? "search" : key === "b" && !event.shiftKey ? "side" : key === "o" && event.shiftKey ? "new" : null;
  if (writes(event.target) || event.shiftKey && key !== "?" && key !== "/") return null;
  return key === "?" ? "help" : KEYS.find(([letter]) => letter.toLowerCase() === key)?.[1] ?? null;
}

export function keys() {
  document.addEventListener("keydown", (event) => {
    const deed = deedOf(event);
    if (!deed || document.querySelector("dialog[open], [popover]:popover-open, .selector-panel, .notices-panel")) return;
    if (deed !== "stop" && !keysOn.value) return;
    if (deed !== "stop") event.preventDefault();
    DEEDS[deed]();
  });
}
