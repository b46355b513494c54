/** What is being downloaded, what waits, what was left half done, and what ended. Live by the shell's one connection. */
import { get } from "../../lib/api.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { jobs, over, pull } from "../../shell/house.js";
import { Ended, Job } from "./job.js";
import { Partials } from "./partials.js";
import { Empty, Growing, Heading } from "./parts.js";
import { Link } from "./route.js";

export function View() {
  const all = [...use(jobs).values()];
  useEffect(() => {
    get("/domicile/jobs").then((found) => {
      const now = new Map(jobs.value);
      for (const job of found.jobs) now.set(job.id, job);
      jobs.value = now;
    }, report);
  }, []);
  const rank = { running: 0, queued: 1, paused: 2 };
  const going = all.filter((j) => !over(j)).sort((a, b) => (rank[/** @type {"running"} */ (a.status)] ?? 3) - (rank[/** @type {"running"} */ (b.status)] ?? 3) || (/** @type {any} */ (b).priority ?? 0) - (/** @type {any} */ (a).priority ?? 0));
  const past = all.filter(over).sort((a, b) => (b.completed_at ?? 0) - (a.completed_at ?? 0));
  return html`<${Heading}>${say("page.models.downloads.title")}<//>
    <${ByName} />
    ${going.length
      ? html`<ul class="jobs">${going.map((j) => html`<${Job} key=${j.id} job=${j} />`)}</ul>`
      : html`<${Empty} icon="download" title=${say("page.models.downloads.none")}><p>${say("page.models.downloads.none.hint")}</p>
          <p class="row centre"><${Link} class="button small" to=${{ tab: "recommended" }}>${say("page.models.tab.recommended")}<//><${Link} class="button small" to=${{ tab: "search" }}>${say("page.models.tab.search")}<//></p><//>`}
    <${Partials} again=${past.length + going.length} />
    ${past.length > 0 && html`<section class="stack tight"><h3>${say("page.models.ended")}</h3><ul class="card list ended"><${Growing} rows=${past} by=${30} draw=${(/** @type {any} */ j) => html`<${Ended} key=${j.id} job=${j} />`} /></ul></section>`}`;
}

/** Download what one can name already. */
function ByName() {
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (!said.trim()) return;
    setBusy(true);
    pull(said.trim()).then(() => setSaid(""), report).finally(() => setBusy(false));
  };
  return html`<form class="field" onSubmit=${submit}><label for="by-name">${say("page.models.by_name")}</label>
    <div class="row tight"><input id="by-name" class="input grow" value=${said} autocomplete="off" spellcheck=${false} placeholder="org/repo:Q4_K_M" aria-describedby="by-name-help" onInput=${(/** @type {any} */ e) => setSaid(e.target.value)} />
      <button type="submit" class="button" disabled=${busy}>${busy ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="download" />`}${say("page.common.get")}</button></div>
    <span class="help" id="by-name-help">${say("page.models.by_name.help")}</span></form>`;
}
