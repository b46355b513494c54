/** Who may come in beyond this machine: for administrators. */
import { patch, post, remove } from "../../lib/api.js";
import { confirm } from "../../lib/dialog.js";
import { ago, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";
import { Field, Form } from "./form.js";

const ROLES = ["user", "admin"];

/** @param {{me: any}} props */
export function People({ me }) {
  const loaded = useApi("/domicile/accounts");
  const roles = /** @type {[string, string][]} */ (ROLES.map((r) => [r, say(`role.${r}`)]));
  /** @param {any} who */
  const drop = async (who) => {
    if (await confirm({ title: say("page.settings.remove", { name: who.name }), text: say("page.settings.remove.text"), yes: say("page.settings.remove.yes"), danger: true }))
      await remove(`/domicile/accounts/${encodeURIComponent(who.name)}`).then(loaded.again, report);
  };
  return html`<section class="card stack"><h2>${say("page.settings.people")}</h2><p class="muted">${say(me.closed ? "page.settings.people.text" : "page.settings.people.open")}</p>
    <${Shown} of=${loaded}>${(/** @type {any} */ l) => l.accounts.length === 0 ? html`<p class="muted">${say("page.settings.people.none")}</p>` : html`<ul class="list">${l.accounts.map((/** @type {any} */ a) => html`<li key=${a.name}><div class="grow"><strong>${a.name}</strong><p class="small muted">${a.seen_at ? say("page.settings.seen", { when: ago(a.seen_at) }) : say("page.settings.never")}</p></div>
      <select class="input role-input" aria-label=${say("page.settings.role_of", { name: a.name })} value=${a.role} onChange=${(/** @type {any} */ e) => patch(`/domicile/accounts/${encodeURIComponent(a.name)}`, { role: e.target.value }).catch(report).then(loaded.again)}>${roles.map(([v, t]) => html`<option key=${v} value=${v}>${t}</option>`)}</select>
      <button type="button" class="ghost icon-only danger" onClick=${() => drop(a)}><${Icon} name="trash" label=${say("page.settings.remove", { name: a.name })} /></button></li>`)}</ul>`}<//></section>
    <section class="card stack"><h2>${say("page.settings.add")}</h2><${Form} yes=${say("page.settings.add")} send=${(/** @type {any} */ said) => post("/domicile/accounts", said).then(() => [toast(say("page.settings.added", { name: said.name }), { kind: "good" }), loaded.again()])}>
      <${Field} name="name" label=${say("page.settings.name")} /><${Field} name="password" type="password" label=${say("page.settings.first_password")} help=${say("page.settings.password.help")} autocomplete="new-password" /><${Field} name="role" label=${say("page.settings.role")} options=${roles} /><//></section>`;
}
