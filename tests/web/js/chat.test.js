import assert from "node:assert/strict";
import { test } from "node:test";
import { groupsOf, placed, when } from "../../../src/domicile/web/static/js/rooms/chat/groups.js";
import { fromMarkdown } from "../../../src/domicile/web/static/js/rooms/chat/markdown.js";
import { gauge, newestLeaf, pathTo, versions } from "../../../src/domicile/web/static/js/rooms/chat/tree.js";

/** @param {...[string, string | null, string, number?]} rows */
const tree = (...rows) => new Map(rows.map(([id, parent, role, created_at = 0]) => [id, { id, parent, role, created_at, prompt_tokens: null }]));

test("a branch is walked from its end, a circle is not walked for ever", () => {
  const all = tree(["q", null, "user"], ["a", "q", "assistant"], ["b", "q", "assistant", 1], ["q2", "b", "user"]);
  assert.deepEqual(pathTo(all, "q2").map((m) => m.id), ["q", "b", "q2"]);
  assert.equal(newestLeaf(all, "q"), "q2");
  assert.equal(newestLeaf(all, "a"), "a");
  const circle = tree(["x", "y", "user"], ["y", "x", "assistant"]);
  assert.equal(pathTo(circle, "x").length, 2);
  newestLeaf(circle, "x");
});

test("answers asked for at once are one version, questions are one each", () => {
  const all = tree(["q", null, "user", 5], ["p", null, "user", 5], ["a", "q", "assistant", 1], ["b", "q", "assistant", 1], ["c", "q", "assistant", 2]);
  const { all: found, at } = versions(all, all.get("c"));
  assert.deepEqual(found.map((g) => g.map((m) => m.id)), [["a", "b"], ["c"]]);
  assert.equal(at, 1);
  assert.equal(versions(all, all.get("q")).all.length, 2);
});

test("the gauge says what the last answer knew", () => {
  const answer = { role: "assistant", prompt_tokens: 900, completion_tokens: 100, context: 4000 };
  assert.deepEqual(gauge([answer]), { used: 1000, of: 4000, share: 0.25 });
  assert.equal(gauge([]), null);
});

test("conversations are grouped by the days of this place and put where they belong", () => {
  const now = new Date(2026, 10, 21, 9).getTime() / 1000;
  const at = (...when) => new Date(...when).getTime() / 1000;
  assert.equal(when(at(2026, 10, 21, 0, 1), now), "today");
  assert.equal(when(at(2026, 10, 20, 23, 59), now), "yesterday");
  assert.equal(when(at(2026, 10, 15), now), "week");
  assert.equal(when(at(2026, 9, 30), now), "month");
  assert.equal(when(at(2020, 0, 1), now), "older");
  const chats = [{ id: "a", updated_at: now }, { id: "b", updated_at: now - 10 }, { id: "c", updated_at: 0 }];
  assert.deepEqual(groupsOf(chats, now).map((g) => [g.name, g.chats.length]), [["today", 2], ["older", 1]]);
  assert.deepEqual(placed(chats, { id: "c", updated_at: now + 1 }, false).map((c) => c.id), ["c", "a", "b"]);
  assert.deepEqual(placed(chats, { id: "d", updated_at: -1 }, true).length, 3);
});

test("a conversation is read back from Markdown, a document's chapters are not taken for messages", () => {
  const said = fromMarkdown("# Title\n\n## Vous\n\nBonjour\n\n## graine (nas)\n\n<details>\n<summary>R</summary>\n\nHm.\n\n</details>\n\nVoilà\n", "Vous");
  assert.equal(said.title, "Title");
  assert.deepEqual(said.messages, [{ role: "user", text: "Bonjour" }, { role: "assistant", text: "Voilà", model: "graine (nas)", reasoning: "Hm." }]);
  assert.deepEqual(fromMarkdown("# Doc\n\n## Chapter\n\ntext", "You").messages, []);
});
