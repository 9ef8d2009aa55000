import assert from "node:assert/strict";
import { test } from "node:test";
import type { Alert } from "../src/api.ts";
import { aged, alertSign, headline, type PanelState, panelWords, type Scene } from "../src/words/sentence.ts";

const now = Date.UTC(2026, 10, 20, 14, 6, 32);
const said = (text: string): string => text.replace(/[\u00a0\u202f]/g, " ");

function alert(more: Partial<Alert>): Alert {
  return {
    id: "a-12", rule: "photo_error_spike", service: "dmv-photo", state: "fired, heal-running", condition: "firing", handling: "heal-running",
    since: null, fired_at: new Date(now - 12_000).toISOString(), value_text: "0.42", silenced_until: null,
    sentence: "photo_error_spike fired 1 s ago: 0.42; rollback dmv-photo --to=prev runs", ...more,
  };
}

function scene(states: PanelState[], alerts: Alert[] = [], silence = 0): Scene {
  return { name: "dmv", silence, alerts, now, panels: states.map((state, i) => ({ title: `Panel ${i + 1}`, unit: "share", state })) };
}

const fed: PanelState = { kind: "fed" };
const mute: PanelState = { kind: "no-data", since: Date.UTC(2026, 10, 20, 14, 2), last: 0.003 };

test("missing data says since when and what was last", () => {
  const cases: [PanelState, string | null][] = [
    [fed, null],
    [mute, "no data since 14:02 (last 0.3 %)"],
    [{ ...mute, last: null } as PanelState, "no data since 14:02"],
    [{ kind: "never" }, "never seen"],
    [{ kind: "failed", why: "query failed: at 1:10" }, "query failed: at 1:10"],
  ];
  for (const [state, words] of cases) assert.equal(panelWords(state, "share", now) === null ? null : said(panelWords(state, "share", now) ?? ""), words);
});

test("the most urgent thing is said first, and only what is fed is fine", () => {
  const cases: [Scene, string, string][] = [
    [scene([fed], [alert({})]), "bad", "photo_error_spike fired 12 s ago: 0.42; rollback dmv-photo --to=prev runs."],
    [scene([fed], [alert({ handling: "acked" }), alert({ id: "a-13", handling: "take-over", sentence: "Take-Over Required: dmv-photo" })]), "bad", "Take-Over Required: dmv-photo. One more alert is active."],
    [scene([mute, { kind: "never" }, fed]), "unknown", "“Panel 1” has no data since 14:02 (last 0.3 %); one more panel is without news."],
    [scene([{ kind: "failed", why: "query failed: x" }]), "unknown", "“Panel 1” cannot be asked for: its query failed."],
    [scene([fed, fed]), "ok", "Nothing fires in dmv; all 2 panels are fed."],
    [scene([]), "unknown", "dmv has no panels yet."],
    [scene([{ kind: "waiting" }]), "unknown", "Listening to dmv."],
    [scene([fed], [alert({})], 12_000), "unknown", "The tower was last heard 12 s ago; what follows is from then."],
  ];
  for (const [given, sign, text] of cases) assert.deepEqual({ ...headline(given), text: said(headline(given).text) }, { sign, text });
});

test("an alert's age goes on while the tower has nothing new to say of it", () => {
  assert.equal(said(aged(alert({}), now + 60_000)), "photo_error_spike fired 1 min 12 s ago: 0.42; rollback dmv-photo --to=prev runs");
  const plain = alert({ fired_at: null, sentence: "photo_slow is pending" });
  assert.equal(aged(plain, now), "photo_slow is pending");
  const other = alert({ sentence: "photo_error_spike fired at 0.42, 1 s ago" });
  assert.equal(aged(other, now), other.sentence);
});

test("no data and a failed query are unknown, never failing and never fine", () => {
  assert.equal(alertSign(alert({ state: "no data" })), "unknown");
  assert.equal(alertSign(alert({ state: "query error" })), "unknown");
  assert.equal(alertSign(alert({ handling: "open" })), "bad");
  assert.equal(alertSign(alert({ handling: "healed" })), "warn");
});
