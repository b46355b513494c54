/** What is missing before a first picture: the engine, a model, each with one button that gets it. */
import { post } from "../../lib/api.js";
import { duration, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { jobs, over } from "../../shell/house.js";
import { Going } from "../../shell/notices.js";
import { Able } from "../able.js";

const TASKS = ["text-to-image", "image-to-image"];

/** @param {{options: import("./drawing.js").Options}} props */
export function Beginning({ options }) {
  const all = use(jobs);
  const { engine, models } = options;
  const coming = [...all.values()].find((j) => j.kind === "engine" && j.model === "engine images" && !over(j));
  const here = engine.state === "installed";
  return html`<div class="stack loose pictures-begin">
    <section class="card stack"><h2><${Icon} name=${here ? "check" : "tools"} /> ${say("page.pictures.engine")}</h2>
      ${here ? html`<p>${say("page.pictures.engine.here")}</p>` : html`<p>${say("page.pictures.engine.needed", { download: size(engine.download_bytes), disk: size(engine.disk_bytes), time: duration(engine.seconds) })}</p>
        ${coming ? html`<${Going} job=${coming} />` : html`<div><button type="button" class="button primary" onClick=${() => post("/domicile/engines/images").catch(report)}><${Icon} name="download" />${say("page.pictures.engine.get")}</button></div>`}`}
    </section>
    ${models.length === 0 && html`<${Able} need="image" tasks=${TASKS} intro=${say("page.pictures.intro")} />`}
  </div>`;
}
