import assert from "node:assert/strict";
import { test } from "node:test";
import { eventsOf } from "../../../src/domicile/web/static/js/lib/sse.js";

/** @param {string[]} pieces */
const streamed = async (pieces) => {
  const bytes = pieces.map((p) => new TextEncoder().encode(p));
  const stream = new ReadableStream({ start: (c) => (bytes.forEach((b) => c.enqueue(b)), c.close()) });
  const found = [];
  for await (const one of eventsOf(stream)) found.push(one);
  return found;
};

test("events are read wherever the network cuts them", async () => {
  const text = 'id: 7\nevent: job\ndata: {"a": "é"}\n\n: still here\n\ndata: one\ndata: two\n\n';
  const wanted = [{ id: "7", event: "job", data: '{"a": "é"}' }, { id: "7", event: "message", data: "one\ntwo" }];
  assert.deepEqual(await streamed([text]), wanted);
  assert.deepEqual(await streamed([...text]), wanted);
  assert.deepEqual(await streamed([text.replaceAll("\n", "\r\n")]), wanted);
});

test("an event that was cut before its end is not told", async () => {
  assert.deepEqual(await streamed(["data: half"]), []);
});
