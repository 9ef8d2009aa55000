// Lines and bars over time. The only file that touches uPlot; it is updated in place and built anew only when other
// series come.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Picture } from "../dash/Panel.tsx";
import { type Series, thinned, valueAt } from "../dash/points.ts";
import { ticks } from "../dash/range.ts";
import { hourMinute, shortened, valued } from "../words/format.ts";
import type { Unit } from "../words/unit.ts";
import { type Arms, type Look, looks } from "./colour.ts";
import { hatch, say, theme, token } from "./ink.ts";
import { aligned, spread, stacked, unknown } from "./lanes.ts";
import { type Name, Names } from "./Names.tsx";
import { type Scale, scaleOf } from "./scale.ts";

const HEIGHT = 190;
/** Room above for the words of the highest level, below for the time. */
const ABOVE = 8;
const BELOW = 22;
const NAME_HEIGHT = 17;
/** A digit's width in pixels at 12 px. */
const GLYPH = 7;
/** Steps of bars in the live window. */
const LIVE_BAR_MS = 15_000;

type PlotProps = Picture & { kind: string };

/** What is drawn now; hooks of uPlot read it. */
interface Drawn {
  props: PlotProps;
  scale: Scale;
  looks: Look[];
}

export function Plot(given: PlotProps) {
  const isBar = given.kind === "bar";
  const room = Math.floor((HEIGHT - BELOW) / NAME_HEIGHT);
  const chosen = useRef<{ of: string; named: Set<string> }>({ of: "", named: new Set() });
  const { all, loud } = ranked(given.series, room, chosen.current);
  const props = isBar ? binned({ ...given, series: all }) : { ...given, series: all };
  const { series, unit, from, to, gap, state } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [width, setWidth] = useState(0);
  const before = useRef<Scale | null>(null);

  const data = aligned(series, gap);
  const isStack = isBar && series.length > 1 && series.every(({ points }) => points.every(([, value]) => (value ?? 0) >= 0));
  const ys = isStack ? stacked(data.ys) : data.ys;
  const values = ys.flatMap((column) => column.filter((value) => value !== null && value !== undefined));
  const scale = scaleOf(values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity), unit, before.current);
  before.current = scale;
  const look = lookOf(series, loud, state.arms.value);
  const gutter = gutterOf(scale, unit);
  const named = series.map((_, i) => i).slice(series.length - loud);
  const drawn = useRef<Drawn>(null as unknown as Drawn);
  drawn.current = { props, scale, looks: look };

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const watch = new ResizeObserver(() => setWidth(Math.floor(element.clientWidth)));
    watch.observe(element);
    setWidth(Math.floor(element.clientWidth));
    return () => watch.disconnect();
  }, []);

  // Built anew when other series come, or the same in another order.
  const shape = `${props.kind} ${gutter} ${series.map(({ key }) => key).join("\n")}`;
  useEffect(() => {
    if (!box.current || width === 0) return;
    const built = build(box.current, width, gutter, drawn, series, isBar, isStack);
    plot.current = built;
    return () => {
      built.destroy();
      plot.current = null;
    };
  }, [shape, width === 0]);

  const dark = theme.value;
  useEffect(() => {
    const u = plot.current;
    if (!u) return;
    if (u.width !== width) u.setSize({ width, height: HEIGHT });
    u.batch(() => {
      // A stack is drawn from its top layer down, so that each covers what is above it.
      u.setData([data.x, ...(isStack ? ys.toReversed() : ys)] as uPlot.AlignedData, false);
      u.setScale("x", { min: from / 1000, max: to / 1000 });
      u.setScale("y", { min: scale.min, max: scale.max });
    });
    u.redraw(false);
  }, [data.x, ys, from, to, scale, width, dark, shape]);

  const place = (value: number): number => ABOVE + (1 - (value - scale.min) / (scale.max - scale.min || 1)) * (HEIGHT - ABOVE - BELOW);
  const names = namesOf(props, look, named, ys, place);
  return (
    <div class="plot">
      <div class="ground" ref={box} tabIndex={0} role="img" aria-label={`${props.title}: ${names.map(({ words, value }) => `${words} ${value}`).join(", ")}`} onKeyDown={(event) => walk(event, plot.current)} onBlur={() => (state.pointed.value = null)} />
      <Names names={names} more={series.length - named.length} />
    </div>
  );
}

/** Room at the left for the levels' values, in steps, so that a digit more does not move the picture. */
function gutterOf(scale: Scale, unit: Unit): number {
  const longest = Math.max(...scale.levels.map((level) => valued(level, unit).length));
  return Math.ceil((longest * GLYPH + 10) / 12) * 12;
}

