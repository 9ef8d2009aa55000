import assert from "node:assert/strict";
import { test } from "node:test";
import { moment, plain, shortened, span, spelled, valued } from "../src/words/format.ts";

/** With narrow and tying spaces as plain ones. */
const said = (text: string): string => text.replace(/[\u00a0\u202f]/g, " ");

test("numbers keep three digits that mean something", () => {
  const cases: [number, string][] = [
    [0, "0"], [1234567, "1 234 567"], [999.4, "999"], [999.6, "1 000"], [99.96, "100"], [12.34, "12.3"], [1.5, "1.5"], [0.0312, "0.0312"],
    [0.9996, "1"], [-4.2, "−4.2"], [1e18, "1.0e18"], [3e-7, "3.0e−7"], [NaN, "not a number"], [-Infinity, "−∞"],
  ];
  for (const [value, text] of cases) assert.equal(said(plain(value)), text);
});

test("a share is never rounded to what it is not", () => {
  const cases: [number, string][] = [[0, "0 %"], [1e-6, "< 0.01 %"], [0.003, "0.3 %"], [0.0031, "0.31 %"], [1 / 3, "33.3 %"], [0.99999, "> 99.9 %"], [1, "100 %"]];
  for (const [value, text] of cases) assert.equal(said(valued(value, "share")), text);
});

test("units are written beside every value", () => {
  assert.equal(said(valued(0.0042, "seconds")), "4.2 ms");
  assert.equal(said(valued(1.2, "seconds")), "1.2 s");
  assert.equal(said(valued(15_120, "seconds")), "4 h 12 min");
  assert.equal(said(valued(61, "ms")), "61 ms");
  assert.equal(said(valued(3.1e8, "bytes")), "310 MB");
  assert.equal(said(valued(1500, "bytes-per-second")), "1.5 kB/s");
  assert.deepEqual(spelled(842, "per-second").map(said), ["842", "per second"]);
});

test("spans and moments read as people say them", () => {
  assert.equal(said(span(12_400)), "12 s");
  assert.equal(said(span(160_000)), "2 min 40 s");
  assert.equal(said(span(3 * 86_400_000 + 5 * 3_600_000)), "3 d 5 h");
  assert.equal(said(span(-5)), "0 s");
  const at = Date.UTC(2026, 10, 20, 14, 2);
  assert.equal(moment(at, at + 1000), "14:02");
  assert.equal(moment(at, at + 86_400_000), "20 November, 14:02");
});

test("long names lose what they share, never what tells them apart", () => {
  assert.deepEqual(shortened(["stable", "canary"]), ["stable", "canary"]);
  const long = "a-very-long-service.eu-central-1.";
  assert.deepEqual(shortened([`${long}replica-1`, `${long}replica-2`]), ["…replica-1", "…replica-2"]);
  assert.deepEqual(shortened(["one name that is long", "another long name"]), ["one name that is long", "another long name"]);
});
