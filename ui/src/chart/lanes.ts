// From series to what a chart draws: one time axis, gaps where nothing is known, and a place for each line's name.

import type { Series } from "../dash/points.ts";

/** A live line breaks when this long nothing came. */
export const LIVE_GAP_MS = 15_000;

/** How far two neighbours may be apart and still be one line. */
export function gapOf(stepMs: number): number {
  return Math.max(LIVE_GAP_MS, stepMs * 2.5);
}

/** Missing: `null` breaks the line here, `undefined` says nothing about this moment. */
export type Cell = number | null | undefined;

/** All series on one axis, in Unix seconds. */
export function aligned(series: Series[], gap: number): { x: number[]; ys: Cell[][] } {
  const breaks = series.map(({ points }) =>
    points.flatMap(([at], i) => ((points[i + 1]?.[0] ?? at) - at > gap ? [at + 1] : [])),
  );
  const times = new Set<number>();
  for (const { points } of series) for (const [at] of points) times.add(at);
  for (const at of breaks.flat()) times.add(at);
  const sorted = [...times].sort((a, b) => a - b);
  const place = new Map(sorted.map((at, i) => [at, i]));
  const ys = series.map(({ points }, i) => {
    const column: Cell[] = new Array<Cell>(sorted.length).fill(undefined);
    for (const at of breaks[i] ?? []) column[place.get(at) ?? 0] = null;
    for (const [at, value] of points) column[place.get(at) ?? 0] = value;
    return column;
  });
  return { x: sorted.map((at) => at / 1000), ys };
}

/** The stretches between `from` and `to` in which no series has a value. */
export function unknown(series: Series[], from: number, to: number, gap: number): [number, number][] {
  const known: [number, number][] = [];
  for (const { points } of series) {
    let begin: number | null = null;
    let before = 0;
    for (const [at, value] of points) {
      if (begin !== null && (value === null || at - before > gap)) {
        known.push([begin, before]);
        begin = null;
      }
      if (value === null) continue;
      begin ??= at;
      before = at;
    }
    if (begin !== null) known.push([begin, before]);
  }
  known.sort((a, b) => a[0] - b[0]);
  const found: [number, number][] = [];
  let end = from;
  for (const [begin, until] of known) {
    // The window's left edge cuts a line anywhere between two points.
    if (begin - end > gap) found.push([end, begin]);
    end = Math.max(end, until);
  }
  if (to - end > gap) found.push([end, to]);
  return found;
}

/** Layers of a stack: each value with all before it; a missing one adds nothing. */
export function stacked(ys: Cell[][]): Cell[][] {
  const sums: number[] = [];
  return ys.map((column) =>
    column.map((value, i) => {
      if (value === null || value === undefined) return value;
      sums[i] = (sums[i] ?? 0) + value;
      return sums[i];
    }),
  );
}

/** Places for labels that would like to stand at `ys`, at least `apart` from each other, within 0 and `height`. */
export function spread(ys: number[], apart: number, height: number): number[] {
  const order = ys.map((_, i) => i).sort((a, b) => (ys[a] ?? 0) - (ys[b] ?? 0));
  const placed = [...ys];
  let least = apart / 2;
  for (const i of order) {
    placed[i] = Math.max(placed[i] ?? 0, least);
    least = placed[i] + apart;
  }
  let most = height - apart / 2;
  for (const i of order.toReversed()) {
    placed[i] = Math.min(placed[i] ?? 0, most);
    most = placed[i] - apart;
  }
  return placed;
}
