/** Short news in the corner, which leaves by itself; trouble stays until it is read. */
import { ApiError } from "./api.js";
import { say } from "./i18n.js";
import { Icon } from "./icon.js";
import { html, render } from "./preact.js";
import { signal, use } from "./store.js";

/** @typedef {{id: number, kind: "good" | "bad" | "info", text: string, hint?: string | null,
 *   action?: {label: string, run: () => void} | null}} Toast */

/** @type {import("./store.js").Signal<Toast[]>} */
const toasts = signal(/** @type {Toast[]} */ ([]));
let number = 0;
const [LOOKED_AT_MS, CHOSEN_AT_MS] = [5000, 30_000];

/** @param {string} text @param {{kind?: Toast["kind"], hint?: string | null, action?: Toast["action"]}} [options] `action`: the next step, offered for a while */
export function toast(text, { kind = "info", hint, action } = {}) {
  mount();
  const one = { id: ++number, kind, text, hint, action };
  toasts.value = [...toasts.value.slice(-3), one];
  if (kind !== "bad") setTimeout(() => dismiss(one.id), action ? CHOSEN_AT_MS : LOOKED_AT_MS);
}

/** What went wrong, in the words of the house. A request that was given up is no news. @param {any} trouble */
export function report(trouble) {
  if (trouble?.name === "AbortError") return;
  if (trouble instanceof ApiError || trouble?.name === "TabError") return toast(trouble.message, { kind: "bad", hint: trouble.hint });
  console.error(trouble);
  toast(say("page.error.bug"), { kind: "bad", hint: String(trouble?.message ?? trouble) });
}

/** @param {number} id */
const dismiss = (id) => (toasts.value = toasts.value.filter((t) => t.id !== id));

/** @param {Toast} one */
function take(one) {
  dismiss(one.id);
  one.action?.run();
}

function Toasts() {
  const icons = { good: "check", bad: "warn", info: "info" };
  return html`${use(toasts).map((one) => html`
    <div class="toast ${one.kind}" key=${one.id} role=${one.kind === "bad" ? "alert" : "status"}>
      <${Icon} name=${icons[one.kind]} />
      <div class="grow">${one.text}${one.hint && html`<span class="hint">${one.hint}</span>`}
        ${one.action && html`<div><button type="button" class="button small" onClick=${() => take(one)}>${one.action.label}</button></div>`}</div>
      <button type="button" class="ghost icon-only small" onClick=${() => dismiss(one.id)}><${Icon} name="close" label=${say("page.common.close")} /></button>
    </div>`)}`;
}

let mounted = false;
function mount() {
  if (mounted) return;
  mounted = true;
  const place = Object.assign(document.createElement("section"), { className: "toasts" });
  place.setAttribute("aria-label", say("page.common.news"));
  document.body.append(place);
  render(html`<${Toasts} />`, place);
}
