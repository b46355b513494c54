/** The machine: what it is and does now, what it could run, what has left it, what lies on its disk. */
import { say } from "../../lib/i18n.js";
import { html, render } from "../../lib/preact.js";
import { state } from "../../lib/state.js";
import { Tabs } from "../../lib/tabs.js";
import { Doctor } from "../doctor.js";
import { Awake } from "./awake.js";
import { Calculator } from "./calculator.js";
import { Found } from "./found.js";
import { Ledger } from "./ledger.js";
import { Plots } from "./plots.js";
import { Storage } from "./storage.js";

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Machine} />`, place);

function Machine() {
  const mine = state.account?.role === "user";
  const all = [
    { name: "now", label: say("page.machine.tab.now"), draw: () => html`<${Plots} /><${Awake} /><${Found} />` },
    { name: "fits", label: say("page.machine.tab.fits"), draw: () => html`<${Calculator} />` },
    { name: "storage", label: say("page.machine.tab.storage"), draw: () => html`<${Storage} />`, only: true },
    { name: "left", label: say("page.machine.tab.left"), draw: () => html`<${Ledger} />`, only: true },
    { name: "doctor", label: say("page.machine.tab.doctor"), draw: () => html`<${Doctor} />`, only: true },
  ];
  return html`<${Tabs} label=${say("page.machine.live")} tabs=${all.filter((t) => !mine || !t.only)} />`;
}
