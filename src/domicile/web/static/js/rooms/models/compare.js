/** Models side by side, fact by fact; and what two of them answer to the same words. */
import { get } from "../../lib/api.js";
import { count, number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { choices } from "../../shell/house.js";
import { chosen, MOST } from "./chosen.js";
import { Controls } from "./controls.js";
import { Duel } from "./duel.js";
import { lossOf } from "./judged.js";
import { contextText, Empty, Get, Heading, Legend, Memory, Speed, Verdict } from "./parts.js";
import { go, Link } from "./route.js";
import { repositoryOf } from "./where.js";

/** @typedef {import("./judged.js").Report & {model: string, facts: Record<string, any>}} Opinion */
/** @typedef {{reference: string, opinion: Opinion | null, error: any, about: any}} Column */

const ELSEWHERE = [["LMArena", "https://lmarena.ai/leaderboard"], ["Artificial Analysis", "https://artificialanalysis.ai/models"], ["Open LLM Leaderboard", "https://huggingface.co/open-llm-leaderboard"]];

/** @param {{where: import("./where.js").Where}} props */
export function View({ where }) {
  const models = where.models.slice(0, MOST);
  const { context, kv, on } = where.said;
  const [columns, setColumns] = useState(/** @type {Column[]} */ ([]));
  useEffect(() => {
    if (models.length) chosen.value = models; // the address is what counts
    else if (chosen.value.length) go({ tab: "compare", models: chosen.value, said: where.said }, { replace: true });
  }, [models.join(" ")]);
  useEffect(() => {
    const leave = new AbortController();
    setColumns((before) => models.map((reference) => before.find((c) => c.reference === reference) ?? { reference, opinion: null, error: null, about: null }));
    for (const reference of models) look(reference, { context, kv, on }, leave.signal).then((column) => leave.signal.aborted || setColumns((before) => before.map((c) => (c.reference === reference ? column : c))));
    return () => leave.abort();
  }, [models.join(" "), context, kv, on]);
  /** @param {string[]} now */
  const show = (now) => {
    chosen.value = now;
    go({ tab: "compare", models: now, said: where.said }, { replace: true });
  };
  const judged = columns.flatMap((c) => (c.opinion ? [c.opinion] : []));
  return html`<${Heading}>${say("page.models.compare.title")}<//>
    <${Add} models=${models} add=${(/** @type {string} */ r) => show([...models, r].slice(-MOST))} />
    ${models.length === 0 && html`<${Empty} icon="models" title=${say("page.models.compare.none")}><p>${say("page.models.compare.none.hint")}</p>
      <p class="row centre"><${Link} class="button small" to=${{ tab: "recommended" }}>${say("page.models.tab.recommended")}<//><${Link} class="button small" to=${{ tab: "search" }}>${say("page.models.tab.search")}<//></p><//>`}
    ${models.length > 0 && html`
      <section class="card"><${Controls} said=${where.said} set=${(/** @type {Record<string, string>} */ more) => go({ tab: "compare", models, said: { ...where.said, ...more } }, { replace: true })} variants=${judged} /></section>
      ${judged.length > 0 && html`<${Legend} room=${judged[0].available_bytes} />`}
      <${Table} columns=${columns} drop=${(/** @type {string} */ r) => show(models.filter((m) => m !== r))} />
      <p class="small muted">${say("page.models.compare.elsewhere")} ${ELSEWHERE.map(([name, url], i) => html`${i > 0 && ", "}<a href=${url} target="_blank" rel="noopener noreferrer">${name} <${Icon} name="external" /></a>`)}</p>
      <${Duel} />`}`;
}

/** A name of a repository stands for the variant that suits best. @param {string} reference @param {Record<string, string | undefined>} said @param {AbortSignal} signal @returns {Promise<Column>} */
async function look(reference, said, signal) {
  const asked = new URLSearchParams();
  for (const [key, value] of Object.entries(said)) if (value) asked.set(key, value);
  const repository = repositoryOf(reference);
  const [opinion, about] = await Promise.allSettled([
    get(`/domicile/fit?model=${encodeURIComponent(reference)}&quick=true&${asked}`, { signal }),
    repository ? get(`/domicile/repository?model=${encodeURIComponent(repository)}&fresh=3600`, { signal }) : Promise.resolve(null),
  ]);
  return {
    reference,
    opinion: opinion.status === "fulfilled" ? opinion.value : null,
    error: opinion.status === "rejected" ? opinion.reason : null,
    about: about.status === "fulfilled" ? about.value : null,
  };
}

/** @param {{columns: Column[], drop: (reference: string) => void}} props */
function Table({ columns, drop }) {
  const installed = use(choices)?.installed ?? [];
  /** @type {[string, (c: Column, o: Opinion) => any][]} */
  const rows = [
    ["verdict", (_, o) => html`<${Verdict} report=${o} />`],
    ["speed", (_, o) => html`<${Speed} speed=${o.tokens_per_second} why=${o.speed_why} />`],
    ["memory", (_, o) => html`<${Memory} report=${o} />`],
    ["size", (_, o) => size(o.facts.file_bytes)],
    ["parameters", (_, o) => [o.facts.parameters && count(o.facts.parameters), o.facts.active_parameters && say("page.models.compare.active", { n: count(o.facts.active_parameters) })].filter(Boolean).join(" · ")],
    ["quantisation", (_, o) => `${o.facts.quantisation ?? "–"} · ${say("page.models.bits", { bits: number(o.facts.bits_per_weight, 1) })}`],
    ["loss", (_, o) => { const word = lossOf(o.facts.quality_loss); return word && say(`page.models.loss.${word}`); }],
    ["context", (_, o) => o.facts.context_length && contextText(o.facts.context_length)],
    ["context_here", (_, o) => o.max_context && contextText(o.max_context)],
    ["architecture", (_, o) => o.facts.architecture],
    ["licence", (c, o) => c.about?.licence ?? o.facts.licence],
    ["downloads", (c) => c.about?.downloads && count(c.about.downloads)],
    ["likes", (c) => c.about?.likes && count(c.about.likes)],
  ];
  return html`<div class="table-wrap" tabindex="0" role="region" aria-label=${say("page.models.compare.title")}><table class="table compare">
    <thead><tr><td></td>${columns.map((c) => html`<th scope="col" key=${c.reference}><div class="row tight nowrap"><span class="grow">${repositoryOf(c.reference)
        ? html`<${Link} to=${{ repository: repositoryOf(c.reference) }}>${c.opinion?.model ?? c.reference}<//>`
        : html`<${Link} to=${{ model: c.reference }}>${c.reference}<//>`}</span>
      <button type="button" class="ghost icon-only small" onClick=${() => drop(c.reference)}><${Icon} name="close" label=${say("page.models.compare.drop", { name: c.reference })} /></button></div></th>`)}</tr></thead>
    <tbody>${rows.map(([name, draw]) => html`<tr key=${name}><th scope="row">${say(`page.models.column.${name}`)}</th>${columns.map((c) => html`<td key=${c.reference}>${c.opinion ? (draw(c, c.opinion) || html`<span class="muted">–</span>`) : c.error ? (name === "verdict" ? html`<span class="small bad-ink">${c.error.message}</span>` : "") : html`<span class="bone short" aria-hidden="true"></span>`}</td>`)}</tr>`)}
      <tr><th scope="row"><span class="sr">${say("page.models.deeds")}</span></th>${columns.map((c) => html`<td key=${c.reference}>${c.opinion && !installed.some((m) => m.name === c.opinion?.model) && repositoryOf(c.reference) ? html`<${Get} reference=${c.opinion.model} />` : c.opinion && html`<span class="badge good"><${Icon} name="check" />${say("page.common.here")}</span>`}</td>`)}</tr></tbody>
  </table></div>`;
}

/** @param {{models: string[], add: (reference: string) => void}} props */
function Add({ models, add }) {
  const [said, setSaid] = useState("");
  const installed = use(choices)?.installed.map((m) => m.name) ?? [];
  const offered = [...new Set([...installed, ...(choices.value?.standard.map((m) => m.reference) ?? [])])].filter((n) => !models.includes(n));
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (said.trim() && !models.includes(said.trim())) add(said.trim());
    setSaid("");
  };
  return html`<form class="row tight" onSubmit=${submit}>
    <input class="input grow" list="comparable" value=${said} autocomplete="off" aria-label=${say("page.models.compare.name")} placeholder=${say("page.models.compare.name")} onInput=${(/** @type {any} */ e) => setSaid(e.target.value)} />
    <datalist id="comparable">${offered.slice(0, 200).map((n) => html`<option key=${n} value=${n} />`)}</datalist>
    <button type="submit" class="button" disabled=${models.length >= MOST}><${Icon} name="plus" />${say("page.models.compare.add")}</button></form>`;
}
