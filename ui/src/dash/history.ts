// The past beyond the live window, by Prometheus's HTTP API with the page's own session.

import { get, type Labels, type PanelSpec, type Point, Refused } from "../api.ts";
import { keyOf, type Series, SERIES_MAX } from "./points.ts";

interface Matrix {
  data: { resultType: string; result: { metric: Labels; values: [number, string][] }[] };
}

/** Where a query over a span answers: the door behind each panel's title. */
export function queryHref(query: string, from: number, to: number, stepMs: number): string {
  const seconds = (ms: number): string => String(Math.round(ms) / 1000);
  const params = new URLSearchParams({ query, start: seconds(from), end: seconds(to), step: seconds(stepMs) });
  return `/api/v1/query_range?${params}`;
}

/** What Prometheus writes in JSON: `NaN` and infinities are texts, and no values here. */
function number(text: string): number | null {
  const value = Number(text.replace("Inf", "Infinity"));
  return Number.isFinite(value) ? value : null;
}

/** The values of the labels that tell these series apart; the metric's name when none does. */
export function namesOf(all: Labels[]): string[] {
  const names = new Set(all.flatMap((labels) => Object.keys(labels)));
  const telling = [...names].filter((name) => new Set(all.map((labels) => labels[name])).size > 1).sort();
  return all.map((labels) => {
    const said = telling.map((name) => labels[name]).filter((value) => value);
    return said.length > 0 ? said.join(" ") : (labels["__name__"] ?? "value");
  });
}

/** A panel's past. */
export async function past(panel: PanelSpec, from: number, to: number, stepMs: number): Promise<Series[]> {
  try {
    const answer = await get<Matrix>(queryHref(panel.query, from, to, stepMs));
    const found = answer.data.result.slice(0, SERIES_MAX);
    const names = namesOf(found.map(({ metric }) => metric));
    return found.map(({ metric, values }, i) => ({
      key: keyOf(metric),
      labels: metric,
      name: names[i] ?? "",
      points: values.map(([at, text]): Point => [Math.round(at * 1000), number(text)]),
    }));
  } catch (error) {
    const why = error instanceof Refused ? error.message : "the tower does not answer";
    throw new Error(`query failed: ${why}`, { cause: error });
  }
}
