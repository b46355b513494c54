/** A file beside words: what it is, how much of it was read. */
import { number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { picture, save } from "../../lib/save.js";
import { report } from "../../lib/toast.js";

/** @typedef {import("./tree.js").Attachment} Attachment */

const ICONS = { text: "file", pdf: "file", image: "pictures", audio: "speech" };

/** @param {Attachment} file */
export const contentOf = (file) => `/domicile/chats/attachments/${file.id}/content`;

/** What was read of a file, in words. @param {Attachment} file */
export function readOf(file) {
  if (file.kind === "image") return size(file.size_bytes);
  if (file.characters === null) return say("page.chat.file.unheard");
  const read = say("page.chat.file.characters", { n: file.characters, characters: number(file.characters) });
  if (file.pages && file.pages_read !== undefined && file.pages_read < file.pages) return `${say("page.chat.file.some_pages", { read: file.pages_read, pages: file.pages })}, ${read}`;
  if (file.pages) return `${say("page.chat.file.pages", { n: file.pages })}, ${read}`;
  return file.cut ? `${read}, ${say("page.chat.file.kept")}` : read;
}

/** @param {{file: Attachment}} props */
export function File({ file }) {
  return html`<button type="button" class="file" title=${say("page.chat.file.save", { name: file.name })} onClick=${() => save(contentOf(file), file.name).catch(report)}>
    ${file.kind === "image" ? html`<${Picture} file=${file} />` : html`<${Icon} name=${ICONS[file.kind]} />`}
    <span class="file-words"><span class="cut">${file.name}</span><span class="small muted cut">${readOf(file)}</span></span>
  </button>`;
}

/** @param {{file: Attachment}} props */
export function Picture({ file }) {
  const [address, setAddress] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    const leave = new AbortController();
    /** @type {string | null} */
    let made = null;
    picture(contentOf(file), leave.signal).then((found) => setAddress((made = found)), () => {}); // a name is enough where the file is gone
    return () => {
      leave.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [file.id]);
  return address ? html`<img class="file-picture" src=${address} alt="" />` : html`<${Icon} name="pictures" />`;
}
