/** Conversations in and out as files: everything as JSON, one as JSON or Markdown; files of other tools come in. */
import { ask } from "../../lib/api.js";
import { confirm, Dialog } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useRef, useState } from "../../lib/preact.js";
import { save } from "../../lib/save.js";
import { report } from "../../lib/toast.js";
import { post } from "../../lib/api.js";
import { newChat } from "./room.js";
import { fromMarkdown } from "./markdown.js";

/** @typedef {{added: any[], present: string[], left_out: {what: string, problem: string}[]}} Came */

/** @param {{close: () => void}} props */
export function Moving({ close }) {
  const picker = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [busy, setBusy] = useState(false);
  const [came, setCame] = useState(/** @type {Came | null} */ (null));
  const [wrong, setWrong] = useState(/** @type {any} */ (null));
  /** @param {any} event */
  const chosen = async ({ target }) => {
    setBusy(true);
    setWrong(null);
    /** @type {Came} */
    const all = { added: [], present: [], left_out: [] };
    try {
      for (const file of target.files) {
        const one = await taken(file);
        all.added.push(...one.added);
        all.present.push(...one.present);
        all.left_out.push(...one.left_out);
      }
      setCame(all);
    } catch (trouble) {
      setWrong(trouble);
    }
    target.value = "";
    setBusy(false);
  };
  const erase = async () => {
    if (!(await confirm({ title: say("page.chat.delete.all"), text: say("page.chat.delete.all.text"), yes: say("page.chat.delete.all"), danger: true }))) return;
    newChat();
    await post("/domicile/chats/delete", { all: true }).then(close, report);
  };
  return html`<${Dialog} title=${say("page.chat.moving")} onClose=${close} busy=${busy}>
    <section class="stack tight"><h3>${say("page.chat.export")}</h3><p class="small muted">${say("page.chat.export.text")}</p>
      <div><button type="button" class="button" data-first onClick=${() => save("/domicile/chats/export").catch(report)}><${Icon} name="download" />${say("page.chat.export.all")}</button></div></section>
    <section class="stack tight"><h3>${say("page.chat.import")}</h3><p class="small muted">${say("page.chat.import.text")}</p>
      <input type="file" hidden multiple accept=".json,.md,application/json,text/markdown" ref=${picker} onChange=${chosen} />
      <div><button type="button" class="button" disabled=${busy} onClick=${() => picker.current?.click()}>${busy ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="upload" />`}${say("page.chat.import.choose")}</button></div>
      ${came && html`<div class="note good" role="status"><${Icon} name="check" /><div class="grow"><p>${say("page.chat.import.added", { n: came.added.length })}</p>
        ${came.present.length > 0 && html`<p class="small">${say("page.chat.import.present", { n: came.present.length })}</p>`}
        ${came.left_out.map((one, n) => html`<p class="small" key=${n}>${say("page.chat.import.left_out", one)}</p>`)}</div></div>`}
      ${wrong && html`<div class="note bad" role="alert"><${Icon} name="warn" /><div class="grow"><p>${wrong.message}</p>${wrong.hint && html`<p class="small">${wrong.hint}</p>`}</div></div>`}</section>
    <section class="stack tight"><h3>${say("page.chat.delete.all")}</h3><div><button type="button" class="button danger" onClick=${erase}><${Icon} name="trash" />${say("page.chat.delete.all")}</button></div></section>
  <//>`;
}

/** @param {File} file @returns {Promise<Came>} */
async function taken(file) {
  if (!/\.(?:md|markdown)$/i.test(file.name)) return (await ask("/domicile/chats/import", { method: "POST", body: file, headers: { "Content-Type": "application/json" } })).json();
  const { title, messages } = fromMarkdown(await file.text(), say("page.chat.you"));
  if (!messages.length) return { added: [], present: [], left_out: [{ what: file.name, problem: say("page.chat.import.no_messages") }] };
  const chat = await post("/domicile/chats", { title: (title || file.name).slice(0, 200) });
  await post(`/domicile/chats/${chat.id}/messages`, { messages });
  return { added: [chat], present: [], left_out: [] };
}
