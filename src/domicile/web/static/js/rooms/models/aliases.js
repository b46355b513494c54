/** Other names of a model. */
import { inPath, post, remove } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useId, useState } from "../../lib/preact.js";
import { report } from "../../lib/toast.js";

/** @param {{model: {name: string, aliases: string[]}, at: string, again: () => void}} props */
export function Aliases({ model, at, again }) {
  const [said, setSaid] = useState("");
  const [wrong, setWrong] = useState("");
  const id = useId();
  /** @param {Event} event */
  const add = async (event) => {
    event.preventDefault();
    if (!said.trim()) return;
    try {
      await post(`${at}/aliases`, { alias: said.trim() });
      setSaid("");
      setWrong("");
      again();
    } catch (trouble) {
      setWrong([/** @type {any} */ (trouble).message, /** @type {any} */ (trouble).hint].filter(Boolean).join(" "));
    }
  };
  return html`<section class="card stack tight"><h3>${say("page.models.aliases")}</h3>
    ${model.aliases.length > 0 && html`<ul class="row tight">${model.aliases.map((a) => html`<li class="badge" key=${a}>${a}<button type="button" class="badge-drop" onClick=${() => remove(`${at}/aliases/${inPath(a)}`).then(again, report)}><${Icon} name="close" label=${say("page.models.alias.drop", { name: a })} /></button></li>`)}</ul>`}
    <form class="field" onSubmit=${add}><label for=${id} class="sr">${say("page.models.alias.new")}</label><div class="row tight nowrap"><input id=${id} class="input grow" value=${said} placeholder=${say("page.models.alias.new")} autocomplete="off" spellcheck=${false} aria-invalid=${wrong ? "true" : undefined} aria-describedby="${id}-help" onInput=${(/** @type {any} */ e) => setSaid(e.target.value)} /><button type="submit" class="button">${say("page.models.add")}</button></div>
      <span id="${id}-help" class=${wrong ? "wrong" : "help"} role=${wrong ? "alert" : undefined}>${wrong || say("page.models.alias.why")}</span></form>
  </section>`;
}
