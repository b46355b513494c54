/** The rows of the selector, one for each kind of who may answer. */
import { get, inPath, remove } from "../lib/api.js";
import { confirm } from "../lib/dialog.js";
import { count, percent, say, size } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { html, useEffect, useState } from "../lib/preact.js";
import { use } from "../lib/store.js";
import { report, toast } from "../lib/toast.js";
import { away, comingOf, lightOf, pull, refresh } from "./house.js";

/** @typedef {import("./house.js").Job} Job */

const CAPABILITIES = ["tools", "thinking", "embedding", "vision"];
/** As many names as one request asks for. */
const AT_ONCE = 100;

/** @type {Map<string, Promise<string[]>>} */
const known = new Map();
/** @type {Map<string, (found: string[]) => void>} Those that are asked for together, once the rows are drawn. */
let wanted = new Map();

/** What a model can do, from its header: asked when it is shown, with the others that are. @param {string} name */
function capabilitiesOf(name) {
  if (!known.has(name)) {
    if (!wanted.size) setTimeout(gather);
    known.set(name, new Promise((resolve) => wanted.set(name, resolve)));
  }
  return /** @type {Promise<string[]>} */ (known.get(name));
}

async function gather() {
  const asked = [...wanted];
  wanted = new Map();
  for (let at = 0; at < asked.length; at += AT_ONCE) {
    const some = asked.slice(at, at + AT_ONCE);
    const names = new URLSearchParams(some.map(([name]) => ["name", name]));
    const { capabilities } = await get(`/domicile/capabilities?${names}`).catch(() => ({ capabilities: {} }));
    for (const [name, tell] of some) tell(capabilities[name] ?? []);
  }
}

/** @param {{name: string}} props */
function Capabilities({ name }) {
  const [found, setFound] = useState(/** @type {string[]} */ ([]));
  useEffect(() => {
    let here = true;
    capabilitiesOf(name).then((c) => here && setFound(c));
    return () => void (here = false);
  }, [name]);
  const shown = found.filter((c) => CAPABILITIES.includes(c));
  return shown.length > 0 && html`<span class="choice-caps">${shown.map((c) => html`<span key=${c} title=${say(`page.selector.can.${c}`)}><${Icon} name=${c === "vision" ? "eye" : c} label=${say(`page.selector.can.${c}`)} /></span>`)}</span>`;
}

/** @param {{light: string, name: string, about: any, end?: any, pick?: () => void, current?: boolean, children?: any, more?: any}} props */
function Row({ light, name, about, end, pick, current = false, children, more }) {
  return html`<li class="choice">
    <button type="button" class="choice-pick" disabled=${!pick} aria-current=${current ? "true" : undefined} onClick=${pick}>
      <span class="light" data-state=${light} aria-hidden="true"></span>
      <span class="choice-name cut" title=${name}>${name}</span>
      <span class="choice-about cut">${about}</span>
      <span class="choice-end">${end}</span>
      ${children}
    </button>
    ${more}
  </li>`;
}

/** @param {{model: import("../lib/state.js").Choice, pick: () => void}} props */
export function Installed({ model, pick }) {
  const light = lightOf(model.name, model.state);
  const current = model.active && !use(away);
  const about = html`<span>${say(`page.selector.state.${light}`)} · ${size(model.size_bytes)}${model.quantisation ? ` · ${model.quantisation}` : ""}</span><${Capabilities} name=${model.name} />`;
  return html`<${Row} light=${light} name=${model.name} about=${about} current=${current} pick=${model.state === "missing" ? undefined : pick}
    end=${current && html`<${Icon} name="check" label=${say("page.selector.chosen")} />`} />`;
}

/** @param {{job: Job}} props */
export function Coming({ job }) {
  return html`<${Row} light="downloading" name=${job.model} about=${say(job.status === "paused" ? "page.shell.paused" : "page.selector.state.downloading")} end=${job.progress === null ? "" : percent(job.progress)}>
    <progress max="1" value=${job.progress ?? undefined} aria-label=${job.model}></progress><//>`;
}

/** @param {{model: import("./house.js").Standard, pick: () => void}} props */
export function StandardChoice({ model, pick }) {
  const job = comingOf(model.reference);
  if (job) return html`<${Coming} job=${job} />`;
  const facts = [model.size_bytes ? size(model.size_bytes) : model.about_bytes ? `~${size(model.about_bytes)}` : model.parameters && count(model.parameters), model.verdict && model.verdict !== "fits" && model.verdict_text, model.best_for].filter(Boolean);
  return html`<${Row} light="asleep" name=${model.name} about=${facts.join(" · ")} pick=${pick}
    end=${html`<${Icon} name="download" label=${say("page.common.get")} />`} />`;
}

/** @param {{target: import("./house.js").Target, pick: () => void}} props */
export function Target({ target, pick }) {
  const current = use(away) === target.name;
  const about = target.health && !target.health.well ? say("page.selector.away.unwell") : say(`page.selector.away.${target.reach ?? "unknown"}`);
  return html`<${Row} light=${target.health && !target.health.well ? "trouble" : "away"} name=${target.name} about=${`${about} · ${target.url}`} pick=${pick} current=${current}
    end=${current && html`<${Icon} name="check" label=${say("page.selector.chosen")} />`} />`;
}

const FILES = ["gguf", "safetensors", "onnx"];

/** A model somebody defined: only these can be removed here. @param {{model: import("./house.js").Custom}} props */
export function CustomChoice({ model }) {
  const job = comingOf(model.url);
  const drop = async () => {
    const sure = await confirm({
      title: say("page.custom.remove.title"),
      text: say("page.custom.remove.text", { name: model.name }),
      yes: say("page.custom.remove.yes"),
      danger: true,
    });
    if (!sure) return;
    try {
      await remove(`/domicile/custom/${inPath(model.id)}`);
      await refresh();
      toast(say("page.custom.removed", { name: model.name }), { kind: "good" });
    } catch (trouble) {
      report(trouble);
    }
  };
  const file = FILES.includes(model.kind);
  const about = [model.kind.toUpperCase(), model.size, model.description].filter(Boolean).join(" · ");
  const more = html`<button type="button" class="ghost icon-only small choice-remove" onClick=${drop}><${Icon} name="trash" label=${say("page.custom.remove", { name: model.name })} /></button>`;
  return html`<${Row} light=${job ? "downloading" : "asleep"} name=${model.name} about=${about} more=${more}
    pick=${file && !job ? () => pull(model.url).catch(report) : undefined}
    end=${file && html`<${Icon} name="download" label=${say("page.common.get")} />`}>
    ${job && html`<progress max="1" value=${job.progress ?? undefined} aria-label=${model.name}></progress>`}<//>`;
}
