/** Keys for tools: made, named, shown once, revoked. */
import { post, remove } from "../../lib/api.js";
import { confirm } from "../../lib/dialog.js";
import { ago, date, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useState } from "../../lib/preact.js";
import { report } from "../../lib/toast.js";
import { Field, Form } from "./form.js";

/** @param {{closed: boolean}} props */
export function Keys({ closed }) {
  const keys = useApi("/domicile/account/keys");
  const [made, setMade] = useState(/** @type {any} */ (null));
  /** @param {any} key */
  const revoke = async (key) => {
    if (await confirm({ title: say("page.settings.revoke.title", { name: key.name }), text: say("page.settings.revoke.text"), yes: say("page.settings.revoke"), danger: true }))
      await remove(`/domicile/account/keys/${key.id}`).then(keys.again, report);
  };
  return html`<section class="card stack"><h2>${say("page.settings.keys")}</h2><p class="muted">${say(closed ? "page.settings.keys.text" : "page.settings.keys.open")}</p>
    ${made && html`<div class="note good" role="status"><${Icon} name="check" /><div class="grow stack tight"><p>${say("page.settings.key.made", { name: made.name })}</p><div class="row tight"><code class="grow">${made.key}</code>
      <button type="button" class="button small" onClick=${() => navigator.clipboard.writeText(made.key).catch(report)}><${Icon} name="copy" />${say("page.settings.copy")}</button></div></div></div>`}
    <${Shown} of=${keys}>${(/** @type {any} */ k) => k.keys.length === 0 ? html`<p class="muted">${say("page.settings.keys.none")}</p>` : html`<ul class="list">${k.keys.map((/** @type {any} */ one) => html`<li key=${one.id}><div class="grow"><strong class="cut">${one.name}</strong>
      <p class="small muted">${say("page.settings.key.facts", { ending: one.ending, made: date(one.made_at), used: one.used_at ? ago(one.used_at) : say("page.settings.never") })}</p></div><button type="button" class="button small danger" onClick=${() => revoke(one)}>${say("page.settings.revoke")}</button></li>`)}</ul>`}<//>
    <${Form} yes=${say("page.settings.key.make")} send=${(/** @type {any} */ said) => post("/domicile/account/keys", said).then((key) => [setMade(key), keys.again()])}><${Field} name="name" label=${say("page.settings.key.name")} help=${say("page.settings.key.help")} /><//></section>`;
}
