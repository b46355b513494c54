/** Tabs whose choice is in the address (`#what`), so that one can link to each. */
import { arrows } from "./a11y.js";
import { html, useEffect, useState } from "./preact.js";

/** @param {{tabs: {name: string, label: string, draw: () => any}[], label: string}} props */
export function Tabs({ tabs, label }) {
  const named = () => tabs.find((t) => t.name === decodeURIComponent(location.hash.slice(1)))?.name ?? tabs[0].name;
  const [chosen, choose] = useState(named);
  useEffect(() => {
    const look = () => choose(named());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  /** @param {string} name */
  const show = (name) => {
    history.replaceState(null, "", `#${name}`);
    choose(name);
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const turned = { ArrowRight: "ArrowDown", ArrowLeft: "ArrowUp" }[event.key] ?? event.key;
    const list = /** @type {HTMLElement} */ (event.currentTarget);
    arrows(/** @type {any} */ ({ key: turned, preventDefault: () => event.preventDefault() }), [.../** @type {any} */ (list.children)]);
    const now = /** @type {HTMLElement | null} */ (document.activeElement);
    if (now?.dataset.tab) show(now.dataset.tab);
  };
  const open = tabs.find((t) => t.name === chosen) ?? tabs[0];
  return html`<div class="stack loose">
    <div class="tabs" role="tablist" aria-label=${label} onKeyDown=${keys}>${tabs.map((t) => html`<button type="button" key=${t.name} id="tab-${t.name}" role="tab" data-tab=${t.name}
      aria-selected=${t === open ? "true" : "false"} aria-controls="panel-${t.name}" tabindex=${t === open ? 0 : -1} onClick=${() => show(t.name)}>${t.label}</button>`)}</div>
    <div class="stack loose" role="tabpanel" key=${open.name} id="panel-${open.name}" aria-labelledby="tab-${open.name}">${open.draw()}</div>
  </div>`;
}
