/** What a model said, or is saying: who, its thoughts, its words, what it cost and what is to be known of it. */
import { duration, number, percent, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Menu } from "../../lib/menu.js";
import { open } from "../../lib/dialog.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { awake, choices, refresh } from "../../shell/house.js";
import { Notes } from "./notes.js";
import { whom } from "./room.js";
import { Copy, deeds, Editor, Versions } from "./turn.js";
import { Written } from "./written.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./tree.js").Message} Message */

/** @param {{talk: Conversation, message: Message, beside?: boolean, shown?: boolean}} props `beside`: others answer next to it; `shown`: what follows is said to this one */
export function Answer({ talk, message, beside = false, shown = true }) {
  const [raw, setRaw] = useState(false);
  const [edits, setEdits] = useState(false);
  const live = use(talk.live(message));
  const writes = message.state === "writing";
  const { text, reasoning, status } = writes ? live : { ...message, status: null };
  const waits = writes && !text && !reasoning;
  /** @param {string} said */
  const correct = async (said) => {
    await talk.correct(message.id, said);
    setEdits(false);
  };
  return html`<article class="turn assistant ${beside ? "beside" : ""}" id=${message.id} tabindex="-1" aria-busy=${writes}>
    <h3 class="who"><span class="cut">${message.model}</span>
      ${message.served_by === "tab" && html`<span class="badge"><${Icon} name="tab" />${say("page.chat.by.tab")}</span>`}
      ${message.served_by && !["home", "tab"].includes(message.served_by) && html`<span class="badge away"><${Icon} name="away" />${say("page.chat.by", { who: message.served_by })}</span>`}
      ${message.parameters && html`<span class="small muted cut">${Object.entries(message.parameters).map(([name, value]) => `${name} ${typeof value === "object" ? "…" : value}`).join(", ")}</span>`}
      ${beside && shown && html`<span class="badge accent"><${Icon} name="check" />${say("page.chat.chosen")}</span>`}
    </h3>
    ${waits && html`<${Waiting} message=${message} status=${status} />`}
    ${reasoning && html`<${Thoughts} text=${reasoning} over=${!!text || !writes} seconds=${message.reasoning_s} />`}
    ${edits ? html`<${Editor} text=${text} yes=${say("page.chat.keep")} done=${correct} close=${() => setEdits(false)} />`
      : raw ? html`<pre class="raw" tabindex="0">${text}</pre>` : text && html`<${Written} text=${text} done=${!writes} />`}
    ${message.tool_calls.map((call) => html`<pre class="raw small" key=${call.id} tabindex="0">${call.function?.name}(${call.function?.arguments})</pre>`)}
    ${!writes && html`<${Notes} talk=${talk} message=${message} />`}
    ${!writes && !edits && html`<footer class="turn-foot">
      ${!beside && html`<${Versions} talk=${talk} message=${message} />`}
      ${text && html`<${Copy} text=${text} />`}
      <${Menu} icon="refresh" label=${say("page.chat.again")} items=${() => ways(talk, message)} />
      <${Menu} label=${say("page.chat.more")} items=${() => [
        text && { icon: "raw", label: say("page.chat.raw"), checked: raw, run: () => setRaw(!raw) },
        text && { icon: "edit", label: say("page.chat.correct"), run: () => setEdits(true) },
        { icon: "play", label: say("page.chat.continue"), run: () => talk.answer({ continue: message.id }).catch(report) },
        ...deeds(talk, message),
      ]} />
      ${beside && !shown && html`<button type="button" class="button small" onClick=${() => talk.show(message.id).catch(report)}>${say("page.chat.choose")}</button>`}
      <${Cost} message=${message} />
    </footer>`}
    ${writes && beside && html`<div><button type="button" class="ghost small" onClick=${() => talk.stop(message.id).catch(report)}><${Icon} name="stop" />${say("page.chat.stop")}</button></div>`}
  </article>`;
}

/** The ways to have another answer. @param {Conversation} talk @param {Message} message */
function ways(talk, message) {
  if (!choices.value) refresh().catch(() => {});
  /** @param {Record<string, any>} by */
  const again = (by) => talk.answer({ regenerate: message.id, ...by }).catch(report);
  const others = (choices.value?.installed ?? []).filter((m) => m.name !== message.model && m.state !== "missing").slice(0, 8);
  const otherwise = async () => {
    const { Otherwise } = await import("./otherwise.js");
    const how = await open(Otherwise, { model: message.model, parameters: message.parameters ?? {} });
    if (how) await again({ ...whom(), ...how });
  };
  const same = message.model && choices.value?.installed.some((m) => m.name === message.model) ? { model: message.model } : whom();
  return [
    { icon: "refresh", label: say("page.chat.again.same"), run: () => again(same) },
    ...others.map((m) => ({ icon: "models", label: say("page.chat.again.with", { model: m.name }), run: () => again({ model: m.name }) })),
    { icon: "sliders", label: say("page.chat.again.otherwise"), run: otherwise },
  ];
}

/** What it waits for, with a clock. @param {{message: Message, status: import("./conversation.js").Status | null}} props */
function Waiting({ message, status }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const present = use(awake).find((a) => a.name === message.model);
  const now = status?.status ?? (present?.state === "waking" ? "waking" : "begins");
  const seconds = Math.max(0, Date.now() / 1000 - message.created_at);
  const words = now === "queued" && status?.position ? say("page.chat.wait.place", { n: status.position })
    : now === "reading" && status?.progress ? say("page.chat.wait.read", { part: percent(status.progress) })
    : say(`page.chat.wait.${now}`, { model: message.model });
  return html`<div class="waiting"><p role="status"><span class="spinner" aria-hidden="true"></span>${words}</p>${seconds > 2 && html`<span class="num small muted" aria-hidden="true">${duration(seconds)}</span>`}
    ${now === "reading" && status?.progress ? html`<progress max="1" value=${status.progress} aria-label=${say("page.chat.wait.reading")}></progress>` : null}
  </div>`;
}

/** @param {{text: string, over: boolean, seconds: number | null}} props */
function Thoughts({ text, over, seconds }) {
  return html`<details class="thought" open=${!over}>
    <summary><${Icon} name="thinking" />${over ? (seconds === null ? say("page.chat.thought") : say("page.chat.thought_for", { seconds: duration(seconds) })) : say("page.chat.thinking")}</summary>
    <${Written} text=${text} done=${over} />
  </details>`;
}

/** Tokens, their speed, how long the first one took. @param {{message: Message}} props */
function Cost({ message }) {
  const { completion_tokens: tokens, tokens_per_second: speed, first_token_s: first, prompt_tokens: read, cached_tokens: known } = message;
  const more = [
    read !== null && say("page.chat.cost.prompt", { n: read }),
    known ? say("page.chat.cost.known", { n: known }) : "",
    message.prompt_tokens_per_second && say("page.chat.cost.reading", { speed: number(message.prompt_tokens_per_second) }),
    message.edited_at && say("page.chat.cost.corrected"),
  ].filter(Boolean);
  return html`<span class="cost" title=${more.join(" · ")}>
    ${tokens ? html`<span class="num">${say("page.chat.tokens", { n: tokens })}</span>` : null}
    ${speed ? html`<span class="num">${say("page.chat.speed", { speed: number(speed, speed < 10 ? 1 : 0) })}</span>` : null}
    ${first !== null && first !== undefined ? html`<span class="num">${say("page.chat.cost.first", { seconds: number(first, first < 10 ? 1 : 0) })}</span>` : null}
    ${message.served_by === "home" && html`<span>${say("page.chat.by.home")}</span>`}
  </span>`;
}
