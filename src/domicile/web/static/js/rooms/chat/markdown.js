/** A conversation read back from the Markdown that the house exports. Needs no page. */

/** @typedef {{role: "user" | "assistant", text: string, reasoning?: string, model?: string}} Said */

const PERSON = new Set(["you", "vous", "user", "human", "utilisateur"]);
const THOUGHTS = /^<details>\s*<summary>[^<]*<\/summary>\s*([\s\S]*?)\s*<\/details>\s*/;

/** A `# ` title, and a `## who` before what each said; who is not a person's word is the name of a model.
 * @param {string} text @param {string} you the reader's own word for a person @returns {{title: string, messages: Said[]}} */
export function fromMarkdown(text, you) {
  const [head, ...parts] = text.replaceAll("\r\n", "\n").split(/^## (?=[^\n]+\n)/m);
  const title = head.match(/^# (.+)$/m)?.[1].trim() ?? "";
  /** @type {Said[]} */
  const messages = [];
  for (const part of parts) {
    const [who, ...lines] = part.split("\n");
    const name = who.trim();
    const body = lines.join("\n").trim();
    if (PERSON.has(name.toLowerCase()) || name === you) messages.push({ role: "user", text: body });
    else if (!messages.length) continue; // a document's own chapters
    else {
      const thought = body.match(THOUGHTS);
      messages.push({ role: "assistant", text: body.replace(THOUGHTS, ""), model: name.slice(0, 200), ...(thought ? { reasoning: thought[1] } : {}) });
    }
  }
  return { title, messages };
}
