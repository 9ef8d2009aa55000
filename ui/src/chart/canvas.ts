// How lines and bars get onto a canvas: the only file that knows uPlot.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Picture } from "../dash/Panel.tsx";
import type { Series } from "../dash/points.ts";
import { ticks } from "../dash/range.ts";
import { hourMinute, valued } from "../words/format.ts";
import type { Look } from "./colour.ts";
import { hatch, say, token } from "./ink.ts";
import type { Scale } from "./scale.ts";

export const HEIGHT = 190;
/** Room above for the words of the highest level, below for the time. */
export const ABOVE = 8;
export const BELOW = 22;

/** What is drawn now; hooks of uPlot read it. */
export interface Drawn {
  props: Picture;
  scale: Scale;
  looks: Look[];
}

export type Canvas = uPlot;

/** Arrow keys move the pointed moment, a point at a time; Escape lets go. */
export function walk(event: KeyboardEvent, u: uPlot | null): void {
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

/** An empty plot for these series. */
export function build(box: HTMLElement, width: number, gutter: number, drawn: { current: Drawn }, series: Series[], isBar: boolean, isStack: boolean): uPlot {
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

/** Draws what came, without building anything anew. */
export function update(u: uPlot, width: number, from: number, to: number, x: number[], ys: (number | null | undefined)[][], scale: Scale): void {
  if (u.width !== width) u.setSize({ width, height: HEIGHT });
  u.batch(() => {
    u.setData([x, ...ys] as uPlot.AlignedData, false);
    u.setScale("x", { min: from / 1000, max: to / 1000 });
    u.setScale("y", { min: scale.min, max: scale.max });
  });
  u.redraw(false);
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
