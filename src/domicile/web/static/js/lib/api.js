/** The one public API, asked from the page. Errors come in the reader's language, with what to do next. */
import { language, say } from "./i18n.js";

/** What the house refused, or could not do. */
export class ApiError extends Error {
  /** @param {number} status 0 when the house did not answer @param {Record<string, any>} facts */
  constructor(status, facts) {
    super(facts.summary ?? facts.message ?? String(status));
    this.status = status;
    /** @type {string} */
    this.code = facts.code ?? "unknown";
    /** @type {string | null} What to do next. */
    this.hint = facts.hint ? begun(facts.hint) : null;
    /** @type {string | null} The field of a form that is wrong. */
    this.field = facts.param ?? null;
    this.facts = facts;
  }
}

/** What begins a line of its own begins with a capital; a command stays as it is typed. @param {string} hint */
const begun = (hint) => (/^(domicile|ollama|curl|chmod|pipx?|export|sudo|[\w]+-cli|llama-[\w-]+|https?:)(?![\wà-ÿ])|^[^a-zà-ÿ]/.test(hint) ? hint : hint[0].toUpperCase() + hint.slice(1));

/** Headers that say who asks, where the house wants to know. Accounts put theirs here; on loopback none is asked.
 * @type {() => Record<string, string>} */
let credentials = () => ({});

/** @param {() => Record<string, string>} headers */
export function identify(headers) {
  credentials = headers;
}

/**
 * Ask, and get the raw answer; an error of the house is thrown as `ApiError`.
 * @param {string} path @param {RequestInit & {json?: unknown}} [options] @returns {Promise<Response>}
 */
export async function ask(path, options = {}) {
  const { json, headers, ...rest } = options;
  /** @type {Record<string, string>} */
  const sent = { "Accept-Language": language(), ...credentials(), .../** @type {Record<string, string>} */ (headers) };
  if (json !== undefined) [rest.method, rest.body, sent["Content-Type"]] = [rest.method ?? "POST", JSON.stringify(json), "application/json"];
  let answer;
  try {
    answer = await fetch(path, { ...rest, headers: sent });
  } catch (trouble) {
    if (rest.signal?.aborted) throw trouble;
    throw new ApiError(0, { summary: say("page.error.closed"), hint: say("page.error.closed.hint"), code: "closed" });
  }
  if (!answer.ok) {
    const error = await told(answer);
    if (error.status === 401) document.dispatchEvent(new CustomEvent("domicile:locked"));
    throw error;
  }
  return answer;
}

/** @param {Response} answer */
async function told(answer) {
  const body = await answer.json().catch(() => ({}));
  const facts = typeof body.error === "object" && body.error ? body.error : { summary: body.error ?? say("page.error.unknown", { status: answer.status }) };
  return new ApiError(answer.status, facts);
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<any>} */
export const get = async (path, options) => (await ask(path, options)).json();
/** @param {string} path @param {unknown} [json] @param {RequestInit} [options] @returns {Promise<any>} */
export const post = async (path, json = {}, options = {}) => (await ask(path, { ...options, method: "POST", json })).json();
/** @param {string} path @param {unknown} json @returns {Promise<any>} */
export const patch = async (path, json) => (await ask(path, { method: "PATCH", json })).json();
/** @param {string} path @returns {Promise<any>} */
export const remove = async (path) => (await ask(path, { method: "DELETE" })).json();

/** A name within an address: each part of `org/repo:Q4` is encoded, its slashes stay. @param {string} name */
export const inPath = (name) => name.split("/").map(encodeURIComponent).join("/");
