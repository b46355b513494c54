/** The filters of a search: each change is a new address. */
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useState } from "../../lib/preact.js";
import { go } from "./route.js";

/** Values that are proposed; the words of the first three are ours, the others speak for themselves. */
const TASKS = ["text-generation", "image-text-to-text", "automatic-speech-recognition", "text-to-speech", "text-to-image", "feature-extraction", "sentence-similarity", "text-classification", "translation", "summarization"];
const AGES = ["7d", "30d", "90d", "365d"];
const SORTS = ["downloads", "likes", "trending", "updated", "created"];
const PARAMETERS = ["500M", "1B", "3B", "7B", "9B", "14B", "35B", "72B", "130B"];
const QUANTISATIONS = ["Q2_K", "Q3_K_M", "IQ4_XS", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16", "MXFP4"];
const LICENCES = ["apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "openrail", "creativeml-openrail-m", "llama3.1", "llama3.2", "llama3.3", "gemma", "qwen-research", "other"];
const FORMATS = ["gguf", "safetensors", "onnx", "mlc", "diffusers", "whisper"];
const SIZES = ["10", "20", "50", "100"];
const SPEEDS = ["2", "5", "10", "20", "50"];

/** @param {{said: Record<string, string>}} props */
export function Filters({ said }) {
  const inUse = Object.entries(said).filter(([name, value]) => value && !["text", "sort", "limit", "fits"].includes(name)).length;
  const [isOpen, setOpen] = useState(inUse > 0);
  /** @param {string} name @param {string} value */
  const set = (name, value) => go({ tab: "search", said: { ...said, [name]: value } }, { replace: true });
  const clear = () => go({ tab: "search", said: Object.fromEntries(["text", "sort", "limit"].map((n) => [n, said[n] ?? ""])) }, { replace: true });
  /** @param {string} name @param {[string, string][]} options @param {string} [any] */
  const one = (name, options, any = say("page.models.filter.any")) => html`<label class="field" key=${name}><span class="label">${say(`page.models.filter.${name}`)}</span>
    <select class="input" value=${said[name] ?? ""} onChange=${(/** @type {any} */ e) => set(name, e.target.value)}>
      ${any && html`<option value="">${any}</option>`}
      ${[...options, ...(said[name] && !options.some(([v]) => v === said[name]) ? [[said[name], said[name]]] : [])].map(([value, word]) => html`<option key=${value} value=${value}>${word}</option>`)}
    </select></label>`;
  /** @param {string[]} values @returns {[string, string][]} */
  const plain = (values) => values.map((v) => [v, v]);
  return html`<details class="card filters-box" open=${isOpen} onToggle=${(/** @type {any} */ e) => setOpen(e.target.open)}>
    <summary><${Icon} name="settings" />${say("page.models.filters")}${inUse > 0 && html` <span class="count">${inUse}</span>`}</summary>
    <div class="filter-grid">
      ${one("task", TASKS.map((t) => [t, say(`page.models.task.${t}`)]))}
      ${one("format", FORMATS.map((f) => [f, f === "whisper" ? "Whisper" : f === "diffusers" ? "Diffusers" : f === "safetensors" ? "Safetensors" : f.toUpperCase()]))}
      ${one("quantisation", plain(QUANTISATIONS))}
      ${one("parameters_min", plain(PARAMETERS))}
      ${one("parameters_max", plain(PARAMETERS))}
      ${one("licence", plain(LICENCES))}
      ${one("updated_after", AGES.map((a) => [a, say(`page.models.age.${a}`)]))}
      ${one("gated", [["false", say("page.models.gated.no")], ["true", say("page.models.gated.yes")]])}
      ${one("speed", SPEEDS.map((s) => [s, say("page.models.speed.least", { speed: s })]))}
    </div>
    ${inUse > 0 && html`<div class="row end"><button type="button" class="ghost" onClick=${clear}>${say("page.models.filters.clear")}</button></div>`}
  </details>`;
}

/** Whether it must fit, the order, and how many a page. @param {{said: Record<string, string>, children?: any}} props */
export function Order({ said, children }) {
  /** @param {string} name @param {string} value */
  const set = (name, value) => go({ tab: "search", said: { ...said, [name]: value } }, { replace: true });
  return html`<div class="row between order">
    <label class="check" title=${say("page.models.filter.fits.cost")}><input type="checkbox" checked=${said.fits === "true"} onChange=${(/** @type {any} */ e) => set("fits", e.target.checked ? "true" : "")} /><span>${say("page.models.filter.fits")}</span></label>
    <p class="muted small grow" role="status">${children}</p>
    <div class="row tight small">
      <label class="row tight"><span class="muted">${say("page.models.sort")}</span><select class="input" value=${said.sort ?? "downloads"} onChange=${(/** @type {any} */ e) => set("sort", e.target.value)}>
        ${SORTS.map((s) => html`<option key=${s} value=${s}>${say(`page.models.sort.${s}`)}</option>`)}</select></label>
      <label class="row tight"><span class="muted">${say("page.models.limit")}</span><select class="input" value=${said.limit ?? "20"} onChange=${(/** @type {any} */ e) => set("limit", e.target.value)}>
        ${SIZES.map((s) => html`<option key=${s} value=${s}>${s}</option>`)}</select></label>
    </div>
  </div>`;
}
