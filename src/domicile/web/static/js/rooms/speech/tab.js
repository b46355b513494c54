/** Whisper in the browser itself: the sound is read and heard here, and goes nowhere. */
import { load, models, now, unload } from "../../engines/index.js";
import { language, percent, say } from "../../lib/i18n.js";
import { html } from "../../lib/preact.js";
import { use } from "../../lib/store.js";

const RATE = 16_000;

/** Models of the house that this browser can hear with. @returns {Promise<{name: string, tab: true}[]>} */
export const listeners = async () =>
  (await models()).models.filter((m) => m.task === "automatic-speech-recognition" && m.engine === "transformers" && !m.why).map(({ name }) => ({ name, tab: true }));

/** One channel at the rate of Whisper. @param {File} file @returns {Promise<Float32Array>} */
async function samplesOf(file) {
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  const mixed = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) sound.getChannelData(channel).forEach((value, at) => (mixed[at] += value / sound.numberOfChannels));
  return mixed;
}

/**
 * Write a file down in this tab, and tell each event as the house would.
 * @param {File} file @param {import("./index.js").Wish} wish @param {AbortSignal} signal @param {(event: any) => void} tell
 */
export async function heard(file, wish, signal, tell) {
  const samples = await samplesOf(file).catch(() => {
    throw Object.assign(new Error(say("page.speech.unreadable", { name: file.name })), { name: "TabError", hint: say("page.speech.unreadable.hint") });
  });
  signal.addEventListener("abort", () => unload(), { once: true }); // a segment that is being heard cannot be stopped otherwise
  await load(wish.model, { signal });
  const { transcribe } = await import("../../engines/transformers.js");
  const duration = samples.length / RATE;
  const spoken = wish.language || language(); // the library here guesses none
  const begun = performance.now();
  let id = 0;
  for await (const { text, start, end } of transcribe(samples, { language: spoken, translate: wish.translate, signal })) {
    if (text.trim()) tell({ segment: { id: id++, start, end, text: ` ${text.trim()}` }, duration });
  }
  tell({ language: spoken, duration, speed: duration / ((performance.now() - begun) / 1000) });
}

/** That the model comes into the tab. */
export function Coming() {
  const { phase, progress } = use(now);
  if (phase !== "loading") return null;
  const share = progress?.total ? percent(progress.loaded / progress.total) : "";
  return html`<p class="small muted" role="status"><span class="spinner" aria-hidden="true"></span> ${say("page.speech.in_tab.comes", { share })}</p>`;
}
