/** One's own account: password, where one is signed in, the way out. */
import { post } from "../../lib/api.js";
import { ago, date, say } from "../../lib/i18n.js";
import { Shown, useApi } from "../../lib/load.js";
import { html } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";
import { Field, Form } from "./form.js";

/** @param {{me: any}} props */
export function Account({ me }) {
  const sessions = useApi("/domicile/account/sessions");
  /** @param {string} how */
  const leave = (how) => post(`/domicile/account/${how}`).then(() => location.assign("/"), report);
  return html`<section class="card stack"><div class="card-head"><h2>${say("page.settings.account", { name: me.name })}</h2><span class="badge">${say(`role.${me.role}`)}</span></div>
    <${Shown} of=${sessions}>${(/** @type {any} */ s) => html`<ul class="list">${s.sessions.map((/** @type {any} */ one) => html`<li key=${one.id}><div class="grow"><span class="cut">${one.browser || "?"}</span>
      <p class="small muted">${say("page.settings.session", { address: one.address, when: ago(one.seen_at), until: date(one.ends_at) })}</p></div>${one.this && html`<span class="badge good">${say("page.settings.here")}</span>`}</li>`)}</ul>`}<//>
    <div class="row"><button type="button" class="button" onClick=${() => leave("sign-out")}>${say("page.settings.out")}</button><button type="button" class="button danger" onClick=${() => leave("sign-out-everywhere")}>${say("page.settings.out_everywhere")}</button></div>
    <details><summary>${say("page.settings.password")}</summary><${Form} yes=${say("page.settings.password")} send=${(/** @type {any} */ said) => post("/domicile/account/password", said).then(() => [toast(say("page.settings.password.done"), { kind: "good" }), sessions.again()])}>
      <${Field} name="old" type="password" label=${say("page.settings.password.old")} autocomplete="current-password" />
      <${Field} name="new" type="password" label=${say("page.settings.password.new")} autocomplete="new-password" help=${say("page.settings.password.help")} /><//></details></section>`;
}
