/** Recommended models in the order of what they would do on this machine: the best first choice, then what fits. */
import { get } from "../lib/api.js";
import { firstOf, toneOf } from "../rooms/models/judged.js";

/** @typedef {import("./house.js").Standard} Standard */

const RANKS = { good: 0, warn: 1, "": 2, bad: 3 };

/** @returns {Promise<(models: Standard[]) => Standard[]>} */
export async function judge() {
  const { models } = await get("/domicile/recommended");
  /** @type {Map<string, any>} */
  const known = new Map(models.map((/** @type {any} */ m) => [m.id, m]));
  const first = /** @type {any} */ (firstOf(models))?.id;
  const rank = (/** @type {Standard} */ m) => (m.id === first ? -1 : RANKS[toneOf(m.verdict ?? "unknown")]);
  return (some) =>
    some
      .map((m) => ({ ...m, about_bytes: known.get(m.id)?.about_bytes, verdict: known.get(m.id)?.here?.verdict, verdict_text: known.get(m.id)?.here?.verdict_text }))
      .sort((a, b) => rank(a) - rank(b));
}
