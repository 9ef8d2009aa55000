import assert from "node:assert/strict";
import { test } from "node:test";
import { type Unit, unitOf } from "../src/words/unit.ts";

test("the unit is what the query or its heading says, and none when neither does", () => {
  const cases: [string, string, Unit][] = [
    ["sum(rate(photo.upload.ok[5m]))", "Photo Uploads / sec", "per-second"],
    ["sum(rate(photo.upload.ok[5m]))", "Photo uploads", "per-second"],
    ["photo.upload.ok", "Photo uploads", "plain"],
    ["sum(rate(bad_total[1m])) / sum(rate(all_total[1m]))", "Bad", "share"],
    ["100 * rate(a[1m]) / rate(b[1m]) * 100", "Bad", "percent"],
    ["rate(a[1m]) / 60", "a", "plain"],
    ["rate(x_seconds_sum[1m]) / rate(x_seconds_count[1m])", "mean", "seconds"],
    ["histogram_quantile(0.99, sum by (le) (rate(answer_seconds_bucket[1m])))", "p99", "seconds"],
    ["process_resident_memory_bytes", "Memory", "bytes"],
    ["rate(sent_bytes_total[1m])", "Sent", "bytes-per-second"],
    ["auth_fail_ratio", "Failed log-ins", "share"],
    ["auth_fail", "Failed log-ins, %", "share"],
    ["latency", "p99 (ms)", "ms"],
    ["count(up == 1)", "Up", "plain"],
    ['up{path="/a/b"}', "Drawn as it is, to be sure", "plain"],
  ];
  for (const [query, title, unit] of cases) assert.equal(unitOf(query, title), unit, `${title}: ${query}`);
});
