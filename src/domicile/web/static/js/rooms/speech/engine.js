/** The engine that hears: whether it is here, and how to have it. */
import { post } from "../../lib/api.js";
import { duration, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { useApi } from "../../lib/load.js";
import { html, useEffect } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { jobs, over } from "../../shell/house.js";
import { Going } from "../../shell/notices.js";

export function Engine() {
  const found = useApi("/domicile/engines");
  const all = [...use(jobs).values()].filter((j) => j.kind === "engine" && j.model === "whisper");
  const job = all.find((j) => !over(j));
  const done = all.filter((j) => j.status === "done").length;
  useEffect(() => void (done && found.again()), [done]);
  const one = found.data?.engines.find((/** @type {any} */ e) => e.name === "whisper");
  if (!one || one.state === "installed") return null;
  if (job) return html`<${Going} job=${job} />`;
  const install = () => post("/domicile/engines/whisper").catch(report);
  return html`<div class="note warn"><${Icon} name="info" /><div class="grow stack tight">
    <p>${say("page.speech.engine", { download: size(one.download_bytes), time: duration(one.seconds) })}</p>
    <p class="small muted mono">domicile engine add whisper</p>
    <div><button type="button" class="button small" onClick=${install}><${Icon} name="download" />${say("page.speech.engine.add")}</button></div>
  </div></div>`;
}
