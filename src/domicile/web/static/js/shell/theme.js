/** Light, dark or as the system has it: changed at once, kept by the same cookie the server reads. */
import { announce } from "../lib/a11y.js";

export function themes() {
  const group = /** @type {HTMLElement} */ (document.getElementById("themes"));
  group.addEventListener("click", (event) => {
    const link = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("[data-theme-choice]"));
    if (!link) return;
    event.preventDefault();
    const theme = link.dataset.themeChoice ?? "auto";
    document.documentElement.dataset.theme = theme;
    document.querySelector('meta[name="color-scheme"]')?.setAttribute("content", theme === "auto" ? "light dark" : theme);
    document.cookie = `domicile_theme=${theme}; Max-Age=${400 * 86400}; Path=/; SameSite=Strict`;
    for (const one of group.children) one.toggleAttribute("aria-current", false);
    link.setAttribute("aria-current", "true");
    announce(link.title);
    document.dispatchEvent(new CustomEvent("domicile:theme", { detail: theme }));
  });
}
