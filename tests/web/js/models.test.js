import assert from "node:assert/strict";
import { test } from "node:test";
import { barOf, firstOf, listed, lossOf, paceOf, speedOf, toneOf } from "../../../src/domicile/web/static/js/rooms/models/judged.js";
import { dayOf, hrefOf, isName, queryOf, repositoryOf, whereOf } from "../../../src/domicile/web/static/js/rooms/models/where.js";

test("an address says where one is, and the same place has the same address", () => {
  for (const href of [
    "/models",
    "/models?tab=search&text=qwen+coder&fits=true",
    "/models?repository=org/repo&context=8192&on=RTX+4090",
    "/models?model=org/repo:Q4_K_M",
    "/models?tab=compare&m=org/a:Q4_K_M&m=graine",
  ]) assert.equal(hrefOf(whereOf(href.slice("/models".length))), href);
  assert.equal(whereOf("?tab=nonsense").tab, "recommended");
  assert.equal(whereOf("?repository=a/b").tab, "search");
  assert.deepEqual(whereOf("?m=a&m=a&m=").models, ["a"]);
});

test("what is asked of the API is what the address says, and nothing else", () => {
  assert.equal(queryOf({ text: "a b", need: "code", fits: "true" }), "text=a+b&fits=true");
  assert.equal(queryOf({ text: "x" }, "CURSOR"), "text=x&cursor=CURSOR");
  assert.equal(dayOf("7d", Date.UTC(2026, 10, 21)), "2026-11-14");
  assert.equal(dayOf("2026-01-01"), "2026-01-01");
});

test("a name is told from words", () => {
  for (const name of ["org/repo", "org/repo:Q4_K_M", "hf.co/org/repo", "https://example.org/x.gguf", "ollama:llama3.2:3b"]) assert.ok(isName(name), name);
  for (const words of ["qwen", "a small model", "llama 3/4", "<img src=x>", "../../etc"]) assert.ok(!isName(words), words);
  assert.equal(repositoryOf("https://huggingface.co/org/repo/blob/main/x.gguf"), "org/repo");
  assert.equal(repositoryOf("org/repo:Q8_0"), "org/repo");
  assert.equal(repositoryOf("graine"), null);
  assert.equal(repositoryOf("https://example.org/x.gguf"), null);
  assert.equal(repositoryOf("ollama:llama3.2:3b"), null);
});

const report = (/** @type {object} */ more) => ({ total_bytes: 10e9, available_bytes: 16e9, weights_bytes: 7e9, kv_bytes: 2e9, state_bytes: 0, ...more });

test("a bar shows three parts against the room there is, and never more than the bar", () => {
  const bar = barOf(/** @type {any} */ (report({})));
  assert.deepEqual(bar?.segments.map((s) => [s.part, s.bytes]), [["weights", 7e9], ["context", 2e9], ["buffers", 1e9]]);
  assert.equal(bar?.mark, 0.8);
  assert.equal(bar?.over, false);
  const over = barOf(/** @type {any} */ (report({ total_bytes: 90e9, weights_bytes: 80e9 })));
  assert.equal(over?.over, true);
  assert.ok((over?.segments.reduce((sum, s) => sum + s.share, 0) ?? 2) <= 1.0001);
  assert.equal(barOf(/** @type {any} */ (report({ total_bytes: null }))), null);
  const unknown = barOf(/** @type {any} */ (report({ available_bytes: null })));
  assert.equal(unknown?.mark, null);
});

test("verdicts, speeds and losses have a tone, unknown has none", () => {
  assert.deepEqual(["fits", "tight", "no", "unknown", "smaller_quantisation"].map(toneOf), ["good", "warn", "bad", "", "bad"]);
  assert.deepEqual(speedOf({ low: 0.0312, high: 12.4 }), [0.03, 12]);
  assert.equal(speedOf({ low: null, high: 3 }), null);
  assert.deepEqual([[0.2, 3], [5, 9], [20, 40]].map(([low, high]) => paceOf({ low, high })), ["slow", "fair", "fast"]);
  assert.deepEqual([0.2, 2.8, 11, 57, null].map(lossOf), ["none", "little", "some", "much", null]);
});

test("the first proposal fits and can be read along; when none can, it is the quickest", () => {
  const one = (/** @type {number} */ parameters, /** @type {number} */ high, verdict = "fits", needs = ["balanced"]) => /** @type {any} */ ({ parameters, needs, year: 2025, here: { verdict, tokens_per_second: { low: high / 2, high } } });
  assert.equal(firstOf([one(1e9, 30), one(8e9, 10), one(14e9, 5), one(32e9, 20, "no"), one(20e9, 20, "fits", ["image"])])?.parameters, 8e9);
  assert.equal(firstOf([one(8e9, 2), one(1e9, 6)])?.parameters, 1e9);
  assert.equal(firstOf([one(8e9, 20, "no")]), null);
});

test("installed models are looked through and put in order, ten thousand of them at once", () => {
  const many = Array.from({ length: 10_000 }, (_, n) => ({ name: `org/model-${n}`, format: "gguf", size_bytes: n, quantisation: n % 2 ? "Q4_K_M" : "Q8_0", aliases: n === 7 ? ["seven"] : [], added_at: n, last_used_at: null, licence: null, repository: null, owners: [] }));
  assert.deepEqual(listed(many, "SEVEN", "name").map((m) => m.name), ["org/model-7"]);
  assert.equal(listed(many, "q4_k_m model-99", "size")[0].name, "org/model-9999");
  assert.equal(listed(many, "", "added")[0].name, "org/model-9999");
  assert.equal(listed(many, "<script>", "name").length, 0);
  assert.equal(many[0].name, "org/model-0"); // the list itself is left as it was
});
