/** The pictures that were kept: small ones in a grid; one of them large, with how it was made and what can be done with it. */
import { ask, get, remove } from "../../lib/api.js";
import { confirm, Dialog, open } from "../../lib/dialog.js";
import { ago, duration, number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { fresh, reuse, startFrom } from "./drawing.js";

const PAGE = 60;

/** @typedef {import("./drawing.js").Picture} Picture */

/** @param {{quiet: boolean}} props */
export function Gallery({ quiet }) {
  const [older, setOlder] = useState(/** @type {Picture[] | null} */ (null));
  const [more, setMore] = useState(false);
  const [gone, setGone] = useState(/** @type {Set<string>} */ (new Set()));
  const made = use(fresh);
  const load = async () => {
    const last = older?.at(-1)?.id;
    const { pictures } = await get(`/domicile/images?limit=${PAGE}${last ? `&before=${last}` : ""}`);
    setOlder([...(older ?? []), ...pictures]);
    setMore(pictures.length === PAGE);
  };
  useEffect(() => void load().catch(report), []);
  const known = new Set(made.map((p) => p.id));
  const all = [...made, ...(older ?? []).filter((p) => !known.has(p.id))].filter((p) => !gone.has(p.id));
  /** @param {Picture} picture */
  const show = async (picture) => {
    const done = await open(Large, { picture });
    if (done === "deleted") setGone(new Set([...gone, picture.id]));
  };
  if (older === null || (quiet && all.length === 0)) return null;
  if (all.length === 0) return html`<div class="empty"><${Icon} name="pictures" /><p>${say("page.pictures.empty")}</p></div>`;
  return html`<section class="stack"><h2>${say("page.pictures.gallery")}</h2>
    <ul class="pictures-grid">${all.map((p) => html`<li key=${p.id}><button type="button" onClick=${() => show(p)}><img src=${p.url} alt=${p.prompt || say("page.pictures.untitled")} loading="lazy" width=${p.width} height=${p.height} /></button></li>`)}</ul>
    ${more && html`<div><button type="button" class="button" onClick=${() => load().catch(report)}>${say("page.pictures.older")}</button></div>`}</section>`;
}

/** @param {{picture: Picture, close: (done?: string) => void}} props */
function Large({ picture: p, close }) {
  const drop = async () => {
    const sure = await confirm({ title: say("page.pictures.delete"), text: say("page.pictures.delete.sure"), yes: say("page.pictures.delete"), danger: true });
    if (!sure) return;
    await remove(`/domicile/images/${p.id}`);
    close("deleted");
  };
  const again = () => {
    reuse(p);
    close();
    toast(say("page.pictures.reused"), { kind: "good" });
    document.querySelector(".pictures-form")?.scrollIntoView({ block: "start" });
  };
  const start = async () => {
    const bytes = await (await ask(p.url)).blob();
    await startFrom(new File([bytes], `${p.seed}.png`, { type: "image/png" }));
    close();
  };
  /** @type {[string, any][]} */
  const facts = [
    ["model", p.model], ["negative", p.negative], ["size", `${p.width} × ${p.height}`], ["steps", p.steps], ["seed", p.seed],
    ["sampler", p.sampler === "default" ? say("page.pictures.sampler.own") : p.sampler], ["guidance", p.guidance !== null && number(p.guidance, 1)],
    ["loras", p.loras?.map((l) => `${l.name} (${number(l.scale, 2)})`).join(", ")],
    ["time", p.seconds && say("page.pictures.time.text", { time: duration(p.seconds), step: number(p.step_seconds ?? 0, 2) })],
    ["made", `${ago(p.made_at)} · ${size(p.size_bytes)}`],
  ];
  const foot = html`<button type="button" class="button danger" onClick=${() => drop().catch(report)}><${Icon} name="trash" />${say("page.pictures.delete")}</button>
    <a class="button" href=${p.url} download="domicile-${p.seed}.png"><${Icon} name="download" />${say("page.pictures.save")}</a>
    <button type="button" class="button" onClick=${() => start().catch(report)}><${Icon} name="attach" />${say("page.pictures.use")}</button>
    <button type="button" class="button primary" data-first onClick=${again}><${Icon} name="refresh" />${say("page.pictures.reuse")}</button>`;
  return html`<${Dialog} title=${p.prompt || say("page.pictures.untitled")} onClose=${() => close()} foot=${foot}>
    <a class="pictures-large" href=${p.url} target="_blank" rel="noopener"><img src=${p.url} alt=${p.prompt} width=${p.width} height=${p.height} /></a>
    <dl class="facts">${facts.filter(([, shown]) => shown).map(([name, shown]) => html`<dt key=${name}>${say(`page.pictures.fact.${name}`)}</dt><dd>${shown}</dd>`)}</dl>
  <//>`;
}
