/**
 * The one shape of what answers, wherever it computes.
 *
 * @typedef {{text: string, thought: string, by: string | null, facts: {tokens: number | null, perSecond: number | null, finish: string | null} | null}} Part A piece of an answer, as it comes.
 * @typedef {{role: string, content: string}} Message
 * @typedef {{name: string, engine: string | null, format: string, size_bytes: number, quantisation: string | null, task: string | null,
 *   entry: string | null, files: {name: string, size_bytes: number}[], why: string | null, record?: Record<string, any>, dtype?: string,
 *   folder?: string, model_type?: string}} Model What `GET /domicile/tab` says of one.
 * @typedef {{loaded: number, total: number | null, step: "fetch" | "prepare"}} Progress Bytes while it fetches; a share of 1 while it prepares, where that is known.
 * @typedef {{onProgress?: (now: Progress) => void, signal?: AbortSignal, quietMs?: number, threads?: number, context?: number}} LoadOptions
 * @typedef {{signal?: AbortSignal, maxTokens?: number, temperature?: number, strategy?: string}} ChatOptions
 * @typedef {{id: string, engine: string, name: string, size_bytes: number, whole: boolean}} Kept What lies in this browser: `id` is for `forget`.
 * @typedef {{able: boolean, why: string | null, facts?: Record<string, unknown>}} Ability
 *
 * @typedef {object} Engine
 * @property {string} name
 * @property {() => Promise<Ability>} able can it run in this browser, and why not (`page.error.tab.<why>`)
 * @property {(model: Model, options?: LoadOptions) => Promise<void>} load fetches what is not kept, and makes it ready; never waits in silence for longer than `quietMs`
 * @property {(messages: Message[], options?: ChatOptions) => AsyncGenerator<Part>} chat
 * @property {() => Promise<void>} abort stops the answer that is coming
 * @property {() => Promise<void>} unload gives the memory back; what is kept stays
 * @property {() => Promise<Kept[]>} kept
 * @property {(id: string) => Promise<void>} forget
 */
export {};
