// What is known of each panel's series, and how news is laid over it.

import type { Labels, PanelPoints, Point, SeriesPoints } from "../api.ts";
import type { PanelState } from "../words/sentence.ts";

/** Series of one panel that are kept; a picture of more shows nothing. */
export const SERIES_MAX = 200;

export interface Series {
  /** Its labels, as one text. */
  key: string;
  labels: Labels;
  /** For people. */
  name: string;
  /** By time, each moment once. */
  points: Point[];
}

export interface PanelData {
  series: Series[];
  error: string | null;
  noDataSince: number | null;
  last: number | null;
}

/** By which two series are the same: label names in order, as one text. */
export function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Two runs of points by time in one; of two with the same moment the newer run's holds. */
export function joined(old: Point[], news: Point[]): Point[] {
  const first = news[0];
  if (!first) return old;
  const last = old.at(-1);
  if (!last || last[0] < first[0]) return old.concat(news);
  const all = new Map(old.map((point) => [point[0], point]));
  for (const point of news) all.set(point[0], point);
  return [...all.values()].sort((a, b) => a[0] - b[0]);
}

function fresh({ labels, name, points }: SeriesPoints): Series {
  return { key: keyOf(labels), labels, name, points: joined([], points.toSorted((a, b) => a[0] - b[0])) };
}

/** Lays an event over what is known, and forgets what is older than `since`. */
export function merged(old: PanelData | undefined, news: PanelPoints, reset: boolean, since: number): PanelData {
  const known = new Map((reset ? [] : (old?.series ?? [])).map((series) => [series.key, series]));
  for (const came of news.series.map(fresh)) {
    const before = known.get(came.key);
    known.set(came.key, before ? { ...came, points: joined(before.points, came.points) } : came);
  }
  const series = [...known.values()]
    .map((series) => ({ ...series, points: recent(series.points, since) }))
    .filter((series) => series.points.some(([, value]) => value !== null))
    .slice(0, SERIES_MAX);
  return { series, error: news.error, noDataSince: news.no_data_since, last: news.last };
}

function recent(points: Point[], since: number): Point[] {
  const at = points.findIndex(([t]) => t >= since);
  return at < 0 ? [] : at === 0 ? points : points.slice(at);
}

/** What a panel has to say of itself. */
export function stateOf(data: PanelData | undefined): PanelState {
  if (!data) return { kind: "waiting" };
  if (data.error) return { kind: "failed", why: data.error };
  if (data.noDataSince !== null) return { kind: "no-data", since: data.noDataSince, last: data.last };
  return { kind: data.series.length > 0 ? "fed" : "never" };
}

/** The past with the live points after it, one point (the last) a step, so that the newest minutes are no denser. */
export function continued(past: Series[], live: Series[], stepMs: number): Series[] {
  const fresh = new Map(live.map((series) => [series.key, series]));
  const all = past.map((series) => {
    const now = fresh.get(series.key);
    fresh.delete(series.key);
    if (!now) return series;
    const end = series.points.at(-1)?.[0] ?? 0;
    return { ...now, points: series.points.concat(thinned(now.points, stepMs).filter(([at]) => at > end)) };
  });
  for (const series of fresh.values()) all.push({ ...series, points: thinned(series.points, stepMs) });
  return all;
}

/** The last point of each step. */
export function thinned(points: Point[], stepMs: number): Point[] {
  return points.filter(([at], i) => {
    const next = points[i + 1];
    return !next || Math.floor(next[0] / stepMs) !== Math.floor(at / stepMs);
  });
}

/** The last value at or before a moment, unless it is older than `gap`. */
export function valueAt(points: Point[], at: number, gap: number): number | null {
  const found = points.findLast(([t]) => t <= at);
  return found && at - found[0] <= gap ? found[1] : null;
}
