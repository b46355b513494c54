/** What a verdict, a memory and a speed look like, as data. Pure: draws nothing. */

/** @typedef {{verdict: string, verdict_text: string, total_bytes: number | null, available_bytes: number | null, weights_bytes: number | null,
 *   kv_bytes: number | null, state_bytes: number | null, compute_bytes: number | null, overhead_bytes: number | null, checkpoint_bytes: number | null,
 *   projector_bytes: number | null, context: number, max_context: number | null, gpu_layers: number, speed_why: string, why: string[],
 *   tokens_per_second: {low: number | null, high: number | null}}} Report */
/** @typedef {{part: "weights" | "context" | "buffers", bytes: number, share: number}} Segment */

/** @param {string} verdict @returns {"good" | "warn" | "bad" | ""} */
export function toneOf(verdict) {
  if (verdict === "fits") return "good";
  if (["tight", "partly_on_gpu", "smaller_context"].includes(verdict)) return "warn";
  return verdict === "unknown" ? "" : "bad";
}

/** Memory in three parts, against what there is. A full bar is a quarter more than what a model may take here, so that
 * bars of one table can be compared; what is beyond is cut and said. @param {Report} report
 * @returns {{segments: Segment[], mark: number | null, over: boolean} | null} */
export function barOf(report) {
  const total = report.total_bytes;
  if (!total) return null;
  const room = report.available_bytes;
  const scale = room ? room * 1.25 : total;
  const context = (report.kv_bytes ?? 0) + (report.state_bytes ?? 0);
  const weights = Math.min(report.weights_bytes ?? 0, total - context);
  /** @type {[Segment["part"], number][]} */
  const parts = [["weights", weights], ["context", context], ["buffers", Math.max(0, total - weights - context)]];
  let left = 1;
  const segments = parts.map(([part, bytes]) => {
    const share = Math.max(0, Math.min(left, bytes / scale));
    left -= share;
    return { part, bytes, share };
  });
  return { segments, mark: room ? room / scale : null, over: !!room && total > room };
}

/** An interval in figures one can read: `8-14`, `0.2-3`, `0.03-0.4`. @param {{low: number | null, high: number | null}} speed
 * @returns {[number, number] | null} */
export function speedOf({ low, high }) {
  if (low === null || high === null) return null;
  const round = (/** @type {number} */ n) => (n < 0.095 ? Math.round(n * 100) / 100 : n < 10 ? Math.round(n * 10) / 10 : Math.round(n));
  return [round(low), round(high)];
}

/** Is it pleasant to read along? By the middle of the interval: people read 5 to 8 tokens a second.
 * @param {{low: number | null, high: number | null}} speed @returns {"slow" | "fair" | "fast" | null} */
export function paceOf({ low, high }) {
  if (low === null || high === null) return null;
  const middle = Math.sqrt(Math.max(low, 0.01) * Math.max(high, 0.01));
  return middle < 4 ? "slow" : middle < 12 ? "fair" : "fast";
}

/** How much a quantisation takes from a model, in words: the rise of perplexity in per cent.
 * @param {number | null} loss @returns {"none" | "little" | "some" | "much" | null} */
export function lossOf(loss) {
  if (loss === null || loss === undefined) return null;
  return loss < 1 ? "none" : loss < 5 ? "little" : loss < 20 ? "some" : "much";
}

const READABLE = 8;

/** The model to propose first: the largest that fits and answers at a reader's pace, by the better end of its speed (the
 * other end is that of a machine busy with something else); when none does, the quickest that fits. @template {{needs: string[], parameters: number | null, year: number | null, here: Report | null}} T
 * @param {T[]} models @returns {T | null} */
export function firstOf(models) {
  const able = models.filter((m) => m.here && ["fits", "tight"].includes(m.here.verdict) && m.needs.some((n) => ["quick", "balanced", "quality"].includes(n)));
  const pace = (/** @type {T} */ m) => m.here?.tokens_per_second.high ?? 0;
  const readable = able.filter((m) => pace(m) >= READABLE);
  const newest = (/** @type {T} */ a, /** @type {T} */ b) => (b.year ?? 0) - (a.year ?? 0);
  if (readable.length) return readable.sort((a, b) => (b.parameters ?? 0) - (a.parameters ?? 0) || newest(a, b))[0];
  return able.sort((a, b) => pace(b) - pace(a) || newest(a, b))[0] ?? null;
}

/** Installed models that were looked for, in the order asked. @template {{name: string, format: string, size_bytes: number, quantisation: string | null,
 * aliases: string[], added_at: number | null, last_used_at: number | null, licence: string | null, repository: string | null, owners: string[]}} T
 * @param {T[]} models @param {string} text @param {string} sort @returns {T[]} */
export function listed(models, text, sort) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const told = (/** @type {T} */ m) => [m.name, m.format, m.quantisation, m.licence, m.repository, ...m.aliases, ...m.owners].join(" ").toLowerCase();
  const found = words.length ? models.filter((m) => words.every((w) => told(m).includes(w))) : [...models];
  /** @type {Record<string, (a: T, b: T) => number>} */
  const orders = {
    name: (a, b) => a.name.localeCompare(b.name),
    size: (a, b) => b.size_bytes - a.size_bytes,
    added: (a, b) => (b.added_at ?? 0) - (a.added_at ?? 0),
    used: (a, b) => (b.last_used_at ?? 0) - (a.last_used_at ?? 0),
  };
  return found.sort(orders[sort] ?? orders.name);
}