/** Bars have a step each, also in the live window. */
function binned(props: PlotProps): PlotProps {
  const stepMs = props.range.stepMs || LIVE_BAR_MS;
  const step = Math.max(stepMs, props.range.ms / 60);
  const series = props.series.map((one) => ({
    ...one,
    points: thinned(one.points, step).map(([at, value]): [number, number | null] => [Math.floor(at / step) * step + step / 2, value]),
  }));
  const gap = step * 2.5;
  return { ...props, series, gap, unknown: unknown(series, props.from, props.to, gap) };
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

function namesOf(props: PlotProps, look: Look[], named: number[], ys: (number | null | undefined)[][], place: (value: number) => number): Name[] {
  const { series, state, to, gap, unit } = props;
  const at = state.pointed.value ?? to;
  const ends = named.map((i) => {
    const end = (ys[i] ?? []).findLast((value) => value !== null && value !== undefined) ?? 0;
    const below = named.length > 1 && props.kind === "bar" ? ((ys[i - 1] ?? []).findLast((value) => value != null) ?? 0) : null;
    return place(below === null || below > end ? end : (end + below) / 2);
  });
  const rows = spread(ends, NAME_HEIGHT, HEIGHT - BELOW + 4 - (named.length < series.length ? NAME_HEIGHT : 0));
  const short = shortened(named.map((i) => series[i]?.name ?? ""));
  return named.map((i, n) => {
    const one = series[i];
    const value = one ? valueAt(one.points, at, gap) : null;
    return {
      key: one?.key ?? String(i),
      words: short[n] ?? "",
      whole: one?.name ?? "",
      value: value === null ? "no data" : valued(value, unit),
      look: look[i] ?? { colour: "--text", dash: [] },
      y: (rows[n] ?? 0) - NAME_HEIGHT / 2,
    };
  });
}

/** Arrow keys move the pointed moment, a point at a time; Escape lets go. */
function walk(event: KeyboardEvent, u: uPlot | null): void {
  if (!u) return;
  const [first, last] = [u.valToIdx(u.scales["x"]?.min ?? 0), u.data[0].length - 1];
  const here = u.cursor.idx ?? last;
  const big = event.shiftKey ? 10 : 1;
  const next = { ArrowLeft: here - big, ArrowRight: here + big, Home: first, End: last, Escape: -1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const left = next < 0 ? -10 : u.valToPos(u.data[0][Math.min(last, Math.max(first, next))] ?? 0, "x");
  u.setCursor({ left, top: 0 });
}

function build(box: HTMLElement, width: number, gutter: number, drawn: { current: Drawn }, series: Series[], isBar: boolean, isStack: boolean): uPlot {
  const index = (i: number): number => (isStack ? series.length - i : i - 1);
  const stroke = (_: uPlot, i: number): string => {
    const at = index(i);
    return token(drawn.current.looks[at]?.colour ?? "--text");
  };
  const bars = uPlot.paths.bars?.({ size: [0.8, 40], align: 0 });
  const columns = series.map((_, n): uPlot.Series => {
    const dash = drawn.current.looks[index(n + 1)]?.dash ?? [];
    const common = { stroke, width: 1.75, spanGaps: false };
    if (isBar && bars) return { ...common, width: 0, fill: stroke, paths: bars, points: { show: false } };
    return { ...common, dash, points: { show: true, size: 4, fill: stroke, width: 0, filter: lone } };
  });
  const options: uPlot.Options = {
    width,
    height: HEIGHT,
    padding: [ABOVE, 0, BELOW, gutter],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false, setScale: false },
      points: { show: false },
      sync: { key: "dash", scales: ["x", null] },
    },
    scales: { x: { time: false, auto: false }, y: { auto: false } },
    axes: [{ show: false }, { show: false }],
    series: [{}, ...columns],
    hooks: {
      drawClear: [(u) => ground(u, drawn.current)],
      draw: [(u) => words(u, drawn.current)],
      setCursor: [
        (u) => {
          const left = u.cursor.left ?? -1;
          drawn.current.props.state.pointed.value = left < 0 ? null : u.posToVal(left, "x") * 1000;
        },
      ],
    },
  };
  return new uPlot(options, [[], ...series.map(() => [])] as unknown as uPlot.AlignedData, box);
}

/** Points that no line reaches are dots. */
function lone(u: uPlot, i: number): number[] {
  const column = u.data[i] ?? [];
  const found: number[] = [];
  let run: number[] = [];
  const end = (): void => {
    if (run.length === 1 && run[0] !== undefined) found.push(run[0]);
    run = [];
  };
  for (let at = 0; at < column.length; at++) {
    if (column[at] === null) end();
    else if (column[at] !== undefined) run.push(at);
  }
  end();
  return found;
}

/** Under the lines: what nobody knows, and the levels. */
function ground(u: uPlot, { props, scale }: Drawn): void {
  const { ctx: context, bbox } = u;
  const pixels = uPlot.pxRatio;
  const x = (at: number): number => u.valToPos(at / 1000, "x", true);
  for (const [begin, end] of props.unknown) {
    hatch(context, Math.max(bbox.left, x(begin)), bbox.top, Math.min(bbox.left + bbox.width, x(end)) - Math.max(bbox.left, x(begin)), bbox.height, pixels);
  }
  context.save();
  context.strokeStyle = token("--line");
  context.lineWidth = pixels;
  context.beginPath();
  for (const level of [scale.min, ...scale.levels]) {
    const y = Math.round(u.valToPos(level, "y", true)) + 0.5;
    context.moveTo(bbox.left, y);
    context.lineTo(bbox.left + bbox.width, y);
  }
  context.stroke();
  context.restore();
}

/** Over them: the levels' values and the time. */
function words(u: uPlot, { props, scale }: Drawn): void {
  const { ctx: context, bbox } = u;
  const pixels = uPlot.pxRatio;
  context.save();
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const level of scale.levels) {
    say(context, valued(level, props.unit), bbox.left - 8 * pixels, u.valToPos(level, "y", true), pixels);
  }
  context.textBaseline = "alphabetic";
  const foot = bbox.top + bbox.height + 16 * pixels;
  context.textAlign = "center";
  for (const at of ticks(props.from, props.to, tickOf(props, bbox.width / pixels))) {
    const x = u.valToPos(at / 1000, "x", true);
    if (x - bbox.left < 18 * pixels || bbox.left + bbox.width - x < 18 * pixels) continue;
    say(context, hourMinute(at), x, foot, pixels);
  }
  context.restore();
}

/** Between two named moments: twice as far where there is little room. */
function tickOf({ range }: Picture, width: number): number {
  return (width * range.tickMs) / range.ms < 56 ? range.tickMs * 2 : range.tickMs;
}
