/** An icon of the sprite (`static/icons.svg`), beside words that say the same. */
import { html } from "./preact.js";
import { state } from "./state.js";

/** @param {{name: string, label?: string}} props `label` where no words stand beside it */
export function Icon({ name, label }) {
  const href = `${state.base}/icons.svg#${name}`;
  return label
    ? html`<svg class="icon" role="img" aria-label=${label}><title>${label}</title><use href=${href} /></svg>`
    : html`<svg class="icon" aria-hidden="true"><use href=${href} /></svg>`;
}
