/** An answer that this browser computes: shown while it comes, then kept by the house like the others. */
import { chatWith } from "../../engines/index.js";
import { announce } from "../../lib/a11y.js";
import { ask } from "../../lib/api.js";
import { percent, say } from "../../lib/i18n.js";
import { Trouble } from "../../lib/load.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { computed } from "./computed.js";
import { Written } from "./written.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./computed.js").Coming} Coming */
/** Answer the last question of a conversation here. @param {Conversation} talk @param {string} model */
export async function compute(talk, model) {
  const leave = new AbortController();
  let now = /** @type {Coming} */ ({ talk, model, text: "", thought: "", share: null, leave, trouble: null });
  /** @param {Partial<Coming>} more */
  const show = (more) => (computed.value = now = { ...now, ...more });
  show({});
  const away = () => keep(now, true);
  addEventListener("pagehide", away);
  const { temperature, max_tokens: maxTokens } = talk.chat.value?.parameters ?? {};
  const system = talk.chat.value?.system;
  const messages = talk.branch.filter((one) => one.text).map(({ role, text }) => ({ role: /** @type {string} */ (role), content: text }));
  if (system) messages.unshift({ role: "system", content: system });
  try {
    const options = { signal: leave.signal, ...(temperature === undefined ? {} : { temperature }), ...(maxTokens === undefined ? {} : { maxTokens }) };
    for await (const part of chatWith(model, "tab", messages, { ...options, onProgress: (p) => show({ share: p.total ? p.loaded / p.total : null }) })) {
      show({ text: now.text + part.text, thought: now.thought + part.thought });
    }
  } catch (trouble) {
    if (!leave.signal.aborted) show({ trouble });
  }
  removeEventListener("pagehide", away);
  await keep(now, false);
  if (now.trouble) return;
  computed.value = null;
  announce(say("page.chat.said.done", { model }));
}

/** The house keeps what was said. @param {Coming} now @param {boolean} leaves the page goes away meanwhile */
async function keep({ talk, model, text, thought }, leaves) {
  if (!text) return;
  const json = { messages: [{ role: "assistant", text, model, served_by: "tab", ...(thought ? { reasoning: thought } : {}) }] };
  await ask(talk.path("/messages"), { json, keepalive: leaves });
}

/** @param {{talk: Conversation}} props */
export function Computed({ talk }) {
  const now = use(computed);
  if (now?.talk !== talk) return null;
  const again = () => compute(talk, now.model);
  return html`<article class="turn assistant" aria-busy=${!now.trouble}>
    <h3 class="who"><span class="cut">${now.model}</span><span class="badge">${say("page.chat.by.tab")}</span></h3>
    ${!now.text && !now.thought && !now.trouble && html`<div class="waiting"><p role="status"><span class="spinner" aria-hidden="true"></span>${say("page.chat.tab.comes", { model: now.model })}${now.share === null ? "" : ` ${percent(now.share)}`}</p></div>`}
    ${now.thought && html`<details class="thought" open=${!now.text}><summary>${say("page.chat.thinking")}</summary><${Written} text=${now.thought} done=${false} /></details>`}
    ${now.text && html`<${Written} text=${now.text} done=${false} />`}
    ${now.trouble ? html`<${Trouble} error=${now.trouble} again=${again} />` : html`<p class="aside">${say("page.chat.tab.computes")}</p>`}
  </article>`;
}
