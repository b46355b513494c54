/** The drawing that goes on: asked for, followed from wherever the page is, stopped. And what is wished of the next one. */
import { get, post } from "../../lib/api.js";
import { announce } from "../../lib/a11y.js";
import { say } from "../../lib/i18n.js";
import { listen } from "../../lib/sse.js";
import { kept, signal } from "../../lib/store.js";
import { report } from "../../lib/toast.js";

/** @typedef {{id: string, url: string, prompt: string, negative: string, model: string, width: number, height: number, steps: number,
 *   seed: number, guidance: number, sampler: string, seconds: number, step_seconds: number | null, made_at: number, size_bytes: number,
 *   strength: number | null, loras: {name: string, scale: number}[]}} Picture */
/** @typedef {{id: string, model: string, prompt: string, n: number, state: string, index: number, step: number, steps: number, seconds?: number,
 *   position: number | null, preview: string | null, pictures: Picture[], error: any}} Drawing */
/** @typedef {{models: {name: string, size_bytes: number, active: boolean}[], loras: string[], samplers: string[], sizes: string[],
 *   engine: {name: string, state: string, download_bytes: number, disk_bytes: number, seconds: number}}} Options */

/** What is wished; kept between visits, but for the picture to start from. */
export const wish = kept("pictures", {
  model: "", prompt: "", negative: "", size: "auto", steps: "", seed: "", locked: false, sampler: "default", guidance: "", n: 1,
  lora: "", lora_scale: 0.8, strength: 0.75,
});

/** The picture to start from, as a data address. @type {import("../../lib/store.js").Signal<{name: string, data: string} | null>} */
export const from = signal(/** @type {{name: string, data: string} | null} */ (null));

/** @type {import("../../lib/store.js").Signal<Drawing | null>} */
export const current = signal(/** @type {Drawing | null} */ (null));

/** Pictures made since the page was opened, newest first. @type {import("../../lib/store.js").Signal<Picture[]>} */
export const fresh = signal(/** @type {Picture[]} */ ([]));

/** @param {Drawing} drawing */
export const goes = (drawing) => drawing.state === "waiting" || drawing.state === "drawing";

/** @param {Partial<typeof wish.value>} change */
export const change = (change) => (wish.value = { ...wish.value, ...change });

/** Ask for what is wished. */
export async function begin() {
  const w = wish.value;
  const seed = w.seed === "" || !w.locked ? Math.floor(Math.random() * 2 ** 32) : Number(w.seed);
  change({ seed: String(seed) });
  /** @type {Record<string, unknown>} */
  const said = { prompt: w.prompt, negative_prompt: w.negative, size: w.size, seed, sampler: w.sampler, n: w.n };
  if (w.model) said.model = w.model;
  if (w.steps) said.steps = Number(w.steps);
  if (w.guidance !== "") said.guidance = Number(w.guidance);
  if (w.lora) said.loras = [{ name: w.lora, scale: Number(w.lora_scale) }];
  if (from.value) [said.image, said.strength] = [from.value.data, Number(w.strength)];
  follow(await post("/domicile/images", said));
}

/** Find again a drawing that goes on. */
export async function rejoin() {
  try {
    const { drawings } = await get("/domicile/images/drawings");
    const going = drawings.find(goes);
    if (going && !current.value) follow(going);
  } catch (trouble) {
    report(trouble);
  }
}

/** @param {Drawing} drawing */
function follow(drawing) {
  current.value = drawing;
  let known = new Set(drawing.pictures.map((p) => p.id));
  /** @param {Drawing} now */
  const take = (now) => {
    for (const picture of now.pictures) if (!known.has(picture.id)) add(picture);
    current.value = { ...now, preview: now.preview ?? null };
  };
  /** @param {Picture} picture */
  const add = (picture) => {
    known = new Set([...known, picture.id]);
    fresh.value = [picture, ...fresh.value];
  };
  const stop = listen(`/domicile/images/drawings/${drawing.id}/events`, {
    snapshot: (now) => {
      take(now);
      if (!goes(now)) stop();
    },
    state: take,
    step: (step) => {
      if (current.value) current.value = { ...current.value, ...step, state: "drawing", preview: step.preview ?? current.value.preview };
    },
    picture: (picture) => {
      add(picture);
      if (current.value) current.value = { ...current.value, pictures: [...current.value.pictures, picture], preview: null };
    },
    over: (now) => {
      take(now);
      stop();
      announce(say(`page.pictures.state.${/** @type {string} */ (now.state)}`));
    },
  });
}

/** Stop the drawing after the step it is at. */
export async function halt() {
  if (current.value) await post(`/domicile/images/drawings/${current.value.id}/stop`);
}

/** Wish again for what a picture was made with. @param {Picture} picture */
export function reuse(picture) {
  change({
    model: picture.model, prompt: picture.prompt, negative: picture.negative ?? "", size: `${picture.width}x${picture.height}`,
    steps: String(picture.steps), seed: String(picture.seed), locked: true, sampler: picture.sampler, guidance: String(picture.guidance),
    lora: picture.loras?.[0]?.name ?? "", lora_scale: picture.loras?.[0]?.scale ?? 0.8,
  });
}

/** A file as a data address. @param {File} file */
export async function startFrom(file) {
  const data = await new Promise((resolve, refuse) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => refuse(reader.error);
    reader.readAsDataURL(file);
  });
  from.value = { name: file.name, data };
}
