/** Models: find one that fits, get it, keep it. Each view is a module, shown when its address is. */
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, render, useEffect, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { jobs, over, refresh } from "../../shell/house.js";
import { chosen } from "./chosen.js";
import { follow, go, Link, where } from "./route.js";
import { isName, repositoryOf, TABS } from "./where.js";

/** @type {Record<string, () => Promise<{View: any}>>} */
const VIEWS = {
  recommended: () => import("./recommended.js"),
  search: () => import("./search.js"),
  repository: () => import("./repository.js"),
  installed: () => import("./installed.js"),
  model: () => import("./one.js"),
  downloads: () => import("./downloads.js"),
  compare: () => import("./compare.js"),
  tools: () => import("./tools.js"),
  custom: () => import("./custom.js"),
};

/** @param {HTMLElement} place */
export async function mount(place) {
  follow();
  refresh().catch(report);
  render(html`<${Models} />`, place);
}

function Models() {
  const here = use(where);
  const name = here.repository ? "repository" : here.model ? "model" : here.tab;
  const [shown, setShown] = useState(/** @type {{name: string, View: any} | null} */ (null));
  useEffect(() => {
    let wanted = true;
    VIEWS[name]().then(({ View }) => wanted && setShown({ name, View })).catch(report);
    return () => void (wanted = false);
  }, [name]);
  // Until the module of a view has come, the view before it stays as it was, at its own address.
  const last = useRef(here);
  if (shown?.name === name) last.current = here;
  return html`<div class="stack models">
    <${Finder} key=${here.tab === "search" ? (here.said.text ?? "") : ""} text=${here.tab === "search" ? (here.said.text ?? "") : ""} />
    <${Tabs} current=${here.tab} />
    <div class="view stack" data-view=${shown?.name}>${shown
      ? html`<${shown.View} key=${shown.name + (last.current.repository ?? last.current.model ?? "")} where=${last.current} />`
      : html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`}</div>
  </div>`;
}

/** One field for words to look for and for names one knows. @param {{text: string}} props */
function Finder({ text }) {
  const [said, setSaid] = useState(text);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    const repository = isName(said) ? repositoryOf(said) : null;
    if (repository) go({ repository });
    else go({ tab: "search", said: { ...(where.value.tab === "search" && !where.value.repository ? where.value.said : {}), text: said.trim() } });
  };
  return html`<form role="search" class="row tight finder" onSubmit=${submit}>
    <div class="search grow"><${Icon} name="search" /><input class="input" type="search" value=${said} autocomplete="off" spellcheck=${false}
      placeholder=${say("page.models.find.placeholder")} aria-label=${say("page.models.find")} onInput=${(/** @type {any} */ e) => setSaid(e.target.value)} /></div>
    <button type="submit" class="button primary">${say("page.models.find.go")}</button>
  </form>`;
}

/** @param {{current: string}} props */
function Tabs({ current }) {
  const going = [...use(jobs).values()].filter((j) => !over(j)).length;
  const compared = use(chosen).length;
  /** @type {Record<string, number>} */
  const counts = { downloads: going, compare: compared };
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const tab = /** @type {HTMLElement | null} */ (place.current?.querySelector("[aria-current]") ?? null);
    if (tab && place.current) place.current.scrollLeft = tab.offsetLeft - (place.current.clientWidth - tab.offsetWidth) / 2;
  }, [current]);
  return html`<nav class="tabs" ref=${place} aria-label=${say("page.models.views")}>
    ${TABS.map((tab) => html`<${Link} key=${tab} to=${{ tab, models: tab === "compare" ? chosen.value : [] }} aria-current=${tab === current ? "page" : undefined}>
      ${say(`page.models.tab.${tab}`)}${counts[tab] > 0 && html` <span class="count">${counts[tab]}</span>`}<//>`)}
  </nav>`;
}
