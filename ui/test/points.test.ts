import assert from "node:assert/strict";
import { test } from "node:test";
import type { PanelPoints, Point } from "../src/api.ts";
import { namesOf } from "../src/dash/history.ts";
import { continued, keyOf, merged, stateOf, valueAt } from "../src/dash/points.ts";
import { LIVE, rangeOf, RANGES, ticks, withRange } from "../src/dash/range.ts";

function news(points: Point[], more: Partial<PanelPoints> = {}): PanelPoints {
  return { title: "a", series: [{ labels: { version: "1.8.0" }, name: "1.8.0", points }], error: null, no_data_since: null, last: null, ...more };
}

test("news is laid over what is known: nothing twice, nothing out of order, nothing too old", () => {
  let data = merged(undefined, news([[1000, 1], [3000, 3]]), true, 0);
  data = merged(data, news([[5000, 5]]), false, 0);
  data = merged(data, news([[4000, 4], [5000, 55]]), false, 2000);
  assert.deepEqual(data.series[0]?.points, [[3000, 3], [4000, 4], [5000, 55]]);
  assert.equal(stateOf(data).kind, "fed");
});

test("a reset forgets, and a series that has nothing left goes", () => {
  const data = merged(undefined, news([[1000, 1]]), true, 0);
  assert.deepEqual(merged(data, news([[9000, 9]]), true, 0).series[0]?.points, [[9000, 9]]);
  assert.deepEqual(merged(data, { ...news([]), series: [] }, false, 5000).series, []);
  assert.deepEqual(merged(data, news([[6000, null]]), true, 0).series, []);
});

test("what a panel lacks is told apart", () => {
  const empty = { ...news([]), series: [] };
  assert.deepEqual(stateOf(undefined), { kind: "waiting" });
  assert.deepEqual(stateOf(merged(undefined, empty, true, 0)), { kind: "never" });
  assert.deepEqual(stateOf(merged(undefined, { ...empty, no_data_since: 7, last: 0.3 }, true, 0)), { kind: "no-data", since: 7, last: 0.3 });
  assert.deepEqual(stateOf(merged(undefined, { ...empty, error: "query failed: x", no_data_since: 7 }, true, 0)), { kind: "failed", why: "query failed: x" });
});

test("a series is known by its labels in any order", () => {
  assert.equal(keyOf({ a: "1", b: "2" }), keyOf({ b: "2", a: "1" }));
  assert.notEqual(keyOf({ a: '1","b' }), keyOf({ a: "1", b: "" }));
});

test("the past goes over into the live points without a seam", () => {
  const labels = { a: "1" };
  const past = [{ key: keyOf(labels), labels, name: "old", points: [[0, 0], [10_000, 1]] as Point[] }];
  const live = [{ key: keyOf(labels), labels, name: "new", points: [[8000, 8], [12_000, 12], [14_000, 14], [21_000, 21]] as Point[] }];
  assert.deepEqual(continued(past, live, 10_000), [{ ...live[0], points: [[0, 0], [10_000, 1], [14_000, 14], [21_000, 21]] }]);
  assert.equal(continued([], live, 10_000)[0]?.points.length, 3);
  assert.deepEqual(continued(past, [], 10_000), past);
});

test("a value is that of its moment, or unknown", () => {
  const points: Point[] = [[1000, 1], [2000, null], [60_000, 3]];
  assert.equal(valueAt(points, 1500, 15_000), 1);
  assert.equal(valueAt(points, 2500, 15_000), null);
  assert.equal(valueAt(points, 80_000, 15_000), null);
  assert.equal(valueAt(points, 500, 15_000), null);
});

test("series are named by what tells them apart", () => {
  assert.deepEqual(namesOf([{ job: "a", version: "1" }, { job: "a", version: "2" }]), ["1", "2"]);
  assert.deepEqual(namesOf([{ __name__: "up", job: "a" }]), ["up"]);
  assert.deepEqual(namesOf([{}]), ["value"]);
});

test("the address holds the range, and an unknown one is the live one", () => {
  for (const range of RANGES) {
    const href = withRange("http://tower/dash/dmv?x=1&range=9y", range);
    assert.equal(rangeOf(new URL(href, "http://tower").search), range);
    assert.match(href, /^\/dash\/dmv\?x=1/);
  }
  assert.equal(rangeOf("?range=9y"), LIVE);
  assert.deepEqual(ticks(1, 900_000, 300_000), [300_000, 600_000, 900_000]);
});
