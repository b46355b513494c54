/** What is to be known of an answer: that it failed and what to do, that it was cut, what it did not get to read. */
import { number, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html } from "../../lib/preact.js";
import { report } from "../../lib/toast.js";
import { whom } from "./room.js";

/** @typedef {import("./tree.js").Message} Message */

/** @param {{talk: import("./conversation.js").Conversation, message: Message}} props */
export function Notes({ talk, message }) {
  const { error, state, finish_reason: finish, dropped, files, notes } = message;
  const resume = () => talk.answer({ continue: message.id }).catch(report);
  const again = () => talk.answer({ regenerate: message.id, ...whom() }).catch(report);
  const cut = state === "stopped" ? "stopped" : state === "cut" ? "cut" : finish === "length" ? "length" : null;
  return html`${error && html`<div class="note bad"><${Icon} name="warn" /><div class="grow stack tight">
      <p>${error.summary ?? error.message}</p>${error.hint && html`<p class="small muted">${error.hint}</p>`}
      <div class="row tight"><button type="button" class="button small" onClick=${again}><${Icon} name="refresh" />${say("page.common.again")}</button>
        ${message.text && html`<button type="button" class="button small" onClick=${resume}><${Icon} name="play" />${say("page.chat.continue")}</button>`}</div></div></div>`}
    ${!error && cut && html`<p class="aside">${say(`page.chat.ended.${cut}`)}
      <button type="button" class="button small" onClick=${message.text ? resume : again}><${Icon} name="play" />${say(message.text ? "page.chat.continue" : "page.common.again")}</button></p>`}
    ${dropped?.dropped ? html`<p class="aside"><${Icon} name="info" />${say("page.chat.dropped", { n: dropped.dropped, sent: dropped.sent })}</p>` : null}
    ${(files ?? []).filter((f) => f.cut).map((f) => html`<p class="aside" key=${f.attachment}><${Icon} name="info" />${say(`page.chat.given.${f.reason}`, { name: f.name, given: number(f.given_characters ?? 0), of: number(f.characters ?? 0) })}</p>`)}
    ${notes?.Fallback && html`<p class="aside"><${Icon} name="away" />${say("page.chat.fallback", { who: message.served_by })}</p>`}`;
}
