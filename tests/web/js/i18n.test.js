import assert from "node:assert/strict";
import { test } from "node:test";
import { count, duration, number, percent, plural, say, size, speak } from "../../../src/domicile/web/static/js/lib/i18n.js";

const words = { "a.one": "{n:number} model, {size:bytes}", "a.other": "{n:number} models, {size:bytes}", b: "{{literal}} {x}" };

test("a sentence takes the form its number asks for, by the rules of the language", () => {
  speak("en", words);
  assert.equal(say("a", { n: 1, size: 4_920_000_000 }), "1 model, 4.92 GB");
  assert.equal(say("a", { n: 0, size: 999 }), "0 models, 999 B".replace("999 B", size(999)));
  speak("fr", words);
  assert.deepEqual([0, 1, 1.5, 2].map(plural), ["one", "one", "one", "other"]);
});

test("braces, unknown facts and missing keys are shown, never hidden", () => {
  speak("en", words);
  assert.equal(say("b", {}), "{literal} ?");
  assert.equal(say("no.such.key"), "no.such.key");
});

test("numbers are written as the reader writes them", () => {
  speak("fr", {});
  assert.match(size(4_920_000_000), /^4,92\sGo$/u);
  assert.match(number(12345), /^12\s345$/u);
  assert.match(percent(0.5), /^50\s%$/u);
  assert.match(count(7_620_000_000), /^7,62\sMd$/u);
  speak("en", {});
  assert.equal(size(57_700_000), "57.7 MB");
  assert.equal(duration(3725), "1\u00a0h 02\u00a0min");
  assert.equal(duration(Infinity), "∞");
});
