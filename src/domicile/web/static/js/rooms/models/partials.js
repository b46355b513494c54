/** What downloads that were stopped or cut have left on the disk: go on with it, or remove it. */
import { get, inPath, remove } from "../../lib/api.js";
import { confirm } from "../../lib/dialog.js";
import { ago, percent, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";
import { use } from "../../lib/store.js";
import { comingOf, jobs, pull } from "../../shell/house.js";

/** @typedef {{name: string, kept_bytes: number, size_bytes: number | null, changed_at: number}} Partial */

/** @param {{again: number}} props `again` changes when there may be others */
export function Partials({ again }) {
  const [found, setFound] = useState(/** @type {Partial[]} */ ([]));
  use(jobs);
  const look = () => get("/domicile/partials").then((said) => setFound(said.partials), report);
  useEffect(() => void look(), [again]);
  const left = found.filter((p) => !comingOf(p.name));
  if (!left.length) return null;
  /** @param {Partial} one */
  const drop = async (one) => {
    const sure = await confirm({ title: say("page.models.partials.remove.title"), text: say("page.models.partials.remove.text", { name: one.name, kept: one.kept_bytes }), yes: say("page.models.delete"), danger: true });
    if (!sure) return;
    try {
      const gone = await remove(`/domicile/partials/${inPath(one.name)}`);
      toast(say("page.models.freed", { name: one.name, freed: gone.freed_bytes }), { kind: "good" });
      await look();
    } catch (trouble) {
      report(trouble);
    }
  };
  return html`<section class="stack tight"><h3>${say("page.models.partials")}</h3><p class="small muted">${say("page.models.partials.why")}</p>
    <ul class="card list">${left.map((p) => html`<li key=${p.name}><div class="grow"><span class="past-name">${p.name}</span>
        <span class="small muted num">${[p.size_bytes ? `${size(p.kept_bytes)} / ${size(p.size_bytes)} · ${percent(p.kept_bytes / p.size_bytes)}` : size(p.kept_bytes), ago(p.changed_at)].join(" · ")}</span></div>
      <button type="button" class="button small" onClick=${() => pull(p.name).catch(report)}><${Icon} name="play" />${say("page.models.job.resume")}<span class="sr"> ${p.name}</span></button>
      <button type="button" class="ghost icon-only small" onClick=${() => drop(p)}><${Icon} name="trash" label=${say("page.models.delete.named", { name: p.name })} /></button></li>`)}</ul></section>`;
}
