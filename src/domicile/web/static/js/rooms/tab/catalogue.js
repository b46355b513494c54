/** Models compiled for the browser (MLC): web-llm's own list, and those the person defined. The house fetches and checks them. */
import { adapter } from "../../engines/webllm.js";
import { get } from "../../lib/api.js";
import { say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { choices, comingOf, jobs, pull, refresh } from "../../shell/house.js";
import { Going } from "../../shell/notices.js";

const SHOWN = 12;

/** @param {{here: import("../../engines/types.js").Model[]}} props */
export function Catalogue({ here }) {
  const [records, setRecords] = useState(/** @type {any[] | null} */ (null));
  const [asked, setAsked] = useState("");
  const [why, setWhy] = useState(/** @type {string | null} */ (null));
  use(jobs);
  const custom = (use(choices)?.custom ?? []).filter((c) => c.kind === "mlc");
  /** @param {any} event */
  const opened = (event) => {
    if (!event.target.open || records) return;
    get("/domicile/browser-models").then(({ models }) => setRecords(models), report);
    adapter().then((found) => setWhy(found.why));
    refresh().catch(report);
  };
  useEffect(() => void (choices.value ?? refresh().catch(report)), []);
  const fitting = (records ?? []).filter((r) => r.model_id.toLowerCase().includes(asked.trim().toLowerCase()));
  return html`<details class="card" onToggle=${opened}><summary><strong>${say("page.tab.mlc")}</strong></summary>
    <div class="stack">
      <p class="muted">${say("page.tab.mlc.text")}</p>
      ${why && html`<p class="note warn"><${Icon} name="warn" /><span>${say(`page.error.tab.${why}`)}</span></p>`}
      ${custom.length > 0 && html`<h3>${say("page.tab.mlc.custom")}</h3><ul class="list">${custom.map((c) => html`<${Line} key=${c.id} id=${c.id} name=${c.name} reference=${c.id} job=${comingOf(c.url) ?? comingOf(c.id)} about=${c.size} here=${here} />`)}</ul>`}
      <div class="search"><${Icon} name="search" /><input class="input" type="search" placeholder=${say("page.tab.mlc.search")} aria-label=${say("page.tab.mlc.search")} value=${asked} onInput=${(/** @type {any} */ e) => setAsked(e.target.value)} /></div>
      <ul class="list">${fitting.slice(0, SHOWN).map((r) => {
        const reference = r.model.replace("https://huggingface.co/", "");
        return html`<${Line} key=${r.model_id} id=${r.model_id} name=${r.model_id} reference=${reference} job=${comingOf(reference)} about=${r.vram_required_MB && say("page.tab.mlc.vram", { size: r.vram_required_MB * 1e6 })} here=${here} />`;
      })}</ul>
      ${fitting.length > SHOWN && html`<p class="small muted">${say("page.tab.mlc.more", { n: fitting.length - SHOWN })}</p>`}
    </div>
  </details>`;
}

/** @param {{id: string, name: string, reference: string, about: any, job: any, here: import("../../engines/types.js").Model[]}} props */
function Line({ id, name, reference, about, job, here }) {
  const mine = here.some((m) => [id, reference].includes(m.name) || m.name.startsWith(`${reference}:`));
  return html`<li><span class="grow">${name}${about && html`<span class="why small muted">${about}</span>`}${job && html`<${Going} job=${job} />`}</span>
    ${mine
      ? html`<span class="badge good"><${Icon} name="check" />${say("page.tab.mlc.here")}</span>`
      : !job && html`<button type="button" class="button small" onClick=${() => pull(reference).catch(report)}>${say("page.common.get")}<span class="sr"> ${name}</span></button>`}</li>`;
}
