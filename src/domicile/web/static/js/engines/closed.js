/** The page with the house closed: a service worker keeps the page, if the person wants it. */
import { kept } from "../lib/store.js";

/** What the person said: null while nothing was said. @type {import("../lib/store.js").Signal<boolean | null>} */
export const wanted = kept("tab.closed", /** @type {boolean | null} */ (null));

export const possible = () => "serviceWorker" in navigator && isSecureContext;

/** Does the page stay? */
export async function stays() {
  return possible() && (await navigator.serviceWorker.getRegistration("/"))?.active != null;
}

/** Keep the page of this version, and of those to come. Resolves once it is kept. */
export async function stay() {
  const mine = await navigator.serviceWorker.register("/sw.js", { scope: "/", updateViaCache: "none" });
  await navigator.serviceWorker.ready;
  return mine;
}

/** Forget the page: the worker goes, and what it kept with it. */
export async function leave() {
  for (const one of await navigator.serviceWorker.getRegistrations()) await one.unregister();
  for (const name of await caches.keys()) if (name.startsWith("domicile-page-")) await caches.delete(name);
}
