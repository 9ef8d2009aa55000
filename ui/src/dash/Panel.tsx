// One panel: its title, what is to be said of it, and its picture.

import { useMemo, useRef } from "preact/hooks";
import type { PanelSpec } from "../api.ts";
import { Heatmap } from "../chart/Heatmap.tsx";
import { gapOf, unknown } from "../chart/lanes.ts";
import { Plot } from "../chart/Plot.tsx";
import { Stat } from "../chart/Stat.tsx";
import { Table } from "../chart/Table.tsx";
import { time } from "../words/format.ts";
import { lastHeard, panelWords } from "../words/sentence.ts";
import { unitOf } from "../words/unit.ts";
import { queryHref } from "./history.ts";
import type { Series } from "./points.ts";
import type { Range } from "./range.ts";
import type { DashState } from "./state.ts";
import type { Unit } from "../words/unit.ts";

/** What every kind of picture is drawn from. */
export interface Picture {
  series: Series[];
  unit: Unit;
  from: number;
  to: number;
  range: Range;
  gap: number;
  unknown: [number, number][];
  state: DashState;
  title: string;
}

const KINDS = { line: Plot, bar: Plot, stat: Stat, table: Table, heatmap: Heatmap };
/** Between two points of the live window when it is asked for as a query. */
const LIVE_STEP_MS = 5000;

export function Panel({ state, panel }: { state: DashState; panel: PanelSpec }) {
  const { title, query } = panel;
  const unit = useMemo(() => unitOf(query, title), [query, title]);
  const range = state.range.value;
  const { data, series, isWaiting } = state.shown(title);
  const quiet = state.quiet.value;
  const now = state.now.value;
  // While the tower is silent nobody knows whether there is data: the picture stands still.
  const stood = useRef(now);
  if (quiet === 0) stood.current = now;
  const to = stood.current;
  const from = to - range.ms;
  const gap = gapOf(range.stepMs);
  const words = panelWords(isWaiting ? { kind: "waiting" } : state.stateOf(data), unit, now);
  const isBlank = series.length === 0;
  const step = range.stepMs || LIVE_STEP_MS;
  const href = queryHref(query, Math.floor(from / step) * step, Math.floor(to / step) * step, step);
  const Kind = KINDS[panel.panel] ?? Plot;
  const isOverTime = panel.panel !== "stat" && panel.panel !== "table";
  const isMissing = panel.panel === "stat" && data?.noDataSince != null;
  const holes = useMemo(() => unknown(series, from, to, gap), [series, from, to, gap]);
  return (
    <article class={`panel card k-${panel.panel}${quiet > 0 ? " stale" : ""}`} aria-label={title}>
      <header>
        <h3><a href={href} title={query}>{title}</a></h3>
        {quiet > 0 ? <span class="s stale-note">{lastHeard(quiet)}</span> : words && !isBlank && !isMissing ? <span class="s missing">{words}</span> : isBlank || !isOverTime ? null : <Pointed state={state} />}
      </header>
      {isBlank || isMissing ? <div class="blank"><span>{words ?? "no values in this span"}</span></div> : (
        <Kind series={series} unit={unit} from={from} to={to} range={range} gap={gap} unknown={holes} state={state} title={title} kind={panel.panel} />
      )}
    </article>
  );
}

/** The moment under the pointer; a component of its own, so that a pointer that moves draws nothing else anew. */
function Pointed({ state }: { state: DashState }) {
  const at = state.pointed.value;
  return at === null ? null : <span class="s muted">{time(at)}</span>;
}
