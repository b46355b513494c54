/** Sampling and what else may be set for a conversation or for one answer: a table, and its fields. */
import { say } from "../../lib/i18n.js";
import { html, useId } from "../../lib/preact.js";

/** @typedef {{name: string, low?: number, high?: number, step?: number, whole?: boolean, more?: boolean}} Row */

/** What has a number. @type {Row[]} */
export const NUMBERS = [
  { name: "temperature", low: 0, high: 2, step: 0.05 },
  { name: "max_tokens", low: 1, step: 1, whole: true },
  { name: "top_p", low: 0, high: 1, step: 0.01 },
  { name: "top_k", low: 0, step: 1, whole: true },
  { name: "min_p", low: 0, high: 1, step: 0.01 },
  { name: "seed", low: 0, step: 1, whole: true },
  { name: "repeat_penalty", low: 0, high: 2, step: 0.01, more: true },
  { name: "repeat_last_n", low: -1, step: 1, whole: true, more: true },
  { name: "presence_penalty", low: -2, high: 2, step: 0.05, more: true },
  { name: "frequency_penalty", low: -2, high: 2, step: 0.05, more: true },
  { name: "typical_p", low: 0, high: 1, step: 0.01, more: true },
  { name: "xtc_probability", low: 0, high: 1, step: 0.01, more: true },
  { name: "xtc_threshold", low: 0, high: 1, step: 0.01, more: true },
  { name: "dry_multiplier", low: 0, step: 0.05, more: true },
  { name: "num_ctx", low: 256, step: 256, whole: true, more: true },
];
const THINKING = ["true", "false", "low", "medium", "high"];
const CONTEXT = ["trim", "refuse"];

/** @param {{values: Record<string, any>, set: (values: Record<string, any>) => void}} props */
export function Parameters({ values, set }) {
  /** @param {string} name @param {any} value */
  const change = (name, value) => {
    const { [name]: _, ...rest } = values;
    set(value === undefined ? rest : { ...rest, [name]: value });
  };
  /** @param {Row} row */
  const number = (row) => html`<${Number_} key=${row.name} row=${row} value=${values[row.name]} change=${(/** @type {any} */ v) => change(row.name, v)} />`;
  const stop = Array.isArray(values.stop) ? values.stop.join("\n") : values.stop ?? "";
  return html`<div class="fields">${NUMBERS.filter((r) => !r.more).map(number)}
      <${Choice} name="thinking" of=${THINKING} value=${values.thinking} change=${(/** @type {any} */ v) => change("thinking", v === "true" ? true : v === "false" ? false : v)} />
    </div>
    <details class="more-fields"><summary>${say("page.chat.set.more")}</summary>
      <div class="fields">${NUMBERS.filter((r) => r.more).map(number)}
        <${Choice} name="context" of=${CONTEXT} value=${values.context} change=${(/** @type {any} */ v) => change("context", v)} />
        <${Text} name="stop" value=${stop} change=${(/** @type {string} */ v) => change("stop", v ? v.split("\n").filter(Boolean) : undefined)} />
      </div>
    </details>`;
}

/** @param {{row: Row, value: number | undefined, change: (value: number | undefined) => void}} props */
function Number_({ row, value, change }) {
  const id = useId();
  /** @param {any} event */
  const input = ({ target }) => change(target.value === "" || Number.isNaN(target.valueAsNumber) ? undefined : target.valueAsNumber);
  return html`<div class="field"><label for=${id}>${say(`page.chat.set.${row.name}`)}</label>
    <input class="input num" id=${id} name=${row.name} type="number" min=${row.low} max=${row.high} step=${row.whole ? 1 : "any"} value=${value ?? ""} placeholder=${say("page.chat.set.own")} onInput=${input} />
    <span class="help">${say(`page.chat.set.${row.name}.help`)}</span></div>`;
}

/** @param {{name: string, of: string[], value: any, change: (value: string | undefined) => void}} props */
function Choice({ name, of, value, change }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${say(`page.chat.set.${name}`)}</label>
    <select class="input" id=${id} value=${value === undefined ? "" : String(value)} onChange=${(/** @type {any} */ e) => change(e.target.value || undefined)}>
      <option value="">${say("page.chat.set.own")}</option>
      ${of.map((one) => html`<option key=${one} value=${one}>${say(`page.chat.set.${name}.${one}`)}</option>`)}
    </select><span class="help">${say(`page.chat.set.${name}.help`)}</span></div>`;
}

/** @param {{name: string, value: string, change: (value: string) => void}} props */
function Text({ name, value, change }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${say(`page.chat.set.${name}`)}</label>
    <textarea class="input" id=${id} rows="2" value=${value} onChange=${(/** @type {any} */ e) => change(e.target.value)}></textarea>
    <span class="help">${say(`page.chat.set.${name}.help`)}</span></div>`;
}
