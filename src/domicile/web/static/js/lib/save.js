/** What the house gives as a file: saved, or shown as a picture. Asked like everything else, so that keys go along. */
import { ask } from "./api.js";

/** Save what an address gives, under the name the house gives it. @param {string} path @param {string} [name] */
export async function save(path, name) {
  const answer = await ask(path);
  const said = answer.headers.get("content-disposition")?.match(/filename\*=UTF-8''([^;]+)/)?.[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name ?? decodeURIComponent(said ?? "domicile");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** An address for `<img>` of what an address of the house gives; to be revoked. @param {string} path @param {AbortSignal} [signal] */
export async function picture(path, signal) {
  return URL.createObjectURL(await (await ask(path, { signal })).blob());
}
