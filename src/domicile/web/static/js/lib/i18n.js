/** The words of the page in the reader's language: the server's own table, its own forms (`{size:bytes}`), its own plurals. */
import { state } from "./state.js";

/** @type {Record<string, string>} */
let table = state.words;
let lang = state.lang;
/** @type {Record<string, Intl.NumberFormat | Intl.PluralRules | Intl.DateTimeFormat | Intl.RelativeTimeFormat>} */
let made = {};

/** For tests: other words, another language.
 * @param {string} code @param {Record<string, string>} words */
export function speak(code, words) {
  [lang, table, made] = [/** @type {"en" | "fr"} */ (code), words, {}];
}

/** The sentence of a key with its facts. Of a key with `.one` and `.other`, the form that the fact `n` asks for.
 * @param {string} key @param {Record<string, unknown>} [facts] @returns {string} */
export function say(key, facts = {}) {
  const text = table[key] ?? ("n" in facts ? table[`${key}.${plural(Number(facts.n))}`] : undefined);
  if (text === undefined) return key;
  return text.replace(/\{\{|\}\}|\{(\w+)(?::(\w+))?\}/g, (whole, name, form) => {
    if (name === undefined) return whole[0];
    return shown(facts[name], form);
  });
}

/** @param {unknown} value @param {string} [form] */
function shown(value, form) {
  if (value === null || value === undefined) return "?";
  if (form === "bytes") return size(Number(value));
  if (form === "number") return number(Number(value));
  if (form === "duration") return duration(Number(value));
  return typeof value === "number" ? number(value, 10) : String(value);
}

/** `one` or `other`, by the rules of the language. @param {number} n */
export function plural(n) {
  const rules = /** @type {Intl.PluralRules} */ (made.plural ??= new Intl.PluralRules(lang));
  return rules.select(Math.abs(n)) === "one" ? "one" : "other";
}

/** 12,345.6 or 12 345,6. @param {number} value @param {number} [digits] after the point, at most */
export function number(value, digits = 0) {
  return format(`number${digits}`, { maximumFractionDigits: digits }).format(value);
}

/** Bytes, in the decimal units of disks and of the Hub: 4.92 GB, 4,92 Go. @param {number} bytes */
export function size(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  let step = 0;
  let value = bytes;
  while (Math.abs(value) >= 999.5 && step < units.length - 1) [value, step] = [value / 1000, step + 1];
  const digits = step === 0 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  const unit = { style: /** @type {const} */ ("unit"), unit: units[step], unitDisplay: /** @type {const} */ ("short") };
  return format(`size${step}`, { ...unit, ...digits }).format(value).replace(/\bbyte\b/, "B");
}

/** A share from 0 to 1. @param {number} share */
export function percent(share) {
  return format("percent", { style: "percent", maximumFractionDigits: 0 }).format(share);
}

/** Parameters in short: 494M and 7.62B, 494 M and 7,62 Md. @param {number} value */
export function count(value) {
  return format("count", { notation: "compact", maximumSignificantDigits: 3 }).format(value);
}

/** Seconds as `8 s`, `3 min 20 s`, `2 h 05 min`. @param {number} seconds */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "∞";
  const [whole, space] = [Math.round(seconds), "\u00a0"];
  if (whole < 60) return `${whole}${space}s`;
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  if (minutes < 60) return `${minutes}${space}min${rest ? ` ${rest}${space}s` : ""}`;
  return `${Math.floor(minutes / 60)}${space}h ${String(minutes % 60).padStart(2, "0")}${space}min`;
}

/** A moment (seconds since 1970) as a day, or with `time` as day and hour. @param {number} moment @param {boolean} [time] */
export function date(moment, time = false) {
  const form = /** @type {Intl.DateTimeFormat} */ (
    made[`date${time}`] ??= new Intl.DateTimeFormat(lang, { dateStyle: "medium", ...(time ? { timeStyle: "short" } : {}) })
  );
  return form.format(moment * 1000);
}

/** How long ago: `3 minutes ago`, `hier`. @param {number} moment seconds since 1970 */
export function ago(moment) {
  const form = /** @type {Intl.RelativeTimeFormat} */ (made.ago ??= new Intl.RelativeTimeFormat(lang, { numeric: "auto" }));
  const past = moment - Date.now() / 1000;
  /** @type {[Intl.RelativeTimeFormatUnit, number][]} */
  const steps = [["year", 31_557_600], ["month", 2_629_800], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const step = steps.find(([, long]) => Math.abs(past) >= long);
  return step ? form.format(Math.round(past / step[1]), step[0]) : form.format(0, "minute");
}

/** Names in a row: `a, b and c`. @param {string[]} names */
export function list(names) {
  return new Intl.ListFormat(lang, { type: "conjunction" }).format(names);
}

/** @param {string} name @param {Intl.NumberFormatOptions} options @returns {Intl.NumberFormat} */
function format(name, options) {
  return /** @type {Intl.NumberFormat} */ (made[name] ??= new Intl.NumberFormat(lang, options));
}

/** The language of the page. */
export const language = () => lang;
