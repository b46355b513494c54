/** A conversation as a tree: the branch that is shown, the other versions of a message. Needs no page. */

/** @typedef {{id: string, name: string, media_type: string, kind: "text" | "pdf" | "image" | "audio", size_bytes: number, characters: number | null, pages?: number, pages_read?: number, cut?: boolean}} Attachment */
/** @typedef {{id: string, parent: string | null, role: "user" | "assistant", text: string, reasoning: string, state: string, created_at: number,
 *   attachments: Attachment[], tool_calls: any[], model: string | null, served_by: string | null, finish_reason: string | null, prompt_tokens: number | null,
 *   completion_tokens: number | null, cached_tokens: number | null, tokens_per_second: number | null, prompt_tokens_per_second: number | null, first_token_s: number | null,
 *   reasoning_s: number | null, context: number | null, dropped: Record<string, number> | null, files: any[] | null, notes: Record<string, string> | null,
 *   parameters: Record<string, any> | null, error: {code: string, message: string, summary?: string, hint: string | null} | null, edited_at: number | null}} Message */
/** @typedef {Map<string, Message>} Messages */

/** The branch that ends with a message, from its beginning. @param {Messages} messages @param {string | null} leaf @returns {Message[]} */
export function pathTo(messages, leaf) {
  /** @type {Message[]} */
  const found = [];
  const seen = new Set();
  for (let one = messages.get(leaf ?? ""); one && !seen.has(one.id); one = messages.get(one.parent ?? "")) {
    seen.add(one.id);
    found.unshift(one);
  }
  return found;
}

/** The end of the newest branch below a message. @param {Messages} messages @param {string | null} top @returns {string | null} */
export function newestLeaf(messages, top) {
  /** @type {Map<string | null, string>} */
  const last = new Map();
  for (const one of messages.values()) last.set(one.parent, one.id);
  const seen = new Set();
  let leaf = top;
  for (let next = last.get(leaf); next !== undefined && !seen.has(next); next = last.get(leaf)) {
    seen.add(next);
    leaf = next;
  }
  return leaf;
}

/**
 * All versions of a message, in order: a version is one message, or several answers that were asked for at once.
 * @param {Messages} messages @param {Message} message @returns {{all: Message[][], at: number}}
 */
export function versions(messages, message) {
  /** @type {Map<string, Message[]>} */
  const groups = new Map();
  for (const one of messages.values()) {
    if (one.parent !== message.parent || one.role !== message.role) continue;
    const key = one.role === "assistant" ? String(one.created_at) : one.id;
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  const all = [...groups.values()];
  return { all, at: all.findIndex((group) => group.some((one) => one.id === message.id)) };
}

/** What the last answer of a branch says of the context: tokens used, and how many there are. @param {Message[]} path */
export function gauge(path) {
  const last = path.findLast((one) => one.role === "assistant" && one.prompt_tokens !== null && one.context);
  if (!last) return null;
  const used = (last.prompt_tokens ?? 0) + (last.completion_tokens ?? 0);
  return { used, of: /** @type {number} */ (last.context), share: Math.min(1, used / /** @type {number} */ (last.context)) };
}
