/** Settings: this person, the house, who else may answer, and who may come in. What a user may not change is not shown. */
import { get } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { html, render } from "../../lib/preact.js";
import { state } from "../../lib/state.js";
import { Tabs } from "../../lib/tabs.js";
import { Doctor } from "../doctor.js";
import { Account } from "./account.js";
import { House } from "./house.js";
import { Keys } from "./keys.js";
import { About, Look } from "./look.js";
import { People } from "./people.js";
import { Leaves } from "./leaves.js";
import { Targets } from "./targets.js";
import { Tools } from "./tools.js";

/** @param {HTMLElement} place */
export async function mount(place) {
  const me = await get("/domicile/account");
  render(html`<${Settings} me=${me} />`, place);
}

/** @param {{me: any}} props */
function Settings({ me }) {
  const all = [
    { name: "me", label: say("page.settings.tab.me"), draw: () => html`<${Look} />${me.signed_in && html`<${Account} me=${me} />`}<${About} version=${state.version} />` },
    { name: "tools", label: say("page.settings.tab.tools"), draw: () => html`<${Tools} closed=${me.closed} />` },
    { name: "keys", label: say("page.settings.tab.keys"), draw: () => html`<${Keys} closed=${me.closed} />` },
    { name: "leaves", label: say("page.settings.tab.leaves"), draw: () => html`<${Leaves} />`, only: true },
    { name: "away", label: say("page.settings.tab.away"), draw: () => html`<${Targets} />`, only: true },
    { name: "house", label: say("page.settings.tab.house"), draw: () => html`<${House} /><${Doctor} />`, only: true },
    { name: "people", label: say("page.settings.tab.people"), draw: () => html`<${People} me=${me} />`, only: true },
  ];
  return html`<${Tabs} label=${say("page.settings.sections")} tabs=${all.filter((t) => me.role === "admin" || !t.only)} />`;
}
