/** What this browser computes for a conversation; how is `tab.js`, which comes when it is needed. */
import { signal } from "../../lib/store.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {{talk: Conversation, model: string, text: string, thought: string, share: number | null, leave: AbortController, trouble: any}} Coming */

/** What this browser is computing, or why it could not. @type {import("../../lib/store.js").Signal<Coming | null>} */
export const computed = signal(/** @type {Coming | null} */ (null));
