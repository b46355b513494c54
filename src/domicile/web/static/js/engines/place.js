/** Where the files of a model are for an engine in the browser: at the house, in the shape of the Hub. */
import { inPath } from "../lib/api.js";

const SHAPE = /^(.*)\/domicile\/files\/(.+)\/main\/(.+)$/;

/** The address of the model's folder, whole; `plain` without the Hub's `resolve/`, at whose sight wllama asks for more.
 * @param {string} name @param {boolean} [plain] */
export const folderOf = (name, plain = false) => `${location.origin}/domicile/files/${inPath(name)}${plain ? "" : "/resolve"}/main/`;

/** The model and the file of an address; null when it is none of ours. @param {string} url @returns {{name: string, file: string} | null} */
export function read(url) {
  const found = SHAPE.exec(url);
  return found && found[1] === location.origin ? { name: decodeURIComponent(found[2].replace(/\/resolve$/, "")), file: decodeURIComponent(found[3]) } : null;
}

/** A file of the engines' own, which lie beside the page. @param {string} file */
export const vendored = (file) => new URL(`../../vendor/${file}`, import.meta.url).href;
