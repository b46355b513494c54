/**
 * Keeps the page of one version, so that a model in this browser answers with the house closed. `self.SHELL` stands
 * above this text when the house gives it (`/sw.js`): a new version is another text, which the browser notices.
 * Kept are files of the page and one page that names nobody; answers of the API and files of models are never kept here.
 */
const worker = /** @type {any} */ (self);
/** @type {{version: string, base: string, page: string, files: string[]}} */
const SHELL = worker.SHELL;
const NAME = `domicile-page-${SHELL.version}`;

worker.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(keepAll()));
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(takeOver()));
worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (request.mode === "navigate") event.respondWith(navigated(event));
  else if (url.pathname.startsWith(`${SHELL.base}/`)) event.respondWith(file(request));
});

async function keepAll() {
  const cache = await caches.open(NAME);
  await cache.addAll(SHELL.files);
  await keepPage(cache);
  await worker.skipWaiting();
}

async function takeOver() {
  for (const name of await caches.keys()) if (name.startsWith("domicile-page-") && name !== NAME) await caches.delete(name);
  await worker.clients.claim();
}

/** @param {Cache} cache */
async function keepPage(cache) {
  const answer = await fetch(SHELL.page, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (answer.ok && !answer.redirected) await cache.put(SHELL.page, answer);
}

/** From the house; where it does not answer, the page that is kept. Its language follows the one last seen. @param {any} event */
async function navigated(event) {
  const cache = await caches.open(NAME);
  try {
    const answer = await fetch(event.request);
    const before = await cache.match(SHELL.page);
    const lang = answer.headers.get("content-language");
    if (answer.ok && lang && lang !== before?.headers.get("content-language")) event.waitUntil(keepPage(cache).catch(() => {}));
    return answer;
  } catch (closed) {
    const before = await cache.match(SHELL.page);
    if (before) return before;
    throw closed;
  }
}

/** A file of this version never changes: kept when it is first used. @param {Request} request */
async function file(request) {
  const cache = await caches.open(NAME);
  const before = await cache.match(request.url);
  if (before) return before;
  const answer = await fetch(request);
  if (answer.status === 200) await cache.put(request.url, answer.clone());
  return answer;
}
