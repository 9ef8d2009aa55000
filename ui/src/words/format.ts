// Numbers and moments as the tower's pages write them.

import type { Unit } from "./unit.ts";

const THIN = "\u202f";
/** Ties a number to its unit. */
const TIE = "\u00a0";
const MINUS = "\u2212";
const DAY_MS = 86_400_000;

/** `12 345`, three digits that mean something: `842`, `12.4`, `0.031`. */
export function plain(value: number): string {
  if (Number.isNaN(value)) return "not a number";
  if (!Number.isFinite(value)) return value < 0 ? `${MINUS}∞` : "∞";
  const size = Math.abs(value);
  const sign = value < 0 ? MINUS : "";
  if (size === 0) return "0";
  if (size >= 1e15 || size < 1e-4) return sign + size.toExponential(1).replace("e+", "e").replace("e-", `e${MINUS}`);
  if (size >= 999.5) return sign + grouped(Math.round(size));
  const digits = size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)));
  return sign + trimmed(size.toFixed(digits));
}

function trimmed(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function grouped(whole: number): string {
  return String(whole).replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** Never `0 %` or `100 %` when it is not. */
function percent(p: number): string {
  const size = Math.abs(p);
  const sign = p < 0 ? MINUS : "";
  if (size === 0) return `0${TIE}%`;
  if (size < 0.01) return `${sign}<${TIE}0.01${TIE}%`;
  if (size < 100 && size >= 99.95) return `${sign}>${TIE}99.9${TIE}%`;
  if (size >= 1000) return `${sign}${grouped(Math.round(size))}${TIE}%`;
  return `${sign}${trimmed(size.toFixed(size < 10 ? 2 : 1))}${TIE}%`;
}

function scaled(value: number, steps: [number, string][]): string {
  const size = Math.abs(value);
  const step = steps.findLast(([from]) => size >= from * 0.9995) ?? steps[0];
  return step ? `${plain(value / step[0])}${TIE}${step[1]}` : plain(value);
}

function seconds(value: number): string {
  if (value === 0) return `0${TIE}s`;
  if (Math.abs(value) >= 100) return span(value * 1000);
  return scaled(value, [[1e-6, "µs"], [1e-3, "ms"], [1, "s"]]);
}

const BYTES: [number, string][] = [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"]];

/** A value with its unit, short enough for the end of a line. */
export function valued(value: number, unit: Unit): string {
  if (!Number.isFinite(value)) return plain(value);
  switch (unit) {
    case "share": return percent(value * 100);
    case "percent": return percent(value);
    case "seconds": return seconds(value);
    case "ms": return seconds(value / 1000);
    case "bytes": return scaled(value, BYTES);
    case "bytes-per-second": return `${scaled(value, BYTES)}/s`;
    case "per-second": return `${plain(value)}/s`;
    case "plain": return plain(value);
  }
}

/** The same in two parts for where there is room: the figure, and its unit written out. */
export function spelled(value: number, unit: Unit): [string, string] {
  if (!Number.isFinite(value)) return [plain(value), ""];
  if (unit === "per-second") return [plain(value), "per second"];
  if (unit === "bytes-per-second") return [scaled(value, BYTES), "per second"];
  return [valued(value, unit), ""];
}

/** `12 s`, `4 min`, `4 h 12 min`, `3 d 4 h`. */
export function span(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [d, h, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 0) return `${d}${TIE}d${h > 0 ? ` ${h}${TIE}h` : ""}`;
  if (h > 0) return `${h}${TIE}h${m > 0 ? ` ${m}${TIE}min` : ""}`;
  if (m > 0) return `${m}${TIE}min${m < 5 && s % 60 > 0 ? ` ${s % 60}${TIE}s` : ""}`;
  return `${s}${TIE}s`;
}

/** `14:02` in UTC. */
export function hourMinute(at: number): string {
  return new Date(at).toISOString().slice(11, 16);
}

/** `14:02:07` in UTC. */
export function time(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}

/** `14:02`, with the day in front unless it is the day of `now`. */
export function moment(at: number, now: number): string {
  if (Math.floor(at / DAY_MS) === Math.floor(now / DAY_MS)) return hourMinute(at);
  const day = new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "long", timeZone: "UTC" });
  return `${day}, ${hourMinute(at)}`;
}

/** A name as long as this is read at once. */
const LONG = 14;

/** Long names without the beginning that they share, cut where a word ends: it is their ends that tell them apart. */
export function shortened(names: string[]): string[] {
  const [first, ...rest] = names;
  if (first === undefined || rest.length === 0 || names.every((name) => name.length <= LONG)) return names;
  let shared = 0;
  while (shared < first.length && rest.every((name) => name[shared] === first[shared])) shared++;
  const begin = first.slice(0, shared);
  const word = begin.search(/[./:,\s][^./:,\s]*$/) + 1;
  // Where even the last word is long, it is cut at a hyphen.
  const cut = word > 0 && Math.max(...names.map((name) => name.length)) - word <= LONG ? word : begin.search(/[-_./:,\s][^-_./:,\s]*$/) + 1;
  return cut < 4 ? names : names.map((name) => `…${name.slice(cut)}`);
}
