/** To understand: a short guide whose numbers are computed from this machine, now. Each section can be linked to. */
import { count, number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { useApi } from "../../lib/load.js";
import { html, render, useEffect, useState } from "../../lib/preact.js";

const SECTIONS = ["hardware", "memory", "quantisation", "context", "formats", "licences", "safety"];
/** Bits a weight takes in each quantisation (ggml's own blocks), for the table of an eight billion model. */
const QUANTS = [["F16", 16], ["Q8_0", 8.5], ["Q6_K", 6.56], ["Q5_K_M", 5.69], ["Q4_K_M", 4.85], ["Q3_K_M", 3.91], ["Q2_K", 3.16]];

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Learn} />`, place);

function Learn() {
  const machine = useApi("/domicile/machine");
  const offered = useApi("/domicile/recommended");
  useEffect(() => {
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }, [machine.data, offered.data]);
  const m = machine.data;
  const speed = m?.calibration?.read_bandwidth_bytes_per_s ?? null;
  const room = m?.room_bytes ?? m?.ram_available_bytes ?? null;
  return html`<div class="learn">
    <nav class="card learn-nav" aria-label=${say("page.learn.contents")}><ol>${SECTIONS.map((s) => html`<li key=${s}><a href="#${s}">${say(`page.learn.${s}`)}</a></li>`)}</ol></nav>
    <div class="stack loose learn-text">
      <${Section} name="hardware"><p>${say("page.learn.hardware.text")}</p>
        ${m && html`<p class="note"><${Icon} name="machine" /><span>${say("page.learn.hardware.here", { cpu: m.cpu ?? "?", cores: m.physical_cores, ram: m.ram_bytes, gpus: m.gpus.length ? m.gpus.map((/** @type {any} */ g) => g.name).join(", ") : say("page.learn.no_gpu") })}</span></p>`}
        ${speed ? html`<p>${say("page.learn.hardware.speed", { rate: speed, weights: 4.85e9, tokens: number((0.64 * speed) / 4.85e9, 1) })}</p>` : html`<p>${say("page.learn.hardware.unmeasured")}</p>`}<//>
      <${Section} name="memory"><p>${say("page.learn.memory.text")}</p><p><code>${say("page.learn.memory.sum")}</code></p>
        ${room !== null && html`<p class="note"><${Icon} name="info" /><span>${say("page.learn.memory.here", { room, parameters: number(Math.max(0, (room - 1.5e9) / (4.85 / 8)) / 1e9) })}</span></p>`}
        ${speed && html`<p>${say("page.learn.memory.seven", { total: 7.6e9 * (4.85 / 8) + 1.0e9, tokens: number((0.64 * speed) / (7.6e9 * (4.85 / 8)), 1) })}</p>`}
        <${Examples} known=${offered.data?.models ?? []} /><p><a href="/machine#fits">${say("page.learn.calculator")}</a></p><//>
      <${Section} name="quantisation"><p>${say("page.learn.quantisation.text")}</p>
        <div class="table-wrap" tabindex="0" role="region" aria-label=${say("page.learn.quantisation")}><table class="table"><thead><tr><th scope="col">${say("page.learn.quant")}</th><th scope="col" class="end">${say("page.learn.bits")}</th><th scope="col" class="end">${say("page.learn.size8")}</th><th scope="col" class="end">${say("page.learn.speed8")}</th></tr></thead><tbody>${QUANTS.map(([name, bits]) => html`<tr key=${name}><th scope="row">${name}</th><td class="end num">${number(/** @type {number} */ (bits), 2)}</td><td class="end num">${size(/** @type {number} */ (bits) * 1e9)}</td>
          <td class="end num">${speed ? say("page.learn.upto", { n: number(speed / (/** @type {number} */ (bits) * 1e9), 1) }) : "?"}</td></tr>`)}</tbody></table></div>
        <p class="small muted">${say("page.learn.quantisation.note")}</p><//>
      <${Section} name="context"><p>${say("page.learn.context.text")}</p><//>
      <${Section} name="formats"><dl class="facts">${["gguf", "safetensors", "onnx", "mlc"].map((f) => html`<dt key=${f}>${say(`page.learn.format.${f}`)}</dt><dd>${say(`page.learn.format.${f}.text`)}</dd>`)}</dl><p>${say("page.learn.formats.pickle")}</p><//>
      <${Section} name="licences"><p>${say("page.learn.licences.text")}</p><ul class="reasons">${["free", "terms", "research"].map((l) => html`<li key=${l}>${say(`page.learn.licence.${l}`)}</li>`)}</ul><//>
      <${Section} name="safety"><p>${say("page.learn.safety.text")}</p><p>${say("page.learn.private.text")}</p><p><a href="/machine#left">${say("page.learn.ledger")}</a></p><//>
    </div></div>`;
}

/** @param {{name: string, children?: any}} props */
function Section({ name, children }) {
  return html`<section class="card stack" id=${name}><h2><a class="anchor" href="#${name}">${say(`page.learn.${name}`)}</a></h2>${children}</section>`;
}

/** Models judged here and now by the adviser: those that live here; and known ones, whose headers the Hub is asked for, when
 * somebody wants it. @param {{known: any[]}} props */
function Examples({ known }) {
  const installed = useApi("/domicile/models");
  const [wanted, want] = useState(false);
  const here = (installed.data?.models ?? []).filter((/** @type {any} */ m) => m.format === "gguf" && !m.missing).slice(0, 4);
  const sized = known.filter((m) => m.parameters && m.reference && /q4/i.test(m.quantisation ?? "")).sort((a, b) => a.parameters - b.parameters);
  /** @type {any[]} */
  const spread = [];
  for (const m of sized) if (!spread.length || m.parameters > 2 * spread[spread.length - 1].parameters) spread.push(m);
  return html`<ul class="list">${here.map((/** @type {any} */ m) => html`<${Judged} key=${m.name} model=${m.name} quick />`)}${wanted && spread.slice(0, 5).map((m) => html`<${Judged} key=${m.id} model=${m.reference} name=${m.name} />`)}</ul>
    ${!wanted && spread.length > 0 && html`<div class="row"><button type="button" class="button small" onClick=${() => want(true)}>${say("page.learn.judge")}</button><span class="small muted">${say("page.learn.judge.asks")}</span></div>`}`;
}

/** @param {{model: string, name?: string, quick?: boolean}} props */
function Judged({ model, name = model, quick = false }) {
  const fit = useApi(`/domicile/fit?${new URLSearchParams({ model, ...(quick ? { quick: "true" } : {}) })}`);
  if (fit.error) return html`<li><span class="grow">${name}</span><span class="small muted">${fit.error.message}</span></li>`;
  if (!fit.data) return html`<li><span class="grow">${name}</span><span class="spinner" aria-hidden="true"></span></li>`;
  return html`<${Example} name=${name} parameters=${fit.data.facts.parameters} quant=${fit.data.facts.quantisation} fit=${fit.data} />`;
}

/** @param {{name: string, parameters: number, quant: string | null, fit: any}} props */
function Example({ name, parameters, quant, fit }) {
  const { low, high } = fit.tokens_per_second ?? { low: null, high: null };
  return html`<li><div class="grow">${say("page.learn.example", { name, parameters: count(parameters), quant: quant ?? "?", total: fit.total_bytes })}
    <p class="small muted">${high === null ? "" : say("page.learn.example.speed", { low: number(low, low < 10 ? 1 : 0), high: number(high, high < 10 ? 1 : 0) })}</p></div><span class="badge">${fit.verdict_text}</span></li>`;
}
