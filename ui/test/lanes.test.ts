import assert from "node:assert/strict";
import { test } from "node:test";
import type { Labels, Point } from "../src/api.ts";
import { looks } from "../src/chart/colour.ts";
import { aligned, spread, stacked, unknown } from "../src/chart/lanes.ts";
import { scaleOf } from "../src/chart/scale.ts";

const series = (points: Point[], labels: Labels = {}) => ({ key: JSON.stringify(labels), labels, name: "", points });

test("series share one axis, and a line breaks where nothing came", () => {
  const { x, ys } = aligned([series([[0, 1], [5000, 2], [60_000, 3]]), series([[2000, 7], [7000, null]])], 15_000);
  assert.deepEqual(x, [0, 2, 5, 5.001, 7, 60]);
  assert.deepEqual(ys, [[1, undefined, 2, null, undefined, 3], [undefined, 7, undefined, undefined, null, undefined]]);
});

test("what no series knows is unknown, at both ends and in between", () => {
  const two = [series([[100_000, 1], [110_000, 1], [200_000, 1], [210_000, 1]]), series([[105_000, 1], [118_000, 1]])];
  assert.deepEqual(unknown(two, 50_000, 300_000, 15_000), [[50_000, 100_000], [118_000, 200_000], [210_000, 300_000]]);
  assert.deepEqual(unknown([], 0, 100_000, 15_000), [[0, 100_000]]);
  assert.deepEqual(unknown([series([[5000, 1], [15_000, 1]])], 0, 25_000, 15_000), []);
  assert.deepEqual(unknown([series([[0, 1], [5000, null], [10_000, null], [40_000, 2]])], 0, 40_000, 15_000), [[0, 40_000]]);
});

test("a stack adds up, and what is missing adds nothing", () => {
  assert.deepEqual(stacked([[1, 1], [2, null], [3, 3]]), [[1, 1], [3, null], [6, 4]]);
});

test("names never lie over each other nor outside", () => {
  const placed = spread([100, 101, 99, 3, 180], 17, 180);
  const sorted = placed.toSorted((a, b) => a - b);
  sorted.slice(1).forEach((y, i) => assert.ok(y - (sorted[i] ?? 0) >= 17, String(sorted)));
  assert.ok((sorted[0] ?? 0) >= 8.5 && (sorted.at(-1) ?? 0) <= 171.5);
  // In the order in which the lines end.
  assert.ok((placed[2] ?? 0) < (placed[0] ?? 0) && (placed[0] ?? 0) < (placed[1] ?? 0));
});

test("a scale is round, starts at none, and stays while values still fit", () => {
  assert.deepEqual(scaleOf(3, 37, "plain", null), { min: 0, max: 40, levels: [0, 20, 40] });
  assert.deepEqual(scaleOf(0, 0.031, "share", null), { min: 0, max: 0.05, levels: [0, 0.025, 0.05] });
  assert.deepEqual(scaleOf(0, 0, "plain", null), { min: 0, max: 1, levels: [0, 1] });
  const before = scaleOf(0, 37, "plain", null);
  assert.equal(scaleOf(0, 21, "plain", before), before);
  assert.notEqual(scaleOf(0, 41, "plain", before), before);
  assert.notEqual(scaleOf(0, 2, "plain", before), before);
  assert.deepEqual(scaleOf(-3, 4, "plain", null).levels, [-5, 0, 5]);
  assert.deepEqual(scaleOf(Infinity, -Infinity, "plain", null).max, 1);
});

test("stable is blue and canary orange wherever labels tell, and nothing else is", () => {
  const arms = new Map([["csac-portal 1.7.3", "stable"], ["csac-portal 1.8.0", "canary"], ["dmv-photo 1.8.0", "stable"]] as const);
  const colour = (labels: Labels) => looks([labels], arms)[0]?.colour;
  assert.equal(colour({ arm: "canary" }), "--canary");
  assert.equal(colour({ service: "csac-portal", version: "1.8.0" }), "--canary");
  assert.equal(colour({ version: "1.7.3" }), "--stable");
  assert.equal(colour({ version: "1.8.0" }), "--line-1");
  assert.equal(colour({ version: "9" }), "--line-1");
  const many = looks(Array.from({ length: 18 }, (_, i) => ({ instance: String(i) })), arms);
  assert.equal(new Set(many.map((look) => JSON.stringify(look))).size, 18);
});
