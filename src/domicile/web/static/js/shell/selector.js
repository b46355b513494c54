/** The selector in the header: who answers, in which state, and everybody else who may. */
import { announce, arrows } from "../lib/a11y.js";
import { open as openDialog } from "../lib/dialog.js";
import { duration, percent, say } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { use } from "../lib/store.js";
import { report } from "../lib/toast.js";
import { activate, active, away, awake, choices, comingOf, jobs, lightOf, open, over, pull, refresh } from "./house.js";
import { usePanel } from "./panel.js";
import { CustomForm } from "./custom.js";
import { Coming, CustomChoice, Installed, StandardChoice, Target } from "./choices.js";

/** @typedef {import("./house.js").Standard} Standard */

/** How many of the recommended ones are shown before anything is searched. */
const FEW = 5;
/** How many of those that live here are drawn at once; who has more of them searches, or opens the room of models. */
const MANY = 60;

export function Selector() {
  const [isOpen, setOpen] = useState(false);
  const holder = usePanel(isOpen, () => setOpen(false));
  return html`<div ref=${holder}>
    <${Current} isOpen=${isOpen} toggle=${() => setOpen(!isOpen)} />
    ${isOpen && html`<${Panel} close=${() => setOpen(false)} />`}
  </div>`;
}

/** @param {{isOpen: boolean, toggle: () => void}} props */
function Current({ isOpen, toggle }) {
  const [model, target, there, present, under] = [use(active), use(away), use(open), use(awake), use(jobs)];
  const light = target ? "away" : model ? lightOf(model.name, model.state) : firstComing(under) ? "downloading" : "asleep";
  const name = target ?? model?.name ?? firstComing(under)?.model ?? say("page.selector.none");
  const seconds = useSeconds(light === "waking" ? present.find((a) => a.name === model?.name)?.since ?? null : null);
  const words = !there ? say("page.selector.state.closed")
    : light === "waking" ? say("page.selector.state.waking_for", { seconds })
    : light === "downloading" ? percent(firstComing(under)?.progress ?? 0)
    : say(`page.selector.state.${light}`);
  const before = useRef(light);
  useEffect(() => {
    if (before.current !== light && model) announce(`${model.name}: ${say(`page.selector.state.${light}`)}`);
    before.current = light;
  }, [light]);
  return html`<button type="button" class="selector-button" aria-haspopup="dialog" aria-expanded=${isOpen} aria-controls="selector-panel" onClick=${toggle}>
    <span class="light" data-state=${there ? light : "trouble"} aria-hidden="true"></span>
    <span class="sr">${say("page.selector.title")}</span>
    <span class="selector-name cut" title=${name}>${name}</span>
    <span class="selector-state num">${words}</span>
    <${Icon} name="chevron" />
  </button>`;
}

/** @param {Map<string, import("./house.js").Job>} all */
const firstComing = (all) => [...all.values()].find((j) => j.kind === "pull" && !over(j));

/** Seconds since a moment, counted while it is given. @param {number | null} since */
function useSeconds(since) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (since === null) return;
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [since]);
  return since === null ? "" : duration(Math.max(0, Date.now() / 1000 - since));
}

/** @param {{close: () => void}} props */
function Panel({ close }) {
  const [asked, setAsked] = useState("");
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const all = use(choices);
  const [judged, setJudged] = useState(/** @type {null | {order: (models: Standard[]) => Standard[]}} */ (null));
  use(jobs);
  use(awake);
  useEffect(() => {
    refresh().catch(report);
    import("./standard.js").then((m) => m.judge()).then((order) => setJudged({ order }), () => setJudged({ order: (some) => some }));
    place.current?.querySelector("input")?.focus();
  }, []);
  /** @param {string[]} texts */
  const fits = (...texts) => asked.toLowerCase().split(/\s+/).every((word) => texts.join(" ").toLowerCase().includes(word));
  /** @param {KeyboardEvent} event */
  const keys = (event) => arrows(event, [.../** @type {NodeListOf<HTMLElement>} */ (place.current?.querySelectorAll("input, .choice-pick:not([disabled])") ?? [])]);
  /** @param {() => Promise<unknown>} deed */
  const pick = (deed) => deed().then(close, report);
  const add = async () => {
    close();
    await openDialog(CustomForm);
  };
  const installed = all?.installed.filter((m) => fits(m.name, m.format, m.quantisation ?? "", ...m.aliases)) ?? [];
  const named = new Set(all?.standard.map((s) => s.reference.toLowerCase()));
  const coming = [...jobs.value.values()].filter((j) => j.kind === "pull" && !over(j) && !named.has(j.model.toLowerCase()) && fits(j.model));
  const custom = all?.custom.filter((c) => fits(c.id, c.name, c.description ?? "", c.kind)) ?? [];
  const targets = all?.away.filter((t) => fits(t.name, t.url)) ?? [];
  const found = (judged?.order(all?.standard ?? []) ?? []).filter((s) => fits(s.name, s.organisation, s.best_for, ...s.needs));
  const standard = asked ? found.slice(0, 30) : found.filter((s, n) => n < FEW || comingOf(s.reference));
  const nothing = all && judged && !installed.length && !coming.length && !custom.length && !targets.length && !found.length;
  return html`<section class="selector-panel panel" id="selector-panel" role="dialog" aria-label=${say("page.selector.title")} ref=${place} onKeyDown=${keys}>
    <div class="search"><${Icon} name="search" />
      <input class="input" type="search" placeholder=${say("page.selector.search")} aria-label=${say("page.selector.search")} value=${asked} onInput=${(/** @type {any} */ e) => setAsked(e.target.value)} />
    </div>
    <div class="selector-groups" tabindex="-1">
      ${!all && html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`}
      ${nothing && html`<p class="empty">${say("page.selector.nothing", { asked })}</p>`}
      <${Group} title=${say("page.selector.installed")} show=${installed.length + coming.length > 0}>
        ${installed.slice(0, MANY).map((m) => html`<${Installed} key=${m.name} model=${m} pick=${() => pick(() => activate(m.name))} />`)}
        ${installed.length > MANY && html`<li class="choice-more small muted"><a href="/models?tab=installed">${say("page.selector.more", { n: installed.length - MANY })}</a></li>`}
        ${coming.map((j) => html`<${Coming} key=${j.id} job=${j} />`)}
      <//>
      <${Group} title=${say("page.selector.custom")} show=${custom.length > 0}>
        ${custom.map((c) => html`<${CustomChoice} key=${c.id} model=${c} />`)}
      <//>
      <${Group} title=${say("page.selector.away")} show=${targets.length > 0}>
        ${targets.map((t) => html`<${Target} key=${t.name} target=${t} pick=${() => ((away.value = t.name), close())} />`)}
      <//>
      <${Group} title=${say("page.selector.standard")} show=${standard.length > 0}>
        ${standard.map((s) => html`<${StandardChoice} key=${s.id} model=${s} pick=${() => pull(s.reference).catch(report)} />`)}
      <//>
    </div>
    <div class="selector-foot">
      <button type="button" class="ghost" onClick=${add}><${Icon} name="plus" />${say("page.selector.add")}</button>
      <a class="ghost" href="/models">${say("page.selector.all")}</a>
    </div>
  </section>`;
}

/** @param {{title: string, show: boolean, children?: any}} props */
function Group({ title, show, children }) {
  return show && html`<section class="selector-group"><h2>${title}</h2><ul class="choices">${children}</ul></section>`;
}
