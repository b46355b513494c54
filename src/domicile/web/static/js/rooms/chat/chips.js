/** The files that go with the message that is being written. */
import { say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { active } from "../../shell/house.js";
import { Picture, readOf } from "./file.js";
import { coming, drop, sees } from "./files.js";

export function Chips() {
  const files = use(coming);
  const blind = useBlind(files.some((one) => one.file?.kind === "image"));
  if (!files.length) return null;
  return html`<ul class="chips" aria-label=${say("page.chat.files")}>
    ${files.map((one) => html`<li class="file ${one.state}" key=${one.number}>
      ${one.state === "coming" || one.state === "hearing" ? html`<span class="spinner" aria-hidden="true"></span>` : one.file?.kind === "image" ? html`<${Picture} file=${one.file} />` : html`<${Icon} name=${one.state === "failed" ? "warn" : one.file?.kind === "audio" ? "speech" : "file"} />`}
      <span class="file-words"><span class="cut">${one.name}</span><span class="small ${one.state === "failed" ? "" : "muted"}" role=${one.state === "failed" ? "alert" : undefined}>${words(one)}</span></span>
      <button type="button" class="ghost icon-only small" onClick=${() => drop(one)}><${Icon} name="close" label=${say("page.chat.file.drop", { name: one.name })} /></button>
    </li>`)}
  </ul>${blind && html`<p class="aside small"><${Icon} name="info" />${say("page.chat.file.unseen", { model: blind })}</p>`}`;
}

/** @param {import("./files.js").Coming} one */
function words(one) {
  if (one.state === "coming") return `${say("page.chat.file.coming")} ${size(one.size)}`;
  if (one.state === "hearing") return say("page.chat.file.hearing");
  if (one.state === "failed") return html`${one.why?.message}${one.why?.hint && html`<br />${one.why.hint}`}`;
  return one.file ? readOf(one.file) : "";
}

/** The name of the model that would not see a picture. @param {boolean} pictures */
function useBlind(pictures) {
  const model = use(active)?.name;
  const [blind, setBlind] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    setBlind(null);
    if (pictures && model) sees(model).then((can) => setBlind(can ? null : model), () => {});
  }, [pictures, model]);
  return blind;
}
