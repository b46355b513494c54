/** What the header has for this room: a new conversation, a temporary one, and what may be done with the one that is open. */
import { open } from "../../lib/dialog.js";
import { say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Menu } from "../../lib/menu.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { deedsOf, renamed } from "./item.js";
import { beginning, current, newChat, sideShown } from "./room.js";

export function Tools() {
  const talk = use(current);
  const { temporary } = use(beginning);
  const side = use(sideShown);
  const shown = () => {
    const chat = talk?.chat.value;
    const deeds = chat ? deedsOf(/** @type {any} */ (chat)) : [];
    const seen = () => {
      sideShown.value = true;
      if (matchMedia("(max-width: 56rem)").matches) document.getElementById("menu-button")?.click();
      renamed.value = chat?.id ?? null;
    };
    return [
      ...deeds.map((deed) => (deed.icon === "edit" ? { ...deed, run: seen } : deed)),
      { icon: "download", label: say("page.chat.moving"), run: async () => open((await import("./moving.js")).Moving) },
      { icon: "side", label: say(side ? "page.chat.side.hide" : "page.chat.side.show"), run: () => void (sideShown.value = !side) },
      { icon: "keys", label: say("page.chat.keys"), run: async () => open((await import("./help.js")).Help) },
    ];
  };
  return html`${!talk && html`<button type="button" class="ghost icon-only ${temporary ? "is-on" : ""}" aria-pressed=${temporary} title=${say("page.chat.temporary")} onClick=${() => (beginning.value = { ...beginning.value, temporary: !temporary })}><${Icon} name="temporary" label=${say("page.chat.temporary")} /></button>`}
    ${talk && html`<button type="button" class="ghost icon-only" title=${say("page.chat.new")} onClick=${() => newChat()}><${Icon} name="plus" label=${say("page.chat.new")} /></button>`}
    <${Menu} small=${false} label=${say("page.chat.this")} items=${shown} />`;
}
