/** What engines keep in the browser's Cache API: listed by the model it belongs to, and deleted whole. */
import { folderOf, read } from "./place.js";

/** @param {string[]} names the caches of one engine @param {string} engine @returns {Promise<import("./types.js").Kept[]>} */
export async function keptIn(names, engine) {
  /** @type {Map<string, import("./types.js").Kept>} */
  const found = new Map();
  for (const name of names) {
    if (!(await caches.has(name))) continue;
    const cache = await caches.open(name);
    for (const request of await cache.keys()) {
      const ours = read(request.url);
      if (!ours) continue;
      const before = found.get(ours.name) ?? { id: ours.name, engine, name: ours.name, size_bytes: 0, whole: true };
      found.set(ours.name, { ...before, size_bytes: before.size_bytes + (await sizeOf(cache, request)) });
    }
  }
  return [...found.values()];
}

/** @param {Cache} cache @param {Request} request */
async function sizeOf(cache, request) {
  const answer = await cache.match(request);
  const said = Number(answer?.headers.get("content-length"));
  return said || (await answer?.blob())?.size || 0;
}

/** @param {string[]} names @param {string} model */
export async function forgetIn(names, model) {
  for (const name of names) {
    if (!(await caches.has(name))) continue;
    const cache = await caches.open(name);
    for (const request of await cache.keys()) if (request.url.startsWith(folderOf(model))) await cache.delete(request);
  }
}
