/** Conversations by when somebody last spoke in them. Needs no page. */

/** @typedef {import("./conversation.js").Chat} Chat */
/** @typedef {"today" | "yesterday" | "week" | "month" | "older"} When */

const DAY_S = 86400;

/** The day of a moment, by the clock of this browser: its beginning, in seconds. @param {number} moment */
const dayOf = (moment) => new Date(moment * 1000).setHours(0, 0, 0, 0) / 1000;

/** @param {number} moment seconds since 1970 @param {number} now @returns {When} */
export function when(moment, now) {
  const days = Math.round((dayOf(now) - dayOf(moment)) / DAY_S);
  return days <= 0 ? "today" : days === 1 ? "yesterday" : days < 7 ? "week" : days < 30 ? "month" : "older";
}

/** In groups, in the order they come. @param {Chat[]} chats @param {number} now @returns {{name: When, chats: Chat[]}[]} */
export function groupsOf(chats, now) {
  /** @type {{name: When, chats: Chat[]}[]} */
  const groups = [];
  for (const chat of chats) {
    const name = when(chat.updated_at, now);
    const last = groups.at(-1);
    if (last?.name === name) last.chats.push(chat);
    else groups.push({ name, chats: [chat] });
  }
  return groups;
}

/** A list with a chat put where it belongs by time; one that is older than all of a list that goes on is left to its page.
 * @param {Chat[]} chats @param {Chat} chat @param {boolean} goesOn @returns {Chat[]} */
export function placed(chats, chat, goesOn) {
  const others = chats.filter((one) => one.id !== chat.id);
  const at = others.findIndex((one) => one.updated_at <= chat.updated_at);
  if (at >= 0) return others.toSpliced(at, 0, chat);
  return goesOn ? others : [...others, chat];
}
