/** What is wished of a picture. What most people need is in sight; the rest is one fold away. */
import { percent, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useId, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { begin, change, current, from, goes, startFrom, wish } from "./drawing.js";

/** @param {{options: import("./drawing.js").Options}} props */
export function Form({ options }) {
  const w = use(wish);
  const now = use(current);
  const start = use(from);
  const [busy, setBusy] = useState(false);
  const going = now !== null && goes(now);
  const id = useId();
  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    if (!w.prompt.trim() || busy) return;
    setBusy(true);
    await begin().catch(report);
    setBusy(false);
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && send(event);
  /** @param {string} name */
  const put = (name) => (/** @type {any} */ event) => change({ [name]: event.target.value });
  return html`<form class="card stack pictures-form" onSubmit=${send}>
    <div class="field"><label for="${id}p">${say("page.pictures.prompt")}</label>
      <textarea id="${id}p" class="input" rows="4" required value=${w.prompt} onInput=${put("prompt")} onKeyDown=${keys} placeholder=${say("page.pictures.prompt.example")}></textarea></div>
    <div class="field"><label for="${id}n">${say("page.pictures.negative")} <span class="optional">${say("page.common.optional")}</span></label>
      <input id="${id}n" class="input" value=${w.negative} onInput=${put("negative")} /></div>
    ${options.models.length > 1 && html`<div class="field"><label for="${id}m">${say("page.pictures.model")}</label>
      <select id="${id}m" class="input" value=${w.model || options.models[0].name} onChange=${put("model")}>${options.models.map((m) => html`<option key=${m.name} value=${m.name}>${m.name}</option>`)}</select></div>`}
    <${Start} start=${start} strength=${w.strength} put=${put} />
    <fieldset class="pictures-sizes"><legend>${say("page.pictures.size")}</legend>
      ${["auto", ...options.sizes].map((size) => html`<label key=${size} class="pictures-size"><input type="radio" name="${id}size" value=${size} checked=${w.size === size} onChange=${put("size")} /><${Shape} size=${size} /><span class="num">${size === "auto" ? say("page.pictures.size.auto") : size.replace("x", " × ")}</span></label>`)}</fieldset>
    <details><summary>${say("page.pictures.more")}</summary><div class="pictures-more">
      <div class="field"><label for="${id}s">${say("page.pictures.steps")}</label><input id="${id}s" class="input" type="number" min="1" max="200" value=${w.steps} placeholder=${say("page.pictures.auto")} onInput=${put("steps")} /></div>
      <div class="field"><label for="${id}g">${say("page.pictures.guidance")}</label><input id="${id}g" class="input" type="number" min="0" max="50" step="0.1" value=${w.guidance} placeholder=${say("page.pictures.auto")} onInput=${put("guidance")} /></div>
      <div class="field"><label for="${id}a">${say("page.pictures.sampler")}</label><select id="${id}a" class="input" value=${w.sampler} onChange=${put("sampler")}>${options.samplers.map((s) => html`<option key=${s} value=${s}>${s === "default" ? say("page.pictures.sampler.own") : s}</option>`)}</select></div>
      <div class="field"><label for="${id}b">${say("page.pictures.batch")}</label><input id="${id}b" class="input" type="number" min="1" max="16" value=${w.n} onInput=${(/** @type {any} */ e) => change({ n: Math.min(16, Math.max(1, Number(e.target.value) || 1)) })} /></div>
      <div class="field wide"><label for="${id}e">${say("page.pictures.seed")}</label><div class="row tight">
        <input id="${id}e" class="input grow" inputmode="numeric" pattern="[0-9]*" value=${w.seed} placeholder=${say("page.pictures.seed.any")} onInput=${(/** @type {any} */ e) => change({ seed: e.target.value.replace(/\D/g, ""), locked: e.target.value !== "" })} />
        <button type="button" class="button" aria-pressed=${w.locked} onClick=${() => change({ locked: !w.locked && w.seed !== "" })}><${Icon} name="pin" />${say("page.pictures.seed.keep")}</button>
        <button type="button" class="button" onClick=${() => change({ seed: String(Math.floor(Math.random() * 2 ** 32)), locked: true })}><${Icon} name="dice" />${say("page.pictures.seed.roll")}</button></div></div>
      ${options.loras.length > 0 && html`<div class="field"><label for="${id}l">LoRA</label><select id="${id}l" class="input" value=${w.lora} onChange=${put("lora")}><option value="">${say("page.pictures.lora.none")}</option>${options.loras.map((l) => html`<option key=${l} value=${l}>${l}</option>`)}</select></div>
      <div class="field"><label for="${id}k">${say("page.pictures.lora.scale")}</label><input id="${id}k" class="input" type="number" min="-2" max="2" step="0.05" value=${w.lora_scale} onInput=${put("lora_scale")} /></div>`}
    </div></details>
    <button type="submit" class="button primary" disabled=${busy || !w.prompt.trim()}><${Icon} name="pictures" />${say(going ? "page.pictures.draw.next" : "page.pictures.draw")}</button>
  </form>`;
}

/** @param {{size: string}} props */
function Shape({ size }) {
  const [width, height] = size === "auto" ? [1, 1] : size.split("x").map(Number);
  const most = Math.max(width, height);
  return html`<svg class="pictures-shape" viewBox="0 0 20 20" aria-hidden="true"><rect x=${10 - (8 * width) / most} y=${10 - (8 * height) / most} width=${(16 * width) / most} height=${(16 * height) / most} rx="2" /></svg>`;
}

/** A picture to start from: dropped, or chosen. @param {{start: {name: string, data: string} | null, strength: number, put: (name: string) => any}} props */
function Start({ start, strength, put }) {
  const id = useId();
  const [over, setOver] = useState(false);
  /** @param {FileList | null | undefined} files */
  const take = (files) => {
    const file = [...(files ?? [])].find((f) => f.type.startsWith("image/"));
    if (file) startFrom(file).catch(report);
  };
  /** @param {DragEvent} event */
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer?.files);
  };
  if (start) return html`<div class="pictures-start row"><img src=${start.data} alt="" /><div class="grow stack tight">
      <span class="cut" title=${start.name}>${start.name}</span>
      <label class="field"><span class="label">${say("page.pictures.strength", { n: percent(Number(strength)) })}</span><input type="range" min="0.05" max="1" step="0.05" value=${strength} onInput=${put("strength")} /></label></div>
      <button type="button" class="ghost icon-only" onClick=${() => (from.value = null)}><${Icon} name="close" label=${say("page.pictures.start.remove")} /></button></div>`;
  return html`<label class="pictures-drop ${over ? "over" : ""}" for=${id} onDragOver=${(/** @type {DragEvent} */ e) => (e.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <${Icon} name="attach" /><span>${say("page.pictures.start")}</span>
    <input id=${id} class="sr" type="file" accept="image/png,image/jpeg,image/gif,image/bmp" onChange=${(/** @type {any} */ e) => take(e.target.files)} /></label>`;
}
