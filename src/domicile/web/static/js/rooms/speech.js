/** Speech: the models that can, here and recommended. */
import { say } from "../lib/i18n.js";
import { html, render } from "../lib/preact.js";
import { Able } from "./able.js";

const TASKS = ["automatic-speech-recognition", "text-to-speech"];

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Able} need="speech" tasks=${TASKS} intro=${say("page.speech.intro")} />`, place);
