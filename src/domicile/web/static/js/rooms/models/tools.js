/** What other tools have: taken in where it lies, without a copy; and the Ollama that runs beside this house. */
import { get, post } from "../../lib/api.js";
import { say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { ended, jobs, over } from "../../shell/house.js";
import { Going } from "../../shell/notices.js";
import { ownerText } from "./installed.js";
import { Ollama } from "./neighbour.js";
import { Empty, Growing, Heading } from "./parts.js";
import { Link } from "./route.js";

/** @typedef {{id: string, name: string, owners: string[], format: string, size_bytes: number, quantisation: string | null, files: string[], place: string, here: string | null, runs_code: boolean}} Offer */

export function View() {
  return html`<${Heading}>${say("page.models.tools.title")}<//><${Adopt} /><${Ollama} />`;
}

function Adopt() {
  const [found, setFound] = useState(/** @type {Offer[] | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [taken, setTaken] = useState(/** @type {Set<string>} */ (new Set()));
  const [path, setPath] = useState("");
  const [looked, setLooked] = useState("");
  const [busy, setBusy] = useState(false);
  const past = use(ended).filter((j) => j.kind === "adopt").length;
  const going = [...use(jobs).values()].find((j) => j.kind === "adopt" && !over(j));
  /** @param {string} where */
  const look = (where) => {
    setBusy(true);
    setError(null);
    get(`/domicile/adoptable${where ? `?path=${encodeURIComponent(where)}` : ""}`).then((said) => (setFound(said.adoptable), setLooked(where), setTaken(new Set())), setError).finally(() => setBusy(false));
  };
  useEffect(() => look(looked), [past]);
  const offers = (found ?? []).filter((o) => !o.here);
  const ready = offers.filter((o) => !o.runs_code);
  const chosen = ready.filter((o) => taken.has(o.id));
  /** @param {string} id */
  const flip = (id) => setTaken((before) => new Set(before.has(id) ? [...before].filter((t) => t !== id) : [...before, id]));
  const adopt = () => post("/domicile/adopt", looked ? { path: looked } : { models: chosen.map((o) => o.id) }).catch(report);
  const sum = (looked ? ready : chosen).reduce((all, o) => all + o.size_bytes, 0);
  return html`<section class="stack tight"><div class="card-head"><h3>${say("page.models.adopt")}</h3></div><p class="muted">${say("page.models.adopt.why")}</p>
    <form class="row tight" onSubmit=${(/** @type {Event} */ e) => (e.preventDefault(), look(path.trim()))}>
      <input class="input grow" value=${path} placeholder="/home/…/models" autocomplete="off" spellcheck=${false} aria-label=${say("page.models.adopt.path")} onInput=${(/** @type {any} */ e) => setPath(e.target.value)} />
      <button type="submit" class="button" disabled=${busy}>${busy ? html`<span class="spinner" aria-hidden="true"></span>` : html`<${Icon} name="search" />`}${say(path.trim() ? "page.models.adopt.look" : "page.models.adopt.again")}</button></form>
    ${error && html`<${Trouble} error=${error} />`}
    ${going && html`<div class="card"><${Going} job=${going} /></div>`}
    ${found && offers.length === 0 && html`<${Empty} icon="tools" title=${say(found.length ? "page.models.adopt.all_here" : "page.models.adopt.none")}><p>${say("page.models.adopt.none.hint")}</p><//>`}
    ${offers.length > 0 && html`
      <div class="row between"><label class="check"><input type="checkbox" checked=${chosen.length === ready.length} disabled=${!!looked} onChange=${() => setTaken(new Set(chosen.length === ready.length ? [] : ready.map((o) => o.id)))} /><span>${say("page.models.adopt.every")}</span></label>
        <button type="button" class="button primary" disabled=${(!chosen.length && !looked) || !!going} onClick=${adopt}>${say("page.models.adopt.go", { n: looked ? ready.length : chosen.length, size: sum })}</button></div>
      <ul class="card list offers"><${Growing} rows=${offers} draw=${(/** @type {Offer} */ o) => html`<${Row} key=${o.id} offer=${o} taken=${looked ? !o.runs_code : taken.has(o.id)} fixed=${!!looked} flip=${flip} />`} /></ul>`}
    ${found && found.some((o) => o.here) && html`<p class="small muted">${say("page.models.adopt.here", { n: found.filter((o) => o.here).length })} <${Link} to=${{ tab: "installed" }}>${say("page.models.tab.installed")}<//></p>`}
  </section>`;
}

/** @param {{offer: Offer, taken: boolean, fixed: boolean, flip: (id: string) => void}} props */
function Row({ offer: o, taken, fixed, flip }) {
  return html`<li><label class="check grow"><input type="checkbox" checked=${taken} disabled=${o.runs_code || fixed} onChange=${() => flip(o.id)} />
    <span class="grow"><strong>${o.name}</strong> ${o.owners.map((w) => html`<span class="badge" key=${w}>${ownerText(w)}</span> `)}${o.runs_code && html`<span class="badge bad"><${Icon} name="warn" />${say("page.models.adopt.runs_code")}</span>`}
      <span class="small muted block">${[o.format.toUpperCase(), o.quantisation, size(o.size_bytes)].filter(Boolean).join(" · ")}</span><code class="small path">${o.place}</code></span></label></li>`;
}
