/** Pictures: describe one, watch it being drawn, keep it. */
import { say } from "../../lib/i18n.js";
import { Shown, useApi } from "../../lib/load.js";
import { html, render, useEffect } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { ended } from "../../shell/house.js";
import { Form } from "./form.js";
import { Gallery } from "./gallery.js";
import { Beginning } from "./beginning.js";
import { rejoin } from "./drawing.js";
import { Stage } from "./stage.js";

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Pictures} />`, place);

function Pictures() {
  const options = useApi("/domicile/images/options");
  const over = use(ended);
  // An engine or a model that has come changes what there is to choose from.
  useEffect(() => void (over.length && options.again()), [over.length]);
  useEffect(() => void rejoin(), []);
  return html`<${Shown} of=${options}>${(/** @type {import("./drawing.js").Options} */ o) => {
    const ready = o.models.length > 0 && o.engine.state === "installed";
    return html`<div class="pictures">
      ${ready ? html`<${Form} options=${o} />` : html`<${Beginning} options=${o} />`}
      <div class="stack loose pictures-made">${ready && html`<${Stage} />`}<${Gallery} quiet=${!ready} />
        ${ready && html`<p class="muted small">${say("page.pictures.private")}</p>`}</div>
    </div>`;
  }}<//>`;
}
