/** What the server said when it made the page. */

/**
 * @typedef {object} Choice A model of the library with its state.
 * @property {string} name
 * @property {string} format
 * @property {number} size_bytes
 * @property {string | null} quantisation
 * @property {string | null} task
 * @property {boolean} active
 * @property {boolean} pinned
 * @property {string[]} aliases
 * @property {string} state asleep, queued, waking, awake, sleeping, missing
 * @property {number | null} since
 */

/**
 * @typedef {object} State
 * @property {"en" | "fr"} lang
 * @property {"auto" | "light" | "dark"} theme
 * @property {string} room
 * @property {string} module
 * @property {string} base where `static/` is for this version: `/static/<digest>`
 * @property {string} version
 * @property {boolean} offline
 * @property {string} strategy
 * @property {{name: string, role: "admin" | "user"} | null} [account] who is signed in, where accounts are asked
 * @property {Choice | null} active
 * @property {Record<string, string>} words
 */

/** @type {State} */
export const state = typeof document === "undefined"
  ? /** @type {any} */ ({ lang: "en", words: {}, base: "/static" })
  : JSON.parse(document.getElementById("state")?.textContent || "{}");
