/** Every variant of a repository as one table. */
import { number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report } from "../../lib/toast.js";
import { activate, choices } from "../../shell/house.js";
import { lossOf } from "./judged.js";
import { Get, Memory, Speed, Verdict } from "./parts.js";

/** @typedef {import("./repository.js").Repository} Repository */
/** @typedef {import("./repository.js").Variant} Variant */

/** @param {{table: Repository, chosen: string | null, choose: (label: string) => void, elsewhere: string | null}} props */
export function Variants({ table, chosen, choose, elsewhere }) {
  const columns = ["quantisation", "size", "loss", "memory", "speed", "verdict"];
  return html`<div class="table-wrap"><table class="table folds variants">
    <caption class="sr">${say("page.models.variants.caption", { name: table.repository })}${elsewhere ? ` ${say("page.models.on.other", { name: elsewhere })}` : ""}</caption>
    <thead><tr>${columns.map((c) => html`<th scope="col" key=${c} class=${["size"].includes(c) ? "end" : ""} title=${c === "loss" ? say("page.models.loss.why") : undefined}>${say(`page.models.column.${c}`)}</th>`)}<th scope="col"><span class="sr">${say("page.models.deeds")}</span></th></tr></thead>
    <tbody>${table.variants.map((v) => html`<${Row} key=${v.label} repository=${table.repository} variant=${v} best=${v.label === table.best} chosen=${v.label === chosen} choose=${choose} />`)}</tbody>
  </table></div>`;
}

/** @param {{repository: string, variant: Variant, best: boolean, chosen: boolean, choose: (label: string) => void}} props */
function Row({ repository, variant: v, best, chosen, choose }) {
  const mine = use(choices)?.installed.find((m) => m.name.toLowerCase() === `${repository}:${v.label}`.toLowerCase());
  const here = mine && html`<button type="button" class="button small" onClick=${() => activate(mine.name).catch(report)}><${Icon} name="check" />${say("page.models.activate")}<span class="sr"> ${mine.name}</span></button>`;
  return html`<tr class=${[best ? "best" : "", chosen ? "chosen" : ""].join(" ")}>
    <th scope="row"><button type="button" class="pick" aria-pressed=${chosen} title=${say("page.models.variant.pick")} onClick=${() => choose(v.label)}>${v.label}</button>
      ${best && html` <span class="badge accent"><${Icon} name="star" />${say("page.models.best")}</span>`}
      ${v.files.length > 1 && html` <span class="small muted">${say("page.models.files", { n: v.files.length })}</span>`}</th>
    <td class="end num" data-label=${say("page.models.column.size")}>${size(v.size_bytes)}</td>
    <td data-label=${say("page.models.column.loss")}><${Loss} loss=${v.quality_loss} bits=${v.bits_per_weight} /></td>
    <td data-label=${say("page.models.column.memory")}><${Memory} report=${v} /></td>
    <td data-label=${say("page.models.column.speed")}><${Speed} speed=${v.tokens_per_second} why=${v.speed_why} /></td>
    <td data-label=${say("page.models.column.verdict")}><span class="verdict"><${Verdict} report=${v} />${v.verdict !== "fits" && html`<span class="why small muted">${v.why[0]}</span>`}</span></td>
    <td class="end deed"><${Get} reference=${`${repository}:${v.label}`} primary=${best} here=${here} /></td>
  </tr>`;
}

/** @param {{loss: number | null, bits: number}} props */
function Loss({ loss, bits }) {
  const word = lossOf(loss);
  const title = say("page.models.bits", { bits: number(bits, 1) });
  if (!word || loss === null) return html`<span class="muted" title=${title}>–</span>`;
  return html`<span class="loss" data-loss=${word} title=${title}>${say(`page.models.loss.${word}`)}<span class="small muted num">${loss < 0.05 ? "" : say("page.models.loss.rise", { rise: number(loss, loss < 1 ? 1 : 0) })}</span></span>`;
}
