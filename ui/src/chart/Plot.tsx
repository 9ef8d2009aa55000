// Lines and bars over time, with a name at each line's end.

import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Picture } from "../dash/Panel.tsx";
import { type Series, thinned, valueAt } from "../dash/points.ts";
import type { Range } from "../dash/range.ts";
import { shortened, valued } from "../words/format.ts";
import type { Unit } from "../words/unit.ts";
import { ABOVE, BELOW, build, type Canvas, type Drawn, HEIGHT, update, walk } from "./canvas.ts";
import { type Arms, type Look, looks } from "./colour.ts";
import { theme } from "./ink.ts";
import { aligned, type Cell, spread, stacked, unknown } from "./lanes.ts";
import { type Name, Names } from "./Names.tsx";
import { type Scale, scaleOf } from "./scale.ts";
import { useWidth } from "./width.ts";

const NAME_HEIGHT = 17;
/** A digit's width in pixels at 12 px. */
const GLYPH = 7;
/** Names that fit beside a plot. */
const ROOM = Math.floor((HEIGHT - BELOW) / NAME_HEIGHT);
/** Steps of bars in the live window. */
const LIVE_BAR_MS = 15_000;

type PlotProps = Picture & { kind: string };

export function Plot(given: PlotProps) {
  const { unit, from, to, range, state, kind } = given;
  const isBar = kind === "bar";
  const [box, width] = useWidth<HTMLDivElement>();
  const plot = useRef<Canvas | null>(null);
  const chosen = useRef<{ of: string; named: Set<string> }>({ of: "", named: new Set() });
  const before = useRef<Scale | null>(null);

  // Made anew when points come, not when the pointer moves.
  const { series, loud, gap } = useMemo(() => {
    const { all, loud } = ranked(given.series, ROOM, chosen.current);
    return isBar ? { loud, ...binned(all, range) } : { loud, series: all, gap: given.gap };
  }, [given.series, given.gap, isBar, range]);
  const lanes = useMemo(() => laid(series, gap, isBar), [series, gap, isBar]);
  const scale = useMemo(() => scaleOf(lanes.low, lanes.high, unit, before.current), [lanes, unit]);
  before.current = scale;
  const gutter = gutterOf(scale, unit);
  const arms = state.arms.value;
  const look = useMemo(() => lookOf(series, loud, arms), [series, loud, arms]);
  const holes = useMemo(() => (isBar ? unknown(series, from, to, gap) : given.unknown), [given.unknown, series, isBar]);
  const drawn = useRef<Drawn>(null as unknown as Drawn);
  drawn.current = { props: { ...given, unknown: holes }, scale, looks: look };

  // Built anew when other series come, or the same in another order.
  const shape = `${kind} ${gutter} ${lanes.isStack} ${series.map(({ key }) => key).join("\n")}`;
  useEffect(() => {
    if (!box.current || width === 0) return;
    const built = build(box.current, width, gutter, drawn, series, isBar, lanes.isStack);
    plot.current = built;
    return () => {
      built.destroy();
      plot.current = null;
    };
  }, [shape, width === 0]);

  useEffect(() => {
    const u = plot.current;
    if (!u) return;
    // A stack is drawn from its top layer down, so that each covers what is above it.
    update(u, width, from, to, lanes.x, lanes.isStack ? lanes.ys.toReversed() : lanes.ys, scale);
  }, [lanes, from, to, scale, width, theme.value, shape, look, holes]);

  const named = series.map((_, i) => i).slice(series.length - loud);
  const latest = named.map((i) => `${series[i]?.name} ${saidAt(series[i], to, gap, unit)}`).join(", ");
  return (
    <div class="plot">
      <div class="ground" ref={box} tabIndex={0} role="img" aria-label={`${given.title}: ${latest}`} onKeyDown={(event) => walk(event, plot.current)} onBlur={() => (state.pointed.value = null)} />
      <Ends props={given} series={series} named={named} lanes={lanes} scale={scale} look={look} gap={gap} />
    </div>
  );
}

/** Everything on one axis, as it is drawn. */
interface Lanes {
  x: number[];
  ys: Cell[][];
  isStack: boolean;
  low: number;
  high: number;
}

