/** "Add a custom model": five fields, the checks the house makes of them, and for MLC the library it proposes. */
import { ApiError, post } from "../lib/api.js";
import { Dialog } from "../lib/dialog.js";
import { say, size } from "../lib/i18n.js";
import { Icon } from "../lib/icon.js";
import { html, useId, useRef, useState } from "../lib/preact.js";
import { report, toast } from "../lib/toast.js";
import { pull, refresh } from "./house.js";

/** The address first: the name and the id can be read from it. */
const FIELDS = ["url", "name", "id", "size", "description"];
const REQUIRED = ["url", "name", "id"];
const FILES = ["gguf", "safetensors", "onnx"];

/** What an address is likely to be called: its last part, without what every file is called.
 * @param {string} url @returns {string} */
export function calledBy(url) {
  const [last = ""] = url.trim().replace(/[?#].*$/, "").replace(/\/+$/, "").split("/").slice(-1);
  return last.replaceAll("%20", " ").replace(/\.(gguf|safetensors|onnx)$/i, "").slice(0, 80);
}

/** @typedef {{kind: string, model_lib: string | null, size_bytes: number | null, checks: {check: string, well: boolean, message: string}[]}} Looked */

/** @param {{close: (added?: boolean) => void, proposed?: Record<string, string>}} props `proposed` by a shared link */
export function CustomForm({ close, proposed = {} }) {
  const [said, setSaid] = useState(/** @type {Record<string, string>} */ (proposed));
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const [looked, setLooked] = useState(/** @type {Looked | null} */ (null));
  const [refused, setRefused] = useState(/** @type {ApiError | null} */ (null));
  const [busy, setBusy] = useState("");
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const id = useId();
  /** What was read from the address, until somebody says otherwise. */
  const derived = useRef(/** @type {Record<string, string>} */ ({}));

  /** @param {string} field @param {string} value */
  const change = (field, value) => {
    const now = { ...said, [field]: value };
    if (field === "url") for (const one of ["name", "id"]) if ((said[one] ?? "") === (derived.current[one] ?? "")) now[one] = derived.current[one] = one === "id" ? calledBy(value).replace(/\s+/g, "-") : calledBy(value);
    setSaid(now);
    setWrong({ ...wrong, [field]: "" });
    if (field === "url" || field === "id") setLooked(null);
    setRefused(null);
  };
  const missing = () => {
    const found = Object.fromEntries(REQUIRED.filter((f) => !said[f]?.trim()).map((f) => [f, say("page.custom.missing")]));
    setWrong(found);
    /** @type {HTMLElement | null | undefined} */ (form.current?.querySelector(`[name="${Object.keys(found)[0]}"]`))?.focus();
    return Object.keys(found).length > 0;
  };
  /** @param {string} deed @param {string} path @param {Record<string, unknown>} [more] */
  const send = async (deed, path, more = {}) => {
    if (missing()) return null;
    setBusy(deed);
    setRefused(null);
    try {
      return await post(path, { ...said, ...more });
    } catch (trouble) {
      if (!(trouble instanceof ApiError)) report(trouble);
      else if (trouble.field && FIELDS.includes(trouble.field)) setWrong({ [trouble.field]: trouble.message });
      else setRefused(trouble);
      return null;
    } finally {
      setBusy("");
    }
  };
  const check = async () => {
    /** @type {Looked | null} */
    const found = await send("check", "/domicile/custom/check");
    setLooked(found);
    if (found?.model_lib && !said.model_lib) setSaid({ ...said, model_lib: found.model_lib });
  };
  /** @param {boolean} unchecked */
  const add = async (unchecked) => {
    const added = await send("add", "/domicile/custom", unchecked ? { unchecked: true } : {});
    if (!added) return;
    await refresh().catch(report);
    const get = { label: say("page.common.get"), run: () => pull(added.url).catch(report) };
    toast(say("page.custom.added", { name: added.name }), { kind: "good", action: FILES.includes(added.kind) ? get : null });
    close(true);
  };
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    add(false);
  };
  const mlc = looked?.kind === "mlc" || said.kind === "mlc";
  const foot = html`
    <button type="button" class="button" disabled=${!!busy} onClick=${check}>${busy === "check" && html`<span class="spinner" aria-hidden="true"></span>`}${say("page.custom.check")}</button>
    <button type="submit" form=${id} class="button primary" disabled=${!!busy}>${busy === "add" && html`<span class="spinner" aria-hidden="true"></span>`}${say("page.custom.add")}</button>`;
  return html`<${Dialog} title=${say("page.custom.title")} onClose=${() => close()} busy=${!!busy} foot=${foot}>
    <p class="muted">${say("page.custom.intro")}</p>
    <form id=${id} ref=${form} class="fields" novalidate onSubmit=${submit}>
      ${FIELDS.map((field) => html`<${Field} key=${field} field=${field} id=${id} value=${said[field] ?? ""} wrong=${wrong[field]} onChange=${change} />`)}
      ${mlc && html`<${Field} field="model_lib" id=${id} value=${said.model_lib ?? ""} wrong=${wrong.model_lib} onChange=${change} />`}
    </form>
    ${looked && html`<${Checks} looked=${looked} />`}
    ${refused && html`<div class="note bad" role="alert"><${Icon} name="warn" /><div class="grow stack tight"><p>${refused.message}</p>${refused.hint && html`<p class="small muted">${refused.hint}</p>`}
      ${refused.field === null && html`<div><button type="button" class="button small" onClick=${() => add(true)}>${say("page.custom.anyway")}</button></div>`}</div></div>`}
  <//>`;
}

/** @param {{field: string, id: string, value: string, wrong?: string, onChange: (field: string, value: string) => void}} props */
function Field({ field, id, value, wrong, onChange }) {
  const [own, help] = [`${id}-${field}`, `${id}-${field}-help`];
  const required = REQUIRED.includes(field);
  const shared = {
    id: own, name: field, value, class: "input", "aria-describedby": help, "aria-invalid": wrong ? "true" : undefined, required,
    autocomplete: "off", spellcheck: field === "description",
    onInput: (/** @type {any} */ e) => onChange(field, e.target.value),
  };
  return html`<div class="field ${["id", "name"].includes(field) ? "" : "full"}">
    <label for=${own}>${say(`page.custom.${field}`)}${!required && html` <span class="optional">${say("page.common.optional")}</span>`}</label>
    ${field === "description" ? html`<textarea rows="2" ...${shared}></textarea>` : html`<input type=${field === "url" ? "url" : "text"} ...${shared} />`}
    <span class=${wrong ? "wrong" : "help"} id=${help} role=${wrong ? "alert" : undefined}>${wrong || say(`page.custom.${field}.help`)}</span>
  </div>`;
}

/** @param {{looked: Looked}} props */
function Checks({ looked }) {
  return html`<section class="stack tight" aria-label=${say("page.custom.checks")} role="status">
    ${looked.size_bytes && html`<p class="small muted">${looked.kind.toUpperCase()} · ${size(looked.size_bytes)}</p>`}
    ${looked.checks.map((c) => html`<div class="note ${c.well ? "good" : "warn"}" key=${c.check}><${Icon} name=${c.well ? "check" : "warn"} /><span>${c.message}</span></div>`)}
  </section>`;
}
