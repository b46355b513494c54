/** What one of the two said. */
import { number, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { Markdown } from "../../lib/md.js";
import { html, useEffect, useRef } from "../../lib/preact.js";
import { toast } from "../../lib/toast.js";

/** @param {{said: import("./index.js").Said}} props */
export function Turn({ said }) {
  if (said.role === "user") return html`<article class="turn user"><h3 class="sr">${say("page.chat.you")}</h3><div class="said">${said.content}</div></article>`;
  const waits = !said.done && !said.content && !said.thought;
  return html`<article class="turn assistant">
    <h3 class="who">${said.by}${waits && html`<span class="spinner" aria-hidden="true"></span><span class="sr">${say("page.chat.thinks")}</span>`}</h3>
    ${said.thought && html`<details class="thought" open=${!said.content}><summary>${say("page.chat.thought")}</summary><${Written} text=${said.thought} done=${!!said.content || !!said.done} /></details>`}
    <${Written} text=${said.content} done=${!!said.done} />
    ${said.error && html`<${Trouble} error=${said.error} />`}
    ${said.done && said.content && html`<${Foot} said=${said} />`}
  </article>`;
}

/** @param {{text: string, done: boolean}} props */
function Written({ text, done }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const drawer = useRef(/** @type {Markdown | null} */ (null));
  useEffect(() => {
    drawer.current ??= new Markdown(/** @type {HTMLElement} */ (place.current));
    drawer.current.draw(text, done);
  }, [text, done]);
  return html`<div ref=${place}></div>`;
}

/** @param {{said: import("./index.js").Said}} props */
function Foot({ said }) {
  const copy = async () => {
    await navigator.clipboard.writeText(said.content);
    toast(say("page.md.copied"), { kind: "good" });
  };
  const { tokens, perSecond, finish } = said.facts ?? {};
  return html`<footer class="turn-foot">
    <button type="button" class="ghost icon-only small" onClick=${copy}><${Icon} name="copy" label=${say("page.chat.copy")} /></button>
    ${tokens && html`<span class="num">${say("page.chat.tokens", { n: tokens })}</span>`}
    ${perSecond && html`<span class="num">${say("page.chat.speed", { speed: number(perSecond, perSecond < 10 ? 1 : 0) })}</span>`}
    ${finish === "length" && html`<span>${say("page.chat.cut")}</span>`}
  </footer>`;
}
