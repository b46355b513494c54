/** Under the composer: where the question goes, how full the context is, and that a model can be wrong. */
import { number, percent, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { away, choices } from "../../shell/house.js";
import { beginning, strategy } from "./room.js";
import { gauge } from "./tree.js";

/** @param {{talk: import("./conversation.js").Conversation | null}} props */
export function Foot({ talk }) {
  const target = use(away);
  const { temporary } = use(beginning);
  const [, draw] = useState(0);
  use(choices);
  useEffect(() => {
    const stops = [talk?.messages, talk?.chat].map((one) => one?.subscribe(() => draw((n) => n + 1)));
    return () => stops.forEach((stop) => stop?.());
  }, [talk]);
  const way = strategy();
  const room = talk && gauge(talk.branch);
  return html`<div class="composer-note">
    ${(talk?.temporary ?? temporary) && html`<span class="badge"><${Icon} name="temporary" />${say("page.chat.temporary.badge")}</span>`}
    ${way !== "home" && html`<span class="badge away"><${Icon} name="away" />${target ? say("page.chat.goes.to", { who: target }) : say(`page.chat.goes.${way}`)}</span>`}
    <span class="note-words">${way === "home" ? say("page.chat.goes.home") : ""} ${say("page.chat.note")}</span>
    ${room && html`<span class="gauge" title=${say("page.chat.context.of", { used: number(room.used), of: number(room.of) })}>
      <meter min="0" max="1" high="0.9" value=${room.share} aria-label=${say("page.chat.context")}></meter><span class="num">${say("page.chat.context.used", { share: percent(room.share) })}</span></span>`}
  </div>`;
}
