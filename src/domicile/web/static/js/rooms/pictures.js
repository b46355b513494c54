/** Pictures: the models that can, here and recommended. */
import { say } from "../lib/i18n.js";
import { html, render } from "../lib/preact.js";
import { Able } from "./able.js";

const TASKS = ["text-to-image", "image-to-image"];

/** @param {HTMLElement} place */
export const mount = (place) => render(html`<${Able} need="image" tasks=${TASKS} intro=${say("page.pictures.intro")} />`, place);
