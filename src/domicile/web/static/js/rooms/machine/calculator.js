/** The memory calculator: a model, a context, a precision of its memory; the exact split, the rules of thumb beside it, and
 * the graphics cards that would run it. */
import { get } from "../../lib/api.js";
import { number, percent, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble, useApi } from "../../lib/load.js";
import { html, useEffect, useId, useState } from "../../lib/preact.js";
import { Shares } from "../../lib/shares.js";

const KV = ["f16", "q8_0", "q4_0"];
const STEPS = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144];
const PARTS = ["weights", "kv", "state", "compute", "overhead", "projector"];
const VERDICTS = { fits: "good", tight: "warn", partly_on_gpu: "warn", smaller_context: "warn", smaller_quantisation: "warn", no: "bad" };

/** @param {string} model @param {number} context @param {string} kv @param {string} on */
const asked = (model, context, kv, on) => new URLSearchParams({ model, context: String(context), kv, ...(on ? { on } : {}) }).toString();

export function Calculator() {
  const models = useApi("/domicile/models");
  const offered = useApi("/domicile/recommended");
  const [model, setModel] = useState("");
  const [step, setStep] = useState(4);
  const [kv, setKv] = useState("f16");
  const [on, setOn] = useState("");
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const [id, list] = [useId(), useId()];
  const named = model || models.data?.models.find((/** @type {any} */ m) => m.active)?.name || models.data?.models[0]?.name || "";
  const query = asked(named, STEPS[step], kv, on);

  useEffect(() => {
    if (!named) return;
    const leave = new AbortController();
    const soon = setTimeout(() => {
      setBusy(true);
      get(`/domicile/fit?${query}`, { signal: leave.signal }).then(
        (now) => [setFound(now), setError(null), setBusy(false)],
        (trouble) => leave.signal.aborted || [setError(trouble), setBusy(false)],
      );
    }, 350);
    return () => [clearTimeout(soon), leave.abort()];
  }, [query]);

  const names = [...new Set([...(models.data?.models ?? []).map((/** @type {any} */ m) => m.name), ...referencesOf(offered.data)])];
  return html`<section class="card stack"><h2>${say("page.machine.calculator")}</h2><p class="muted">${say("page.machine.calculator.text")}</p>
      <div class="fields">
        <div class="field full"><label for=${id}>${say("page.machine.model")}</label><input class="input" id=${id} list=${list} value=${named} autocomplete="off" spellcheck=${false} onChange=${(/** @type {any} */ e) => setModel(e.target.value.trim())} />
          <datalist id=${list}>${names.map((n) => html`<option key=${n} value=${n} />`)}</datalist><span class="help">${say("page.machine.model.help")}</span></div>
        <div class="field"><label for="${id}c">${say("page.machine.context")} <output class="num muted">${say("page.machine.window", { n: STEPS[step] })}</output></label>
          <input id="${id}c" type="range" min="0" max=${STEPS.length - 1} value=${step} aria-valuetext=${number(STEPS[step])} onInput=${(/** @type {any} */ e) => setStep(Number(e.target.value))} /></div>
        <div class="field"><label for="${id}k">${say("page.machine.kv")}</label><select class="input" id="${id}k" value=${kv} onChange=${(/** @type {any} */ e) => setKv(e.target.value)}>${KV.map((k) => html`<option key=${k} value=${k}>${say(`page.machine.kv.${k}`)}</option>`)}</select></div>
        <div class="field"><label for="${id}o">${say("page.machine.on")}</label><input class="input" id="${id}o" value=${on} placeholder=${say("page.machine.on.here")} autocomplete="off" onChange=${(/** @type {any} */ e) => setOn(e.target.value.trim())} /></div>
      </div>
      <div class="stack" aria-live="polite" aria-busy=${busy ? "true" : "false"}>
        ${error ? html`<${Trouble} error=${error} />` : found ? html`<${Split} of=${found} />` : html`<p class="loading"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`}</div>
    </section>
    ${found && !error && html`<${Rules} of=${found} /><${Cards} query=${asked(named, STEPS[step], kv, "")} choose=${setOn} />`}`;
}

/** @param {any} data @returns {string[]} */
const referencesOf = (data) => (data?.models ?? []).map((/** @type {any} */ m) => m.reference).filter(Boolean);

