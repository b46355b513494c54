/** One download: its bar, its brakes, and its place in the queue. */
import { inPath, post } from "../../lib/api.js";
import { ago, date, duration, percent, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useId, useState } from "../../lib/preact.js";
import { report } from "../../lib/toast.js";
import { comingOf, pull } from "../../shell/house.js";

/** @typedef {import("../../shell/house.js").Job & {priority: number, limit: number | null, hours: string | null, resume_at: number | null, step: string | null, step_text?: string}} Job */

const LIMITS = ["0", "500KB/s", "1MB/s", "2MB/s", "5MB/s", "10MB/s", "50MB/s"];

/** @param {Job} job @param {string} deed @param {Record<string, unknown>} [said] */
const steer = (job, deed, said = {}) => post(`/domicile/jobs/${inPath(job.id)}/${deed}`, said).catch(report);

/** @param {{job: Job}} props */
export function Job({ job }) {
  const [isOpen, setOpen] = useState(false);
  const id = useId();
  const paused = job.status === "paused";
  const steerable = job.kind === "pull";
  const facts = [
    paused ? (job.resume_at ? say("page.models.job.resumes", { when: date(job.resume_at, true) }) : say("page.shell.paused")) : job.status === "queued" ? say("page.models.job.queued") : job.progress === null ? say("page.shell.begins") : percent(job.progress),
    job.size_bytes && say("page.models.job.of", { done: job.downloaded_bytes, all: job.size_bytes }),
    job.status === "running" && job.speed && say("page.shell.speed", { speed: job.speed }),
    job.status === "running" && job.eta && say("page.models.job.left", { left: duration(job.eta) }),
    job.limit && say("page.models.job.limited", { limit: job.limit }),
    job.hours && job.hours !== "always" && job.hours,
  ].filter(Boolean);
  return html`<li class="card job" data-status=${job.status}>
    <div class="row tight">
      <div class="grow"><h3 class="cut" title=${job.model}>${job.model}</h3></div>
      ${steerable && html`<button type="button" class="ghost icon-only" aria-expanded=${isOpen} aria-controls=${id} onClick=${() => setOpen(!isOpen)}><${Icon} name="settings" label=${say("page.models.job.settings", { model: job.model })} /></button>
        <button type="button" class="button small" onClick=${() => steer(job, paused ? "resume" : "pause")}><${Icon} name=${paused ? "play" : "pause"} />${say(paused ? "page.models.job.resume" : "page.models.job.pause")}<span class="sr"> ${job.model}</span></button>`}
      <button type="button" class="button small" onClick=${() => steer(job, "cancel")}><${Icon} name="close" />${say("page.common.cancel")}<span class="sr"> ${job.model}</span></button>
    </div>
    <progress max="1" value=${job.progress ?? (job.status === "queued" || paused ? 0 : undefined)} aria-label=${job.model}></progress>
    <p class="small muted num wraps">${facts.join(" · ")}</p>
    ${job.error && html`<p class="note warn small"><${Icon} name="warn" /><span>${job.error.message} ${job.error.hint}</span></p>`}
    ${isOpen && html`<${Brakes} job=${job} id=${id} />`}
  </li>`;
}

/** @param {{job: Job, id: string}} props */
function Brakes({ job, id }) {
  const now = job.limit ? `${job.limit}` : "0";
  const [hours, setHours] = useState(job.hours ?? "");
  const known = LIMITS.find((l) => bytesOf(l) === (job.limit ?? 0));
  return html`<div class="brakes" id=${id}>
    <label class="field"><span class="label">${say("page.models.job.limit")}</span><select class="input" value=${known ?? now} onChange=${(/** @type {any} */ e) => steer(job, "limit", { limit: e.target.value })}>
      ${!known && html`<option value=${now}>${say("page.shell.speed", { speed: job.limit })}</option>`}
      ${LIMITS.map((l) => html`<option key=${l} value=${l}>${l === "0" ? say("page.models.job.limit.none") : say("page.shell.speed", { speed: bytesOf(l) })}</option>`)}</select></label>
    <label class="field"><span class="label">${say("page.models.job.priority")}</span><select class="input" value=${job.priority > 0 ? "high" : job.priority < 0 ? "low" : "normal"} onChange=${(/** @type {any} */ e) => steer(job, "priority", { priority: e.target.value })}>
      ${["high", "normal", "low"].map((p) => html`<option key=${p} value=${p}>${say(`page.models.job.priority.${p}`)}</option>`)}</select></label>
    <label class="field"><span class="label">${say("page.models.job.hours")}</span><input class="input" value=${hours} placeholder="23:00-07:00" autocomplete="off" onInput=${(/** @type {any} */ e) => setHours(e.target.value)} onChange=${() => steer(job, "hours", { hours: hours.trim() || null })} /><span class="help">${say("page.models.job.hours.help")}</span></label>
  </div>`;
}

/** @param {string} said `5MB/s` */
const bytesOf = (said) => {
  const found = /^(\d+)(K|M)?B?/.exec(said);
  return found ? Number(found[1]) * ({ K: 1e3, M: 1e6 }[found[2] ?? ""] ?? 1) : 0;
};

/** @param {{job: Job}} props */
export function Ended({ job }) {
  const icon = { done: "check", failed: "warn" }[job.status] ?? "close";
  const again = ["failed", "cancelled"].includes(job.status) && job.kind === "pull" && !comingOf(job.model);
  return html`<li class="past ${job.status}"><${Icon} name=${icon} label=${say(`page.models.ended.${job.status}`)} />
    <div class="grow"><span class="past-name">${job.model}</span>
      <span class="small muted">${[say(`page.models.ended.${job.status}`), job.size_bytes && size(job.size_bytes), job.completed_at && ago(job.completed_at)].filter(Boolean).join(" · ")}</span>
      ${job.error && html`<span class="small bad-ink">${job.error.message}</span>${job.error.hint && html`<span class="small muted">${job.error.hint}</span>`}`}</div>
    ${again && html`<button type="button" class="button small" onClick=${() => pull(job.model).catch(report)}><${Icon} name="refresh" />${say("page.common.again")}<span class="sr"> ${job.model}</span></button>`}</li>`;
}
