/** How far the model is that is being loaded. */
import { now } from "../../engines/index.js";
import { percent, say, size } from "../../lib/i18n.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";

export function Going() {
  const { progress, model } = use(now);
  const share = progress?.total ? progress.loaded / progress.total : null;
  const fetching = progress?.step === "fetch";
  const facts = [
    say(fetching ? "page.tab.fetching" : "page.tab.preparing"),
    share !== null && percent(share),
    fetching && progress.total && `${size(progress.loaded)} / ${size(progress.total)}`,
  ].filter(Boolean);
  return html`<div class="stack tight"><progress max="1" value=${share ?? undefined} aria-label=${model}></progress>
    <p class="small muted num">${facts.join(" · ")}</p></div>`;
}
