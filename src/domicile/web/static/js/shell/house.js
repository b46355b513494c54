/** What every room knows of the house: who may answer, who is awake, what is being downloaded; kept up to date by one connection. */
import { get, inPath, post } from "../lib/api.js";
import { say } from "../lib/i18n.js";
import { listen } from "../lib/sse.js";
import { state } from "../lib/state.js";
import { kept, signal } from "../lib/store.js";
import { report, toast } from "../lib/toast.js";

/** @typedef {import("../lib/state.js").Choice} Choice */
/** @typedef {{id: string, model: string, kind: string, status: string, progress: number | null, size_bytes: number | null,
 *   downloaded_bytes: number, speed: number | null, eta: number | null, error: {message: string, hint?: string} | null,
 *   result: Record<string, any>, completed_at: number | null}} Job */
/** @typedef {{id: string, name: string, url: string, kind: string, size: string | null, description: string | null, model_lib: string | null}} Custom */
/** @typedef {{id: string, name: string, organisation: string, reference: string, size_bytes: number | null, parameters: number | null, best_for: string, needs: string[], about_bytes?: number, verdict?: string, verdict_text?: string}} Standard */
/** @typedef {{name: string, url: string, reach: string | null, health: {well: boolean, problem?: string} | null}} Target */
/** @typedef {{installed: Choice[], coming: Job[], custom: Custom[], standard: Standard[], away: Target[], offline: boolean, strategy: string}} Choices */
/** @typedef {{name: string, state: string, busy: number, waiting: number, position: number | null, since: number, note_text: string | null, tokens_per_second: number | null}} Awake */

/** Tasks of models that one can talk with; a GGUF that says nothing of itself is one. */
const TALKS = ["text-generation", "image-text-to-text", "text2text-generation"];

/** The model a question goes to; null when none lives here. @type {import("../lib/store.js").Signal<Choice | null>} */
export const active = signal(state.active);
/** Whether the person chose a target away instead. @type {import("../lib/store.js").Signal<string | null>} */
export const away = kept("away", /** @type {string | null} */ (null));
/** The model that somebody who is no administrator chose for this browser. */
const mine = kept("model", /** @type {string | null} */ (null));
/** Models that are not asleep. @type {import("../lib/store.js").Signal<Awake[]>} */
export const awake = signal(/** @type {Awake[]} */ ([]));
/** Downloads and other work, by id. @type {import("../lib/store.js").Signal<Map<string, Job>>} */
export const jobs = signal(new Map());
/** Everybody who may answer; null before somebody asked. @type {import("../lib/store.js").Signal<Choices | null>} */
export const choices = signal(/** @type {Choices | null} */ (null));
/** Is the house there? @type {import("../lib/store.js").Signal<boolean>} */
export const open = signal(true);
/** The last thing that happened to a chat, here or on another page. `open` when the connection is there (again). */
export const news = signal(/** @type {{name: "chat" | "removed" | "imported" | "open", data: any}} */ ({ name: "open", data: null }));
/** What ended since the page was opened, newest first. @type {import("../lib/store.js").Signal<Job[]>} */
export const ended = signal(/** @type {Job[]} */ ([]));

/** Five lights: asleep, waking, ready, downloading, away; and trouble. @param {string} model @param {string} [before] the state it was listed with */
export function lightOf(model, before = "asleep") {
  if (before === "missing") return "trouble";
  const now = awake.value.find((a) => a.name === model);
  if (now) return now.state === "awake" ? "ready" : now.state === "sleeping" ? "asleep" : "waking";
  return "asleep";
}

/** The download of a model that is under way. @param {string} reference @returns {Job | undefined} */
export function comingOf(reference) {
  const wanted = reference.toLowerCase();
  return [...jobs.value.values()].find((j) => j.kind === "pull" && !over(j) && j.model.toLowerCase() === wanted);
}

/** @param {Job} job */
export const over = (job) => ["done", "failed", "cancelled"].includes(job.status);

/** Ask again who may answer. */
export async function refresh() {
  /** @type {Choices} */
  const now = await get("/domicile/choices");
  choices.value = now;
  const own = state.account?.role === "user" ? now.installed.find((m) => m.name === mine.value) : undefined;
  active.value = own ?? now.installed.find((m) => m.active) ?? null;
  const known = new Map(jobs.value);
  for (const job of now.coming) known.set(job.id, job);
  jobs.value = known;
  if (away.value && !now.away.some((t) => t.name === away.value)) away.value = null;
  return now;
}

/** Make a model the one that answers. @param {string} name */
export async function activate(name) {
  away.value = null;
  if (active.value?.name === name) return;
  if (state.account?.role === "user") {
    mine.value = name; // what the house wakes by itself is an administrator's to say
    active.value = choices.value?.installed.find((m) => m.name === name) ?? active.value;
    return;
  }
  await post(`/domicile/models/${inPath(name)}/activate`);
  await refresh();
}

/** Make a model the one that answers, in a conversation that begins. @param {string} name */
export async function talk(name) {
  await activate(name);
  if (state.room === "chat") return; // the one that is open goes on with it
  sessionStorage.removeItem("domicile.chat.last");
  location.assign("/");
}

/** What may be done with a model that has just come: talk with it, where it is one that talks. @param {Job} job */
const next = ({ kind, result }) => {
  const mine = kind === "pull" && choices.value?.installed.find((m) => m.name === result?.name);
  if (!mine || !TALKS.includes(mine.task ?? TALKS[0]) || mine.format === "mlc" || mine.name === active.value?.name) return null;
  return { label: say("page.shell.talk"), run: () => talk(mine.name).catch(report) };
};

/** Download what a name or an address says. @param {string} model @returns {Promise<Job>} */
export async function pull(model) {
  const job = /** @type {Job} */ (await post("/domicile/pull", { model }));
  heard(job);
  return job;
}

/** @param {Job} job */
function heard(job) {
  const before = jobs.value.get(job.id);
  const now = new Map(jobs.value);
  now.set(job.id, job);
  jobs.value = now;
  if (!over(job) || (before && over(before))) return;
  ended.value = [job, ...ended.value].slice(0, 30);
  if (job.status === "done") refresh().catch(report).then(() => toast(say(job.kind === "pull" ? "page.shell.pulled" : "page.shell.done", { model: job.model }), { kind: "good", action: next(job) }));
  else if (job.status === "failed") toast(say("page.shell.failed", { model: job.model }), { kind: "bad", hint: job.error?.message });
  if (job.status !== "done" && job.kind === "pull") refresh().catch(report);
}

/** Listen to the house. */
export function begin() {
  listen(
    "/domicile/events",
    {
      job: heard,
      awake: (now) => (awake.value = now.models),
      library: () => choices.value && refresh().catch(report),
      chat: (data) => (news.value = { name: "chat", data }),
      removed: (data) => (news.value = { name: "removed", data }),
      imported: (data) => (news.value = { name: "imported", data }),
    },
    {
      onState: (now) => {
        open.value = now === "open";
        if (now === "open") news.value = { name: "open", data: null };
      },
    },
  );
}
