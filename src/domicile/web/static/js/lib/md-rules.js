/** What Markdown may become: formulas besides the usual, and nothing that runs, frames, styles, posts or fetches. */
import { Marked } from "../../vendor/marked-18.2.1/marked.js";
import "../../vendor/dompurify-3.4.18/purify.js";

/** @type {any} */
export const purify = /** @type {any} */ (globalThis).DOMPurify;

/** @param {string} name @param {boolean} block @param {RegExp} rule @param {(src: string) => number} start */
const formula = (name, block, rule, start) => ({
  name,
  level: /** @type {"block" | "inline"} */ (block ? "block" : "inline"),
  start,
  /** @param {string} src */
  tokenizer(src) {
    const found = rule.exec(src);
    if (found) return { type: name, raw: found[0], tex: (found[1] ?? found[2] ?? found[3]).trim() };
  },
  /** @param {any} token */
  renderer: (token) => (block ? `<div class="math math-block">${escaped(token.tex)}</div>` : `<span class="math">${escaped(token.tex)}</span>`),
});

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
/** @param {string} src @param {RegExp} sign */
const at = (src, sign) => src.search(sign);

export const marked = new Marked({ gfm: true, breaks: true });
marked.use({
  extensions: /** @type {any} */ ([
    formula("mathBlock", true, /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]) *(?:\n|$)/, (src) => at(src, /(?<=\n {0,3})(?:\$\$|\\\[)/)),
    // `$5 and $6` is money: no space inside the signs, no digit after the closing one.
    formula("mathInline", false, /^(?:\$\$([^$\n]+?)\$\$|\$(?![\s$])((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)|\\\((.+?)\\\))/, (src) => at(src, /\$|\\\(/)),
  ]),
});

const RULES = {
  ALLOWED_TAGS: "a abbr b blockquote br code del details div em h1 h2 h3 h4 h5 h6 hr i img input ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var".split(" "),
  ALLOWED_ATTR: "href src alt title class align start checked disabled type open lang dir colspan rowspan".split(" "),
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpeg|gif|webp);base64,|blob:|[^a-z]|[a-z+.-]+(?:[^a-z+.\-:]|$))/i,
  RETURN_DOM_FRAGMENT: true,
};
const CLASSES = /^(?:language-[\w+#.-]{1,30}|math|math-block)$/;

purify.addHook("afterSanitizeAttributes", (/** @type {Element} */ node) => {
  if (node.hasAttribute("class")) {
    const wanted = [...node.classList].filter((c) => CLASSES.test(c));
    if (wanted.length) node.className = wanted.join(" ");
    else if (!node.matches("span[class^='hljs']")) node.removeAttribute("class");
  }
  if (node.tagName === "A" && node.hasAttribute("href")) {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.tagName === "INPUT" && node.getAttribute("type") !== "checkbox") node.remove();
  if (node.tagName === "INPUT") node.setAttribute("disabled", "");
  if (node.tagName === "IMG" && !/^(?:data:|blob:)/i.test(node.getAttribute("src") ?? "")) elsewhere(node);
});

/** An image that lies elsewhere is not fetched; who wants it follows a link. @param {Element} image */
function elsewhere(image) {
  const link = (image.ownerDocument ?? document).createElement("a");
  const href = image.getAttribute("src") ?? "";
  link.textContent = image.getAttribute("alt") || href || "?";
  if (/^https?:/i.test(href)) {
    link.href = href;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  image.replaceWith(link);
}

/** The final HTML, harmless. @param {string} markup @returns {DocumentFragment} */
export const purified = (markup) => purify.sanitize(markup, RULES);