function laid(series: Series[], gap: number, isBar: boolean): Lanes {
  const { x, ys } = aligned(series, gap);
  const isStack = isBar && series.length > 1 && ys.every((column) => column.every((value) => (value ?? 0) >= 0));
  const all = isStack ? stacked(ys) : ys;
  let [low, high] = [Infinity, -Infinity];
  for (const column of all) {
    for (const value of column) {
      if (value === null || value === undefined) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return { x, ys: all, isStack, low, high };
}

/** Bars have a step each, also in the live window. */
function binned(all: Series[], range: Range): { series: Series[]; gap: number } {
  const step = Math.max(range.stepMs, LIVE_BAR_MS, range.ms / 60);
  const series = all.map((one) => ({
    ...one,
    points: thinned(one.points, step).map(([at, value]): [number, number | null] => [Math.floor(at / step) * step + step / 2, value]),
  }));
  return { series, gap: step * 2.5 };
}

function saidAt(one: Series | undefined, at: number, gap: number, unit: Unit): string {
  const value = one ? valueAt(one.points, at, gap) : null;
  return value === null ? "no data" : valued(value, unit);
}

/** Room at the left for the levels' values, in steps, so that a digit more does not move the picture. */
function gutterOf(scale: Scale, unit: Unit): number {
  const longest = Math.max(...scale.levels.map((level) => valued(level, unit).length));
  return Math.ceil((longest * GLYPH + 10) / 12) * 12;
}

/**
 * Where there are more series than names fit, the largest are named and drawn last, over the others. The choice stays
 * as long as the series do, so that names and colours stand still.
 */
function ranked(series: Series[], room: number, chosen: { of: string; named: Set<string> }): { all: Series[]; loud: number } {
  if (series.length <= room) return { all: series, loud: series.length };
  const of = series.map(({ key }) => key).join("\n");
  if (chosen.of !== of) {
    const size = ({ points }: Series): number => Math.abs(points.at(-1)?.[1] ?? 0);
    chosen.of = of;
    chosen.named = new Set(series.toSorted((a, b) => size(b) - size(a)).slice(0, room - 1).map(({ key }) => key));
  }
  const isNamed = ({ key }: Series): boolean => chosen.named.has(key);
  return { all: [...series.filter((one) => !isNamed(one)), ...series.filter(isNamed)], loud: room - 1 };
}

/** Lines without a name stand back. */
function lookOf(series: Series[], loud: number, arms: Arms): Look[] {
  const first = series.length - loud;
  const named = looks(series.slice(first).map(({ labels }) => labels), arms);
  return series.map((_, i) => named[i - first] ?? { colour: "--quiet", dash: [] });
}

interface EndsProps {
  props: Picture;
  series: Series[];
  named: number[];
  lanes: Lanes;
  scale: Scale;
  look: Look[];
  gap: number;
}

/** Names where the lines end; a component of its own, so that a pointer that moves draws nothing else anew. */
function Ends({ props, series, named, lanes, scale, look, gap }: EndsProps) {
  const at = props.state.pointed.value ?? props.to;
  const place = (value: number): number => ABOVE + (1 - (value - scale.min) / (scale.max - scale.min)) * (HEIGHT - ABOVE - BELOW);
  const end = (i: number): number => lanes.ys[i]?.findLast((value) => value !== null && value !== undefined) ?? 0;
  // In a stack, beside the middle of the layer.
  const ends = named.map((i) => place(lanes.isStack && i > 0 ? (end(i) + Math.min(end(i - 1), end(i))) / 2 : end(i)));
  const more = series.length - named.length;
  const rows = spread(ends, NAME_HEIGHT, HEIGHT - BELOW + 4 - (more > 0 ? NAME_HEIGHT : 0));
  const short = shortened(named.map((i) => series[i]?.name ?? ""));
  const names = named.map((i, n): Name => ({
    key: series[i]?.key ?? "",
    words: short[n] ?? "",
    whole: series[i]?.name ?? "",
    value: saidAt(series[i], at, gap, props.unit),
    colour: look[i]?.colour ?? "--text",
    y: (rows[n] ?? 0) - NAME_HEIGHT / 2,
  }));
  return <Names names={names} more={more} />;
}
