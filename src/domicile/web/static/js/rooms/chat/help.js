/** Which keys do what, and a switch for those who want none of it. */
import { Dialog } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { KEYS } from "./keys.js";
import { keysOn } from "./room.js";

const ALSO = { new: "Ctrl+Shift+O", search: "Ctrl+K", side: "Ctrl+B", help: "?" };

/** @param {{close: () => void}} props */
export function Help({ close }) {
  const on = use(keysOn);
  return html`<${Dialog} title=${say("page.chat.keys")} onClose=${close}>
    <label class="check"><input type="checkbox" checked=${on} onChange=${() => (keysOn.value = !on)} /><span>${say("page.chat.keys.on")}<span class="small muted"> ${say("page.chat.keys.on.help")}</span></span></label>
    <table class="keys"><tbody>
      ${KEYS.map(([key, deed]) => html`<tr key=${deed}><td><kbd>${key === "Escape" ? say("page.chat.keys.escape") : key}</kbd>${deed in ALSO && html` <kbd>${/** @type {any} */ (ALSO)[deed]}</kbd>`}</td><td>${say(`page.chat.key.${deed}`)}</td></tr>`)}
      <tr><td><kbd>${say("page.chat.keys.enter")}</kbd></td><td>${say("page.chat.key.send")}</td></tr>
      <tr><td><kbd>${say("page.chat.keys.shift_enter")}</kbd></td><td>${say("page.chat.key.line")}</td></tr>
    </tbody></table>
  <//>`;
}
