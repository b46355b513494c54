/** The picture that is being drawn: how it looks so far, at which step, how long still; and why it was not drawn. */
import { duration, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { current, goes, halt } from "./drawing.js";

export function Stage() {
  const now = use(current);
  if (!now) return null;
  if (now.state === "failed") return html`<${Trouble} error=${{ message: now.error?.summary ?? now.error?.message ?? say("page.pictures.state.failed"), hint: now.error?.hint }} />`;
  if (!goes(now)) return null;
  const drawing = now.state === "drawing" && now.step > 0;
  const left = drawing && now.seconds && now.step > 1 ? (now.seconds / now.step) * (now.steps - now.step) : null;
  const said = drawing ? say("page.pictures.step", { step: now.step, steps: now.steps }) : now.position ? say("page.pictures.queued", { n: now.position }) : say("page.pictures.waking", { model: now.model });
  return html`<section class="card stack pictures-stage" aria-label=${say("page.pictures.now")}>
    <div class="pictures-preview">${now.preview ? html`<img src="data:image/png;base64,${now.preview}" alt=${say("page.pictures.preview", { prompt: now.prompt })} />` : html`<span class="spinner" aria-hidden="true"></span>`}</div>
    <progress max=${now.steps || 1} value=${drawing ? now.step : undefined} aria-label=${said}></progress>
    <div class="row between"><p class="small muted num" role="status">${now.n > 1 ? `${now.index + 1}/${now.n} · ` : ""}${said}${left ? ` · ${say("page.pictures.left", { time: duration(left) })}` : ""}</p>
      <button type="button" class="button small" onClick=${() => halt().catch(report)}><${Icon} name="stop" />${say("page.pictures.stop")}</button></div>
  </section>`;
}
