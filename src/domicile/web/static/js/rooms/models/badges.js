/** "Does it fit?" for repositories one looks at: asked when a row comes into sight, two at a time, once each. */
import { get } from "../../lib/api.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { Speed, Verdict } from "./parts.js";

/** @typedef {import("./judged.js").Report & {label: string, size_bytes: number}} Best */

const AT_ONCE = 2;
/** @type {Map<string, Promise<Best | null>>} */
const asked = new Map();
/** @type {(() => void)[]} */
const waiting = [];
let busy = 0;

/** @param {string} repository @returns {Promise<Best | null>} the variant that is recommended here */
function bestOf(repository) {
  const known = asked.get(repository);
  if (known) return known;
  const fresh = turn(async () => {
    const found = await get(`/domicile/repository?model=${encodeURIComponent(repository)}&fresh=3600`);
    return found.variants.find((/** @type {Best} */ v) => v.label === found.best) ?? found.variants[0] ?? null;
  }).catch(() => null); // a row without its badge is a row still
  asked.set(repository, fresh);
  return fresh;
}

/** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
async function turn(work) {
  if (busy >= AT_ONCE) await new Promise((go) => waiting.push(() => go(undefined)));
  busy++;
  try {
    return await work();
  } finally {
    busy--;
    waiting.shift()?.();
  }
}

/** @param {{repository: string, best: Best | null, able: boolean}} props `best`: known already, from a search that asked; `able`: there is something to judge */
export function Fit({ repository, best, able }) {
  const [found, setFound] = useState(best);
  const [looked, setLooked] = useState(!!best || !able);
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (looked || !place.current) return;
    let here = true;
    const watch = new IntersectionObserver((seen) => {
      if (!seen.some((s) => s.isIntersecting)) return;
      watch.disconnect();
      bestOf(repository).then((b) => here && (setFound(b), setLooked(true)));
    });
    watch.observe(place.current);
    return () => {
      here = false;
      watch.disconnect();
    };
  }, [repository]);
  return html`<span class="fit" ref=${place}>${found
    ? html`<${Verdict} report=${found} /><span class="small num">${found.label}</span><span class="small"><${Speed} speed=${found.tokens_per_second} why=${found.speed_why} /></span>`
    : !looked && html`<span class="badge quiet pending" aria-hidden="true"> </span>`}</span>`;
}