/** @param {{of: any}} props */
function Split({ of }) {
  const parts = PARTS.map((name) => ({ name, label: say(`page.machine.part.${name}`), bytes: of[`${name}_bytes`] ?? 0 }));
  const left = Math.max(0, (of.available_bytes ?? 0) - (of.total_bytes ?? 0));
  const { low, high } = of.tokens_per_second;
  return html`<div class="row"><span class="badge ${VERDICTS[/** @type {keyof typeof VERDICTS} */ (of.verdict)] ?? ""}">${of.verdict_text}</span>
      <strong class="num big">${of.total_bytes === null ? say("page.machine.unknown") : size(of.total_bytes)}</strong>
      ${high !== null && html`<span class="muted">${say("page.machine.between", { low: number(low ?? 0, low < 10 ? 1 : 0), high: number(high, high < 10 ? 1 : 0) })}</span>`}
      ${of.engine && !of.engine.trouble && html`<span class="badge good"><${Icon} name="check" />${say("page.machine.engine_said")}</span>`}</div>
    <${Shares} label=${say("page.machine.part.all")} total=${of.available_bytes ?? 0} parts=${[...parts, { name: "left", label: say("page.machine.part.left"), bytes: left, free: true }]} />
    <ul class="reasons small">${[...of.why, of.speed_why].map((w) => html`<li key=${w}>${w}</li>`)}</ul>`;
}

/** @param {{of: any}} props */
function Rules({ of }) {
  return html`<section class="card stack"><h2>${say("page.machine.rules")}</h2><p class="muted">${say("page.machine.rules.text")}</p>
    <div class="table-wrap"><table class="table folds"><thead><tr><th scope="col">${say("page.machine.rule")}</th><th scope="col" class="end">${say("page.machine.rule.says")}</th><th scope="col" class="end">${say("page.machine.rule.error")}</th><th scope="col">${say("page.machine.rule.why")}</th></tr></thead>
      <tbody>${of.rules_of_thumb.map((/** @type {any} */ r) => html`<tr key=${r.rule}><th scope="row">${say(`page.models.rule.${r.rule}`)}</th><td class="end num" data-label=${say("page.machine.rule.says")}>${size(r.bytes)}</td>
        <td class="end num" data-label=${say("page.machine.rule.error")}>${r.error === null ? "?" : (r.error > 0 ? "+" : "") + percent(r.error)}</td><td class="why-cell">${r.wrong}</td></tr>`)}
        <tr><th scope="row">${say("page.machine.rule.exact")}</th><td class="end num" data-label=${say("page.machine.rule.says")}><strong>${of.total_bytes === null ? "?" : size(of.total_bytes)}</strong></td><td class="why-cell" colspan="2">${say("page.machine.rule.counted")}</td></tr></tbody></table></div></section>`;
}

/** @param {{query: string, choose: (name: string) => void}} props */
function Cards({ query, choose }) {
  const [wanted, setWanted] = useState(false);
  return html`<section class="card stack"><h2>${say("page.machine.cards")}</h2><p class="muted">${say("page.machine.cards.text")}</p>
    ${wanted ? html`<${CardTable} query=${query} choose=${choose} />` : html`<div><button type="button" class="button" onClick=${() => setWanted(true)}>${say("page.machine.cards.show")}</button></div>`}</section>`;
}

/** @param {{query: string, choose: (name: string) => void}} props */
function CardTable({ query, choose }) {
  const loaded = useApi(`/domicile/fit/cards?${query}`);
  if (loaded.error) return html`<${Trouble} error=${loaded.error} again=${loaded.again} />`;
  if (!loaded.data) return html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`;
  const heads = ["vram", "card_speed", "bandwidth", "power", "price"];
  return html`<div class="table-wrap cards-table" tabindex="0" role="region" aria-label=${say("page.machine.cards")}><table class="table"><thead><tr><th scope="col">${say("page.machine.card")}</th>${heads.map((h) => html`<th scope="col" key=${h} class="end">${say(`page.machine.${h}`)}</th>`)}<th scope="col">${say("page.machine.traps")}</th></tr></thead>
    <tbody>${loaded.data.cards.map((/** @type {any} */ c) => html`<tr key=${`${c.name}${c.vram_gib}`}><th scope="row"><button type="button" class="link" onClick=${() => choose(c.name)}>${c.name}</button> ${!c.whole && html`<span class="badge warn">${say("page.machine.partly")}</span>`}<span class="small muted"> ${c.year ?? ""}</span></th>
      <td class="end num">${number(c.vram_gib)} GiB</td><td class="end num">${c.tokens_per_second.low === null ? "?" : `${number(c.tokens_per_second.low)}–${number(c.tokens_per_second.high)}`}</td>
      <td class="end num">${say("page.machine.rate", { rate: c.bandwidth_bytes_per_s })}</td><td class="end num">${c.power_w === null ? "?" : `${number(c.power_w)} W`}</td><td class="end num">${c.launch_usd === null ? "?" : `${number(c.launch_usd)} $`}</td>
      <td>${c.traps.length > 0 && html`<details><summary class="small">${say("page.machine.trap", { n: c.traps.length })}</summary><ul class="reasons small">${c.traps.map((/** @type {string} */ t) => html`<li key=${t}>${t}</li>`)}</ul></details>`}</td></tr>`)}</tbody></table></div>`;
}
