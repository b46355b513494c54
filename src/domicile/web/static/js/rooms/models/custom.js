/** Models that a person defined: a table of them, backed up, restored and shared. */
import { ask, get, inPath, post, remove } from "../../lib/api.js";
import { confirm, open } from "../../lib/dialog.js";
import { say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Trouble } from "../../lib/load.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { CustomForm } from "../../shell/custom.js";
import { choices, refresh } from "../../shell/house.js";
import { propose } from "../../shell/shared.js";
import { Empty, Get, Growing, Heading } from "./parts.js";

/** @typedef {import("../../shell/house.js").Custom} Custom */

const FILES = ["gguf", "safetensors", "onnx"];

export function View() {
  const all = use(choices);
  const [error, setError] = useState(/** @type {any} */ (null));
  const [left, setLeft] = useState(/** @type {{id: string, message: string}[]} */ ([]));
  const file = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => void refresh().catch(setError), []);
  const restore = async () => {
    const chosen = file.current?.files?.[0];
    if (!chosen) return;
    try {
      const read = JSON.parse(await chosen.text());
      const came = await post("/domicile/custom/import", Array.isArray(read) ? { customModels: read } : read);
      setLeft(came.left_out);
      await refresh();
      toast(say("page.models.custom.restored", { n: came.added.length }), { kind: "good" });
    } catch (trouble) {
      report(trouble instanceof SyntaxError ? new Error(say("page.models.custom.not_json", { name: chosen.name })) : trouble);
    } finally {
      if (file.current) file.current.value = "";
    }
  };
  const models = all?.custom ?? [];
  return html`<${Heading}>${say("page.models.custom.title")}<//>
    <p class="muted">${say("page.models.custom.why")}</p>
    <div class="row tight">
      <button type="button" class="button primary" onClick=${() => open(CustomForm)}><${Icon} name="plus" />${say("page.custom.title")}</button>
      <button type="button" class="button" onClick=${() => file.current?.click()}>${say("page.models.custom.restore")}</button>
      <input type="file" class="sr" tabindex="-1" aria-hidden="true" accept=".json,application/json" ref=${file} onChange=${restore} />
      ${models.length > 0 && html`<button type="button" class="button" onClick=${() => save().catch(report)}><${Icon} name="download" />${say("page.models.custom.backup")}</button>`}
    </div>
    <${FromLink} />
    ${error && html`<${Trouble} error=${error} />`}
    ${left.length > 0 && html`<div class="note warn" role="status"><${Icon} name="warn" /><div><p>${say("page.models.custom.left", { n: left.length })}</p><ul class="plain small">${left.map((l) => html`<li key=${l.id}><code>${l.id}</code> ${l.message}</li>`)}</ul></div></div>`}
    ${all && models.length === 0 && html`<${Empty} icon="models" title=${say("page.models.custom.none")}><p>${say("page.models.custom.none.hint")}</p><//>`}
    ${models.length > 0 && html`<div class="table-wrap"><table class="table folds"><caption class="sr">${say("page.models.custom.title")}</caption>
      <thead><tr><th scope="col">${say("page.models.column.name")}</th><th scope="col">${say("page.models.column.format")}</th><th scope="col">${say("page.models.column.size")}</th><th scope="col">${say("page.models.column.address")}</th><th scope="col"><span class="sr">${say("page.models.deeds")}</span></th></tr></thead>
      <tbody><${Growing} tag="tr" rows=${models} draw=${(/** @type {Custom} */ m) => html`<${Row} key=${m.id} model=${m} />`} /></tbody></table></div>`}`;
}

/** @param {{model: Custom}} props */
function Row({ model: m }) {
  const [looked, setLooked] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const at = `/domicile/custom/${inPath(m.id)}`;
  const check = () => {
    setBusy(true);
    post(`${at}/check`).then(setLooked, report).finally(() => setBusy(false));
  };
  const share = async () => {
    try {
      const { link } = await get(`${at}/share`);
      await navigator.clipboard.writeText(link);
      toast(say("page.models.custom.copied", { name: m.name }), { kind: "good" });
    } catch (trouble) {
      report(trouble);
    }
  };
  const drop = async () => {
    if (!(await confirm({ title: say("page.custom.remove.title"), text: say("page.custom.remove.text", { name: m.name }), yes: say("page.custom.remove.yes"), danger: true }))) return;
    try {
      await remove(at);
      await refresh();
      toast(say("page.custom.removed", { name: m.name }), { kind: "good" });
    } catch (trouble) {
      report(trouble);
    }
  };
  return html`<tr><th scope="row">${m.name}<span class="small muted block">${[m.id, m.description].filter(Boolean).join(" · ")}</span>
      ${looked && html`<div role="status"><ul class="checks small">${looked.checks.map((/** @type {any} */ c) => html`<li key=${c.check} data-well=${String(c.well)}><${Icon} name=${c.well ? "check" : "warn"} /><span>${c.message}</span></li>`)}${looked.size_bytes && html`<li>${size(looked.size_bytes)}</li>`}</ul></div>`}</th>
    <td data-label=${say("page.models.column.format")}><span>${m.kind.toUpperCase()}</span></td>
    <td data-label=${say("page.models.column.size")}><span>${m.size ?? "–"}</span></td>
    <td data-label=${say("page.models.column.address")}><code class="small path">${m.url}</code></td>
    <td class="end deed"><div class="row tight end">
      ${FILES.includes(m.kind) && html`<${Get} reference=${m.url} name=${m.name} />`}
      <button type="button" class="ghost icon-only small" disabled=${busy} onClick=${check}>${busy ? html`<span class="spinner" role="status" aria-label=${say("page.shell.loading")}></span>` : html`<${Icon} name="refresh" label=${say("page.models.custom.check", { name: m.name })} />`}</button>
      <button type="button" class="ghost icon-only small" onClick=${share}><${Icon} name="copy" label=${say("page.models.custom.share", { name: m.name })} /></button>
      <button type="button" class="ghost icon-only small" onClick=${drop}><${Icon} name="trash" label=${say("page.custom.remove", { name: m.name })} /></button></div></td></tr>`;
}

/** A link somebody sent. */
function FromLink() {
  const [said, setSaid] = useState("");
  const [wrong, setWrong] = useState("");
  /** @param {Event} event */
  const submit = async (event) => {
    event.preventDefault();
    setWrong("");
    try {
      await propose(said.trim());
      setSaid("");
    } catch (trouble) {
      setWrong(/** @type {any} */ (trouble).message);
    }
  };
  return html`<form class="field" onSubmit=${submit}><label for="from-link">${say("page.models.custom.link")}</label><div class="row tight nowrap"><input id="from-link" class="input grow" value=${said} placeholder="http://…/#custom=…" autocomplete="off" spellcheck=${false} aria-invalid=${wrong ? "true" : undefined} onInput=${(/** @type {any} */ e) => setSaid(e.target.value)} /><button type="submit" class="button" disabled=${!said.trim()}>${say("page.models.custom.open")}</button></div>
    ${wrong && html`<span class="wrong" role="alert">${wrong}</span>`}</form>`;
}

/** Every one of them, as a file to keep. */
async function save() {
  const answer = await ask("/domicile/custom/export");
  const address = URL.createObjectURL(await answer.blob());
  Object.assign(document.createElement("a"), { href: address, download: "domicile-custom-models.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
