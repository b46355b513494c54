/** Where one is in this room, as an address and back. Pure: knows no browser. */

export const TABS = ["recommended", "search", "installed", "downloads", "compare", "tools", "custom"];
/** What a search may say, in the address and to the API. */
export const FILTERS = ["text", "author", "task", "parameters_min", "parameters_max", "quantisation", "licence", "format", "updated_after", "gated", "fits", "speed", "sort", "limit"];
export const CONTEXTS = [2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576];

/**
 * @typedef {object} Where
 * @property {string} tab
 * @property {string | null} repository shown whole
 * @property {string | null} model an installed one, shown whole
 * @property {Record<string, string>} said everything else of the address: filters, context, card, need...
 * @property {string[]} models to compare
 */

/** @param {string} search `location.search` @returns {Where} */
export function whereOf(search) {
  const asked = new URLSearchParams(search);
  /** @type {Record<string, string>} */
  const said = {};
  for (const [name, value] of asked) if (!["tab", "repository", "model", "m", "lang", "theme"].includes(name) && value) said[name] = value;
  const [repository, model] = [asked.get("repository"), asked.get("model")];
  const told = asked.get("tab") ?? "";
  const usual = repository ? "search" : model ? "installed" : "recommended";
  return { tab: TABS.includes(told) ? told : usual, repository, model, said, models: [...new Set(asked.getAll("m").filter(Boolean))] };
}

/** @param {Partial<Where>} where @returns {string} the address, the shortest that says it */
export function hrefOf({ tab, repository, model, said = {}, models = [] }) {
  const told = new URLSearchParams();
  if (repository) told.set("repository", repository);
  if (model) told.set("model", model);
  if (tab && tab !== (repository ? "search" : model ? "installed" : "recommended")) told.set("tab", tab);
  for (const [name, value] of Object.entries(said)) if (value) told.set(name, value);
  for (const one of models) told.append("m", one);
  const asked = told.toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
  return asked ? `/models?${asked}` : "/models";
}

/** What of an address is a search, as the API takes it. @param {Record<string, string>} said @param {string | null} [cursor] */
export function queryOf(said, cursor = null) {
  const asked = new URLSearchParams();
  for (const name of FILTERS) if (said[name]) asked.set(name, name === "updated_after" ? dayOf(said[name]) : said[name]);
  if (cursor) asked.set("cursor", cursor);
  return asked.toString();
}

/** `7d`, `365d` as the day that was so long ago; a day stays. @param {string} said @param {number} [now] ms */
export function dayOf(said, now = Date.now()) {
  const days = /^(\d{1,5})d$/.exec(said);
  return days ? new Date(now - Number(days[1]) * 86_400_000).toISOString().slice(0, 10) : said;
}

/** Does this look like the name of one model, rather than words to look for? @param {string} text */
export function isName(text) {
  const said = text.trim();
  return /^(?:https?:\/\/|hf\.co\/|ollama:|ollama\.com\/)\S+$/i.test(said) || /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(?:[:/@]\S+)?$/.test(said);
}

/** The repository a reference is of: `org/repo` of `org/repo:Q4_K_M`; null for what is of no repository of the Hub.
 * @param {string} reference */
export function repositoryOf(reference) {
  const found = /^(?:(?:https?:\/\/)?(?:www\.)?(?:hf\.co|huggingface\.co)\/)?([\w.-]+\/[\w.-]+)(?:[:@/].*)?$/.exec(reference.trim());
  return found && !/^(?:ollama|ollama\.com)$/i.test(found[1].split("/")[0]) ? found[1] : null;
}
