/** Where a conversation belongs: a folder that is there, a new one, none. */
import { post } from "../../lib/api.js";
import { Dialog } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { folders } from "./shelves.js";

/** @param {{from: string | null, close: (chosen?: {folder: string | null}) => void}} props */
export function Folders({ from, close }) {
  const [name, setName] = useState("");
  const [wrong, setWrong] = useState("");
  /** @param {Event} event */
  const add = async (event) => {
    event.preventDefault();
    try {
      close({ folder: (await post("/domicile/chats/folders", { name })).id });
    } catch (trouble) {
      setWrong(/** @type {Error} */ (trouble).message);
    }
  };
  return html`<${Dialog} title=${say("page.chat.move")} onClose=${() => close()}>
    <div class="menu flat">
      ${use(folders).map((one) => html`<button type="button" key=${one.id} aria-current=${one.id === from} onClick=${() => close({ folder: one.id })}><${Icon} name="folder" /><span class="grow cut">${one.name}</span>${one.id === from && html`<${Icon} name="check" />`}</button>`)}
      ${from && html`<button type="button" onClick=${() => close({ folder: null })}><${Icon} name="close" />${say("page.chat.folder.none")}</button>`}
    </div>
    <form class="row tight" onSubmit=${add}>
      <input class="input grow" maxlength="200" placeholder=${say("page.chat.folder.new")} aria-label=${say("page.chat.folder.new")} value=${name} onInput=${(/** @type {any} */ e) => setName(e.target.value)} aria-invalid=${!!wrong} />
      <button class="button" disabled=${!name.trim()}>${say("page.chat.folder.add")}</button>
    </form>
    ${wrong && html`<p class="small" role="alert">${wrong}</p>`}
  <//>`;
}
