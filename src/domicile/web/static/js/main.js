/** Brings the shell to life, then the room. Each is an island: what one gets wrong stays in it. */
import { say } from "./lib/i18n.js";
import { html, render } from "./lib/preact.js";
import { state } from "./lib/state.js";
import { report } from "./lib/toast.js";
import { begin } from "./shell/house.js";
import { Notices } from "./shell/notices.js";
import { Selector } from "./shell/selector.js";
import { side } from "./shell/side.js";
import { themes } from "./shell/theme.js";

/** @param {string} id */
const place = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

addEventListener("unhandledrejection", (event) => report(event.reason));
side();
themes();
render(html`<${Selector} />`, place("selector"));
render(html`<${Notices} />`, place("notices"));
begin();

const island = place("island");
try {
  const room = await import(`../${state.module}`);
  island.replaceChildren();
  await room.mount(island);
} catch (trouble) {
  report(trouble);
  island.textContent = say("page.error.bug");
}
island.removeAttribute("aria-busy");
const shared = async () => (await import("./shell/shared.js")).receive().catch(report);
if (location.hash.startsWith("#custom=")) shared();
addEventListener("hashchange", () => location.hash.startsWith("#custom=") && shared());
