/** The Ollama that runs beside this house: what it has, pull, remove. */
import { get, inPath, post, remove } from "../../lib/api.js";
import { confirm } from "../../lib/dialog.js";
import { say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { ended, jobs, over } from "../../shell/house.js";
import { Going } from "../../shell/notices.js";
import { Growing } from "./parts.js";

/** @typedef {{name: string, size_bytes: number | null, modified_at: string | null, quantisation?: string | null, family?: string | null, parameters?: string | null}} Theirs */

export function Ollama() {
  const [about, setAbout] = useState(/** @type {{url: string, version: string} | null} */ (null));
  const [models, setModels] = useState(/** @type {Theirs[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [said, setSaid] = useState("");
  const past = use(ended).filter((j) => /ollama|export/.test(j.kind)).length;
  const going = [...use(jobs).values()].filter((j) => j.kind === "ollama_pull" && !over(j));
  const look = async () => {
    setError(null);
    try {
      const there = await get("/domicile/ollama?quiet=true");
      if (there.trouble) throw there.trouble;
      setModels((await get("/domicile/ollama/models")).models);
      setAbout(there);
    } catch (trouble) {
      setAbout(null);
      setError(trouble);
    }
  };
  useEffect(() => void look(), [past]);
  /** @param {Event} event */
  const pull = (event) => {
    event.preventDefault();
    if (said.trim()) post("/domicile/ollama/pull", { model: said.trim() }).then(() => setSaid(""), report);
  };
  /** @param {Theirs} one */
  const drop = async (one) => {
    if (!(await confirm({ title: say("page.models.ollama.remove.title"), text: say("page.models.ollama.remove.text", { name: one.name, size: one.size_bytes ?? 0 }), yes: say("page.models.delete"), danger: true }))) return;
    try {
      await remove(`/domicile/ollama/models/${inPath(one.name)}`);
      toast(say("page.models.ollama.removed", { name: one.name }), { kind: "good" });
      await look();
    } catch (trouble) {
      report(trouble);
    }
  };
  return html`<section class="stack tight"><div class="card-head"><h3>${say("page.models.ollama")}</h3>${about && html`<span class="small muted">${say("page.models.ollama.at", { url: about.url, version: about.version })}</span>`}</div>
    ${error && html`<div class="note"><${Icon} name="info" /><div class="grow stack tight"><p>${error.message}</p>${error.hint && html`<p class="small muted">${error.hint}</p>`}<div><button type="button" class="button small" onClick=${look}>${say("page.common.again")}</button></div></div></div>`}
    ${about && html`
      <form class="row tight" onSubmit=${pull}><input class="input grow" value=${said} placeholder="llama3.2:3b" autocomplete="off" spellcheck=${false} aria-label=${say("page.models.ollama.name")} onInput=${(/** @type {any} */ e) => setSaid(e.target.value)} /><button type="submit" class="button"><${Icon} name="download" />${say("page.models.ollama.pull")}</button></form>
      ${going.map((j) => html`<div class="card" key=${j.id}><${Going} job=${j} /></div>`)}
      ${models.length === 0
        ? html`<p class="muted">${say("page.models.ollama.none")}</p>`
        : html`<div class="table-wrap"><table class="table folds"><caption class="sr">${say("page.models.ollama")}</caption>
          <thead><tr><th scope="col">${say("page.models.column.name")}</th><th scope="col">${say("page.models.column.quantisation")}</th><th scope="col" class="end">${say("page.models.column.size")}</th><th scope="col"><span class="sr">${say("page.models.deeds")}</span></th></tr></thead>
          <tbody><${Growing} tag="tr" rows=${models} draw=${(/** @type {Theirs} */ m) => html`<tr key=${m.name}><th scope="row">${m.name}</th><td data-label=${say("page.models.column.quantisation")}><span>${[m.parameters, m.quantisation].filter(Boolean).join(" · ") || "–"}</span></td><td class="end num" data-label=${say("page.models.column.size")}>${m.size_bytes ? size(m.size_bytes) : "–"}</td>
            <td class="end deed"><button type="button" class="ghost icon-only small" onClick=${() => drop(m)}><${Icon} name="trash" label=${say("page.models.delete.named", { name: m.name })} /></button></td></tr>`} /></tbody></table></div>`}`}
  </section>`;
}
