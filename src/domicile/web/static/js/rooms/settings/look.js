/** What only this browser keeps: language and theme; and which house this is. */
import { say } from "../../lib/i18n.js";
import { html } from "../../lib/preact.js";
import { state } from "../../lib/state.js";

const LANGUAGES = ["en", "fr"];
const THEMES = ["auto", "light", "dark"];

export function Look() {
  return html`<section class="card stack"><h2>${say("page.settings.look")}</h2>
    <dl class="facts"><dt>${say("page.shell.language")}</dt><dd class="row tight">${LANGUAGES.map((l) => html`<a key=${l} class="button small" href="?lang=${l}" lang=${l} aria-current=${l === state.lang ? "true" : undefined}>${say(`page.shell.language.${l}`)}</a>`)}</dd>
    <dt>${say("page.shell.theme")}</dt><dd class="row tight">${THEMES.map((t) => html`<a key=${t} class="button small" href="?theme=${t}" aria-current=${t === state.theme ? "true" : undefined}>${say(`page.shell.theme.${t}`)}</a>`)}</dd></dl>
    <p class="small muted">${say("page.settings.look.text")}</p></section>`;
}

/** @param {{version: string}} props */
export function About({ version }) {
  return html`<section class="card"><h2>${say("page.settings.about")}</h2>
    <dl class="facts">
      <dt>${say("page.settings.version")}</dt><dd class="num">Domicile ${version}</dd>
      <dt>${say("page.settings.network")}</dt><dd>${say(state.offline ? "page.settings.offline" : "page.settings.online")}</dd>
    </dl></section>`;
}
