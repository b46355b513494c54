/** What is kept in this browser: models with their sizes, the room there is, whether it lasts, and the page itself. */
import { forget, persist } from "../../engines/index.js";
import { leave, possible, stay, stays, wanted } from "../../engines/closed.js";
import { confirm } from "../../lib/dialog.js";
import { percent, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { report, toast } from "../../lib/toast.js";

/** @typedef {import("../../engines/types.js").Kept} One */

/** @param {{kept: One[], storage: {usage: number, quota: number, persisted: boolean} | null, again: () => Promise<void>}} props */
export function Kept({ kept, storage, again }) {
  return html`<section class="stack">
    <h2>${say("page.tab.kept")}</h2>
    ${!kept.length && html`<p class="muted">${say("page.tab.kept.none")}</p>`}
    ${kept.length > 0 && html`<ul class="list card">${kept.map((one) => html`<${Line} key=${one.engine + one.id} one=${one} again=${again} />`)}</ul>`}
    <${Storage} storage=${storage} again=${again} />
    <${Closed} kept=${kept.some((one) => one.engine === "wllama" && one.whole)} />
  </section>`;
}

/** @param {{one: One, again: () => Promise<void>}} props */
function Line({ one, again }) {
  const drop = async () => {
    const sure = await confirm({ title: say("page.tab.forget.title"), text: say("page.tab.forget.text", { name: one.name, size: one.size_bytes }), yes: say("page.tab.forget.yes"), danger: true });
    if (!sure) return;
    await forget(one).then(again).then(() => toast(say("page.tab.forgotten", { name: one.name }), { kind: "good" }), report);
  };
  return html`<li><span class="grow">${one.name}${!one.whole && html` <span class="badge warn">${say("page.tab.cut")}</span>`}</span>
    <span class="muted small">${say(`page.tab.engine.${one.engine}`)}</span><span class="num">${size(one.size_bytes)}</span>
    <button type="button" class="ghost icon-only small" onClick=${drop}><${Icon} name="trash" label=${say("page.tab.forget", { name: one.name })} /></button></li>`;
}

/** @param {{storage: {usage: number, quota: number, persisted: boolean} | null, again: () => Promise<void>}} props */
function Storage({ storage, again }) {
  if (!storage) return html`<p class="note warn"><${Icon} name="warn" /><span>${say("page.error.tab.no_storage")}</span></p>`;
  const lasting = async () => {
    const done = await persist();
    await again();
    toast(say(done ? "page.tab.lasting.yes" : "page.tab.lasting.no"), { kind: done ? "good" : "info" });
  };
  const share = storage.quota ? storage.usage / storage.quota : 0;
  return html`<div class="card stack tight">
    <p>${say("page.tab.room", { usage: storage.usage, quota: storage.quota, share: percent(share) })}</p>
    <progress max="1" value=${share} aria-label=${say("page.tab.room.label")}></progress>
    ${storage.persisted
      ? html`<p class="small"><${Icon} name="check" /> ${say("page.tab.lasting")}</p>`
      : html`<div class="row between"><p class="small muted grow">${say("page.tab.evictable")}</p><button type="button" class="button small" onClick=${lasting}>${say("page.tab.persist")}</button></div>`}
  </div>`;
}

/** The page with the house closed. Offered once a model is kept: without one there is nothing to talk to. @param {{kept: boolean}} props */
function Closed({ kept }) {
  const [on, setOn] = useState(false);
  const [busy, setBusy] = useState(false);
  /** @param {boolean} wish */
  const turn = async (wish) => {
    setBusy(true);
    setOn(wish);
    await (wish ? stay() : leave()).catch(report);
    setOn(await stays());
    setBusy(false);
  };
  useEffect(() => {
    stays().then((is) => (is || !kept || wanted.value === false || !possible() ? setOn(is) : turn(true)));
  }, [kept]);
  if (!possible()) return html`<p class="small muted">${say("page.error.tab.not_secure")}</p>`;
  /** @param {any} event */
  const chosen = (event) => turn((wanted.value = event.target.checked));
  return html`<label class="check"><input type="checkbox" checked=${on} disabled=${busy} onChange=${chosen} />
    <span>${say("page.tab.stay")}<span class="why small muted">${say("page.tab.stay.text")}</span></span></label>`;
}
