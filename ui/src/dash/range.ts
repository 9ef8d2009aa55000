// How much time a dashboard shows. It stands in the address, so that a link shows the same to someone else.

const MIN = 60_000;

export interface Range {
  /** As in the address. */
  id: string;
  words: string;
  ms: number;
  /** Between two points of a query over it; 0: fed by the stream alone. */
  stepMs: number;
  /** Between two names on the time axis. */
  tickMs: number;
}

/** The live window is what the stream sends when it begins. */
export const LIVE: Range = { id: "15m", words: "15 min", ms: 15 * MIN, stepMs: 0, tickMs: 5 * MIN };

export const RANGES: Range[] = [
  LIVE,
  { id: "1h", words: "1 h", ms: 60 * MIN, stepMs: 10_000, tickMs: 15 * MIN },
  { id: "6h", words: "6 h", ms: 360 * MIN, stepMs: MIN, tickMs: 60 * MIN },
  { id: "24h", words: "24 h", ms: 1440 * MIN, stepMs: 4 * MIN, tickMs: 240 * MIN },
];

/** The range that an address names; the live one when it names none. */
export function rangeOf(search: string): Range {
  const id = new URLSearchParams(search).get("range");
  return RANGES.find((range) => range.id === id) ?? LIVE;
}

/** The same address with another range. */
export function withRange(href: string, range: Range): string {
  const url = new URL(href);
  if (range === LIVE) url.searchParams.delete("range");
  else url.searchParams.set("range", range.id);
  return url.pathname + url.search;
}

/** Moments to name on the time axis. */
export function ticks(from: number, to: number, tickMs: number): number[] {
  const found: number[] = [];
  for (let at = Math.ceil(from / tickMs) * tickMs; at <= to; at += tickMs) found.push(at);
  return found;
}
