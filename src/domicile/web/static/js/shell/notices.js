/** The bell: what is being downloaded, and what ended since the page was opened. */
import { inPath, post } from "../lib/api.js";
import { duration, percent, say, size } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { html, useState } from "../lib/preact.js";
import { use } from "../lib/store.js";
import { report } from "../lib/toast.js";
import { ended, jobs, over } from "./house.js";
import { usePanel } from "./panel.js";

/** @typedef {import("./house.js").Job} Job */

export function Notices() {
  const [isOpen, setOpen] = useState(false);
  const [seen, setSeen] = useState(0);
  const holder = usePanel(isOpen, () => setOpen(false));
  const going = [...use(jobs).values()].filter((j) => !over(j));
  const past = use(ended);
  const fresh = going.length + Math.max(0, past.length - seen);
  const toggle = () => {
    setOpen(!isOpen);
    setSeen(past.length);
  };
  return html`<div class="notices" ref=${holder}>
    <button type="button" class="ghost icon-only notices-button" aria-expanded=${isOpen} aria-controls="notices-panel" onClick=${toggle}>
      <${Icon} name="bell" /><span class="sr">${say("page.shell.notices", { n: fresh })}</span>
      ${fresh > 0 && html`<span class="notices-count" aria-hidden="true">${fresh}</span>`}
    </button>
    ${isOpen && html`<section class="notices-panel panel stack" id="notices-panel" aria-label=${say("page.shell.notices.title")}>
      ${!going.length && !past.length && html`<p class="muted">${say("page.shell.notices.none")}</p>`}
      ${going.map((job) => html`<${Going} key=${job.id} job=${job} />`)}
      ${past.map((job) => html`<${Ended} key=${job.id} job=${job} />`)}
    </section>`}
  </div>`;
}

/** A job under way, with its bar and its brakes. @param {{job: Job}} props */
export function Going({ job }) {
  /** @param {string} deed */
  const steer = (deed) => post(`/domicile/jobs/${inPath(job.id)}/${deed}`).catch(report);
  const paused = job.status === "paused";
  const facts = [
    paused ? say("page.shell.paused") : job.progress === null ? say("page.shell.begins") : percent(job.progress),
    job.size_bytes && `${size(job.downloaded_bytes)} / ${size(job.size_bytes)}`,
    !paused && job.speed && say("page.shell.speed", { speed: job.speed }),
    !paused && job.eta && duration(job.eta),
  ].filter(Boolean);
  return html`<div class="stack tight">
    <div class="row tight between"><strong class="grow cut" title=${job.model}>${job.model}</strong>
      ${job.kind === "pull" && html`<span class="row tight">
        <button type="button" class="ghost icon-only small" onClick=${() => steer(paused ? "resume" : "pause")}><${Icon} name=${paused ? "play" : "pause"} label=${say(paused ? "page.shell.resume" : "page.shell.pause", { model: job.model })} /></button>
        <button type="button" class="ghost icon-only small" onClick=${() => steer("cancel")}><${Icon} name="close" label=${say("page.shell.cancel", { model: job.model })} /></button>
      </span>`}
    </div>
    <progress max="1" value=${job.progress ?? undefined} aria-label=${job.model}></progress>
    <p class="small muted num">${facts.join(" · ")}</p>
  </div>`;
}

/** @param {{job: Job}} props */
function Ended({ job }) {
  const [icon, key] = { done: ["check", "page.shell.pulled"], failed: ["warn", "page.shell.failed"] }[job.status] ?? ["close", "page.shell.cancelled"];
  return html`<div class="note ${job.status === "failed" ? "bad" : ""}"><${Icon} name=${icon} />
    <div class="grow">${say(key, { model: job.model })}${job.error && html`<p class="small muted">${job.error.message}</p>`}</div></div>`;
}
