/** What leaves this machine: the switch that lets nothing out, and the places of private networks that were allowed. */
import { patch, post, remove } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, useState } from "../../lib/preact.js";
import { state } from "../../lib/state.js";
import { report } from "../../lib/toast.js";
import { Field, Form } from "./form.js";

export function Leaves() {
  const [offline, setOffline] = useState(state.offline);
  const places = useApi("/domicile/places");
  /** @param {boolean} shut */
  const turn = async (shut) => {
    setOffline(shut);
    try {
      await patch("/domicile/settings", { offline: shut });
      const badge = document.getElementById("offline");
      if (badge) badge.hidden = !shut;
    } catch (trouble) {
      setOffline(!shut);
      report(trouble);
    }
  };
  return html`<section class="card stack"><h2>${say("page.settings.leaves")}</h2>
      <label class="check"><input type="checkbox" role="switch" checked=${offline} onChange=${(/** @type {any} */ e) => turn(e.target.checked)} /><span><strong>${say("page.settings.shut")}</strong><br /><span class="muted">${say("page.settings.shut.text")}</span></span></label>
      <ul class="reasons">${["stays", "asked", "consent", "written"].map((k) => html`<li key=${k}>${say(`page.settings.leaves.${k}`)}</li>`)}</ul>
      <p><a href="/machine#left">${say("page.settings.ledger")}</a></p></section>
    <section class="card stack"><h2>${say("page.settings.places")}</h2><p class="muted">${say("page.settings.places.text")}</p>
      <${Shown} of=${places}>${(/** @type {any} */ p) => p.places.length === 0 ? html`<p class="muted">${say("page.settings.places.none")}</p>` : html`<ul class="list">${p.places.map((/** @type {string} */ one) => html`<li key=${one}><code class="grow">${one}</code><button type="button" class="ghost icon-only danger" onClick=${() => remove(`/domicile/places/${encodeURIComponent(one)}`).then(places.again, report)}><${Icon} name="trash" label=${say("page.settings.remove", { name: one })} /></button></li>`)}</ul>`}<//>
      <${Form} yes=${say("page.settings.place.add")} send=${(/** @type {any} */ said) => post("/domicile/places", { ...said, confirmed: true }).then(places.again)}><${Field} name="place" label=${say("page.settings.place")} help="nas.local:8080" /><//></section>`;
}
