import assert from "node:assert/strict";
import { test } from "node:test";
import { Reader } from "../src/live/sse.ts";
import { pause, refusalOf } from "../src/live/stream.ts";

const stream = "retry: 5\r\n: here\r\n\r\nevent: state\r\nid: a-1\r\ndata: {\"a\":\r\ndata:1}\r\n\r\ndata: x\n\n";

test("a stream reads the same however it is cut into pieces", () => {
  const whole = new Reader().push(stream);
  assert.deepEqual(whole, [
    { event: "state", data: '{"a":\n1}', id: "a-1" },
    { event: "message", data: "x", id: "a-1" },
  ]);
  for (let size = 1; size < stream.length; size++) {
    const reader = new Reader();
    const found = [];
    for (let at = 0; at < stream.length; at += size) found.push(...reader.push(stream.slice(at, at + size)));
    assert.deepEqual(found, whole, `in pieces of ${size}`);
  }
});

test("an event without data is none, and a message without an end is bounded", () => {
  assert.deepEqual(new Reader().push("event: state\n\n"), []);
  const reader = new Reader();
  assert.throws(() => {
    for (let i = 0; i < 20; i++) reader.push(`data: ${"x".repeat(1 << 20)}\n`);
  }, /larger/);
});

test("tries are spread and never far apart", () => {
  assert.equal(pause(0, 0.5), 500);
  assert.equal(pause(3, 0.5), 4000);
  assert.equal(pause(50, 1), 12_500);
  assert.ok(pause(50, 0) < pause(50, 1));
});

test("a refusal says what to do", () => {
  assert.match(refusalOf(401, ""), /log-?in|logged out/);
  assert.equal(refusalOf(503, "64 streams are open"), "tower answers 503: 64 streams are open");
});
