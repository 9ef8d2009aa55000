// What one would say aloud of a dashboard, most urgent first.

import type { Alert } from "../api.ts";
import { moment, span, valued } from "./format.ts";
import type { Unit } from "./unit.ts";

export type Sign = "bad" | "warn" | "unknown" | "ok";

/** What a panel has to say beside its picture. */
export type PanelState =
  | { kind: "waiting" }
  | { kind: "fed" }
  | { kind: "never" }
  | { kind: "no-data"; since: number; last: number | null }
  | { kind: "failed"; why: string };

/** `last heard 12 s ago`. */
export function lastHeard(ms: number): string {
  return `last heard ${span(ms)} ago`;
}

/** The words on a panel, none while all is well. */
export function panelWords(state: PanelState, unit: Unit, now: number): string | null {
  switch (state.kind) {
    case "fed": return null;
    case "waiting": return "on its way";
    case "never": return "never seen";
    case "failed": return state.why;
    case "no-data": {
      const last = state.last === null ? "" : ` (last ${valued(state.last, unit)})`;
      return `no data since ${moment(state.since, now)}${last}`;
    }
  }
}

/** How urgent an alert is; the more so the smaller. */
function urgency(alert: Alert): number {
  if (alert.handling === "take-over") return 0;
  if (alert.handling === "heal-failed") return 1;
  if (alert.silenced_until) return 7;
  if (alert.condition === "firing") return { open: 2, "heal-running": 3, acked: 4, healed: 5 }[alert.handling] ?? 2;
  return alert.condition === "pending" ? 6 : 5;
}

/** Most urgent first; among equals the oldest first. */
export function byUrgency(alerts: Alert[]): Alert[] {
  return alerts.toSorted((a, b) => urgency(a) - urgency(b) || (a.since ?? "").localeCompare(b.since ?? ""));
}

/** How an alert stands. */
export function alertSign(alert: Alert): Sign {
  if (/^(?:no data|query error)/.test(alert.state)) return "unknown";
  if (alert.handling === "take-over" || alert.handling === "heal-failed") return "bad";
  if (alert.condition !== "firing" || alert.silenced_until) return "warn";
  return alert.handling === "open" || alert.handling === "heal-running" ? "bad" : "warn";
}

/** An alert's sentence as of now: the tower says it once, and `12 s ago` grows old. */
export function aged(alert: Alert, now: number): string {
  const fired = Date.parse(alert.fired_at ?? "");
  if (Number.isNaN(fired)) return alert.sentence;
  return alert.sentence.replace(/\bfired (?:just now|\d[^:;,]{0,24}? ago)/, `fired ${span(now - fired)} ago`);
}

function stopped(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function counted(n: number, one: string, many: string): string {
  return n === 1 ? one : `${n} ${many}`;
}

export interface Scene {
  name: string;
  /** Milliseconds since the tower was heard; 0 while all is well. */
  silence: number;
  alerts: Alert[];
  panels: { title: string; unit: Unit; state: PanelState }[];
  now: number;
}

/** The headline, and how urgent it is. */
export function headline({ name, silence, alerts, panels, now }: Scene): { sign: Sign; text: string } {
  if (silence > 0) return { sign: "unknown", text: `The tower was ${lastHeard(silence)}; what follows is from then.` };
  const [worst, ...rest] = byUrgency(alerts);
  if (worst) {
    const more = rest.length > 0 ? ` ${counted(rest.length, "One more alert is", "more alerts are")} active.` : "";
    return { sign: alertSign(worst), text: stopped(aged(worst, now)) + more };
  }
  if (panels.length === 0) return { sign: "unknown", text: `${name} has no panels yet.` };
  if (panels.every((panel) => panel.state.kind === "waiting")) return { sign: "unknown", text: `Listening to ${name}.` };
  const mute = panels.filter(({ state }) => state.kind !== "fed" && state.kind !== "waiting");
  const [first, ...others] = mute;
  if (first) {
    const said = `“${first.title}” ${saidOf(first.state, first.unit, now)}`;
    const more = others.length > 0 ? `; ${counted(others.length, "one more panel is", "more panels are")} without news` : "";
    return { sign: "unknown", text: `${said}${more}.` };
  }
  const all = panels.length === 1 ? "its panel is" : `all ${panels.length} panels are`;
  return { sign: "ok", text: `Nothing fires in ${name}; ${all} fed.` };
}

function saidOf(state: PanelState, unit: Unit, now: number): string {
  const words = panelWords(state, unit, now) ?? "";
  if (state.kind === "never") return "was never seen";
  if (state.kind === "failed") return "cannot be asked for: its query failed";
  return `has ${words}`;
}
