/**
 * Markdown written by a model, drawn while it comes. The text is cut into top-level blocks and only those that changed are
 * drawn again; each is sanitised as its final HTML. Code and formulas are dressed when their library has come.
 * Nothing is fetched from anywhere but here: an image of another origin becomes a link.
 */
import { say } from "./i18n.js";
import { state } from "./state.js";
import { marked, purify, purified } from "./md-rules.js";

/** A drawer of Markdown into one element. */
export class Markdown {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    place.classList.add("prose");
    /** @type {string[]} */
    this.sources = [];
    this.text = "";
    this.frame = 0;
    /** What was drawn, how much of it nothing that follows can change, and how many blocks that is. */
    this.settled = { of: "", characters: 0, blocks: 0 };
  }

  /** Draw this text, at the next frame; what did not change since the last time stays as it is. @param {string} text @param {boolean} [done] it is whole */
  draw(text, done = false) {
    this.text = text;
    if (done) {
      cancelAnimationFrame(this.frame);
      this.frame = 0;
      this.#now(true);
    } else if (!this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.#now(false);
      });
    }
  }

  /** @param {boolean} done */
  #now(done) {
    const goesOn = !done && this.text.startsWith(this.settled.of) && !this.text.includes("\r");
    const { characters, blocks: before } = goesOn ? this.settled : { characters: 0, blocks: 0 };
    const tokens = marked.lexer(this.text.slice(characters));
    const links = /** @type {any} */ (tokens).links;
    const blocks = tokens.filter((t) => t.type !== "space");
    blocks.forEach((token, at) => {
      const number = before + at;
      const last = at === blocks.length - 1;
      const source = `${token.raw}${last && !done ? "" : "\n"}`;
      if (this.sources[number] === source) return;
      this.sources[number] = source;
      const fresh = document.createElement("div");
      fresh.className = "block";
      const one = /** @type {any} */ ([token]);
      one.links = links;
      fresh.append(purified(marked.parser(one)));
      const old = this.place.children[number];
      if (old) old.replaceWith(fresh);
      else this.place.append(fresh);
      dress(fresh, !last || done);
    });
    const count = before + blocks.length;
    this.sources.length = count;
    while (this.place.children.length > count) this.place.lastElementChild?.remove();
    const open = tokens.indexOf(blocks.at(-2) ?? blocks[0]); // the last two may still become something else
    const drawn = tokens.slice(0, Math.max(0, open)).reduce((sum, token) => sum + token.raw.length, 0);
    this.settled = { of: this.text, characters: characters + drawn, blocks: Math.max(before, count - 2) };
  }
}

/** Code gets its head, its colours and its button; formulas are set. @param {HTMLElement} block @param {boolean} whole */
function dress(block, whole) {
  for (const pre of block.querySelectorAll("pre")) {
    const code = pre.querySelector("code");
    const language = [...(code?.classList ?? [])].find((c) => c.startsWith("language-"))?.slice(9) ?? "";
    const box = Object.assign(document.createElement("div"), { className: "code" });
    const head = Object.assign(document.createElement("div"), { className: "code-head" });
    const copy = Object.assign(document.createElement("button"), { type: "button", className: "ghost", textContent: say("page.md.copy") });
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code?.textContent ?? "");
      copy.textContent = say("page.md.copied");
      setTimeout(() => (copy.textContent = say("page.md.copy")), 1500);
    });
    head.append(Object.assign(document.createElement("span"), { textContent: language }), copy);
    pre.replaceWith(box);
    pre.tabIndex = 0;
    box.append(head, pre);
    if (code && whole && language) colour(code, language);
  }
  const formulas = /** @type {NodeListOf<HTMLElement>} */ (block.querySelectorAll(".math"));
  if (formulas.length && whole) set([...formulas]);
}

/** @param {HTMLElement} code @param {string} language */
async function colour(code, language) {
  const { default: hljs } = await import("../../vendor/highlight.js-11.12.0/highlight.js");
  if (!hljs.getLanguage(language) || (code.textContent ?? "").length > 100_000) return;
  const { value } = hljs.highlight(code.textContent ?? "", { language, ignoreIllegals: true });
  code.replaceChildren(purify.sanitize(value, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
}

/** @type {Promise<any> | undefined} */
let katex;

/** @param {HTMLElement[]} formulas */
async function set(formulas) {
  katex ??= (async () => {
    const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `${state.base}/vendor/katex-0.19.1/katex.css` });
    document.head.append(sheet);
    await import("../../vendor/katex-0.19.1/katex.js");
    return /** @type {any} */ (globalThis).katex;
  })();
  const setter = await katex;
  for (const one of formulas) {
    const [tex, displayMode] = [one.textContent ?? "", one.classList.contains("math-block")];
    // `render` sets styles through the DOM, which the policy allows; `renderToString` would need inline styles.
    setter.render(tex, one, { displayMode, throwOnError: false, trust: false, maxSize: 50, maxExpand: 500, strict: "ignore" });
  }
}
