/** In this tab: which models can compute in this browser, talk with one, and what is kept here. */
import { known, kept, models, now, room } from "../../engines/index.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, render, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { ended, open } from "../../shell/house.js";
import { Able } from "./able.js";
import { Catalogue } from "./catalogue.js";
import { Kept } from "./kept.js";
import { Talk } from "./talk.js";

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Tab} />`, place);

/** @typedef {{models: import("../../engines/types.js").Model[], native_share: number[], closed: boolean}} Found */

function Tab() {
  const [found, setFound] = useState(/** @type {Found | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [here, setHere] = useState(/** @type {import("../../engines/types.js").Kept[]} */ ([]));
  const [storage, setStorage] = useState(/** @type {{usage: number, quota: number, persisted: boolean} | null} */ (null));
  const look = async () => {
    const [mine, space] = await Promise.all([kept(), room()]);
    setHere(mine);
    setStorage(space);
  };
  const ask = () => models().then((said) => (setFound(said), setError(null)), setError);
  const [is, finished] = [use(open), use(ended)];
  const { model, phase } = use(now);
  use(known);
  useEffect(() => void ask(), [is, finished.length]);
  useEffect(() => void look(), [model, phase === "ready"]);
  if (error) return html`<${Trouble} error=${error} again=${ask} />`;
  if (!found) return html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`;
  const usable = found.models.filter((m) => !m.why && (!found.closed || here.some((k) => k.name === m.name)));
  return html`<div class="stack loose tab-room">
    <p class="muted">${say("page.tab.intro")}</p>
    ${found.closed && html`<p class="note warn" role="status"><${Icon} name="offline" /><span>${say("page.tab.closed")}</span></p>`}
    <${Talk} models=${usable.filter((m) => m.task !== "automatic-speech-recognition")} />
    ${!found.closed && html`<${Able} models=${found.models} kept=${here} share=${found.native_share} />`}
    <${Kept} kept=${here} storage=${storage} again=${look} />
    ${!found.closed && html`<${Catalogue} here=${found.models} />`}
  </div>`;
}
