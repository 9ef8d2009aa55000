// A row a series, a column a step, darker where there is more.

import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Picture } from "../dash/Panel.tsx";
import { type Series, valueAt } from "../dash/points.ts";
import { ticks } from "../dash/range.ts";
import { hourMinute, shortened, valued } from "../words/format.ts";
import { hatch, say, theme, token } from "./ink.ts";
import { type Scale, scaleOf } from "./scale.ts";
import { useWidth } from "./width.ts";

const ROW = 20;
const ROWS_MAX = 16;
const BELOW = 22;
/** Narrower cells are not seen one by one. */
const CELL = 8;

/** Rows in the order given, but buckets by their bound. */
function rowsOf(series: Series[]): Series[] {
  const bound = (one: Series): number => Number((one.labels["le"] ?? "").replace("Inf", "Infinity"));
  return series.every((one) => "le" in one.labels) ? series.toSorted((a, b) => bound(b) - bound(a)) : series;
}

/** A component of its own, so that a pointer that moves draws nothing else anew. */
function Values({ props, rows, gap }: { props: Picture; rows: Series[]; gap: number }) {
  const at = props.state.pointed.value ?? props.to;
  return (
    <ul class="r">
      {rows.map((row) => {
        const value = valueAt(row.points, at, gap);
        return <li key={row.key}>{value === null ? "no data" : valued(value, props.unit)}</li>;
      })}
    </ul>
  );
}

export function Heatmap(props: Picture) {
  const { unit, from, to, range, state } = props;
  const rows = useMemo(() => rowsOf(props.series).slice(0, ROWS_MAX), [props.series]);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [box, width] = useWidth<HTMLDivElement>();
  const before = useRef<Scale | null>(null);
  const scale = useMemo(() => {
    let high = 0;
    for (const { points } of rows) for (const [, value] of points) high = Math.max(high, value ?? 0);
    return scaleOf(0, high, unit, before.current);
  }, [rows, unit]);
  before.current = scale;
  const step = Math.max(range.stepMs, Math.ceil(range.ms / Math.max(1, width / CELL) / 5000) * 5000);
  const gap = Math.max(props.gap, step);
  const height = rows.length * ROW + BELOW;
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!canvas.current || !context || width === 0) return;
    const pixels = window.devicePixelRatio;
    canvas.current.width = width * pixels;
    canvas.current.height = height * pixels;
    const x = (at: number): number => ((at - from) / (to - from)) * width * pixels;
    rows.forEach((row, i) => {
      for (let at = Math.floor(from / step) * step; at < to; at += step) {
        const begin = Math.max(0, x(at));
        const cell: [number, number, number, number] = [begin, i * ROW * pixels, Math.min(x(at + step), width * pixels) - begin, (ROW - 1) * pixels];
        const value = valueAt(row.points, Math.min(at + step, to), gap);
        if (value === null) {
          hatch(context, ...cell, pixels);
          continue;
        }
        context.globalAlpha = 0.08 + 0.92 * Math.max(0, Math.min(1, value / (scale.max || 1)));
        context.fillStyle = token("--heat");
        context.fillRect(cell[0], cell[1], Math.max(1, cell[2] - 1), cell[3]);
        context.globalAlpha = 1;
      }
    });
    context.textAlign = "center";
    const far = (width * range.tickMs) / range.ms < 56 ? range.tickMs * 2 : range.tickMs;
    for (const at of ticks(from, to, far)) {
      if (x(at) < 18 * pixels || x(at) > (width - 18) * pixels) continue;
      say(context, hourMinute(at), x(at), (rows.length * ROW + 16) * pixels, pixels);
    }
  }, [rows, from, to, width, theme.value, scale]);

  const point = (event: PointerEvent): void => {
    const left = event.clientX - (canvas.current?.getBoundingClientRect().left ?? 0);
    state.pointed.value = from + (left / Math.max(1, width)) * (to - from);
  };
  const short = shortened(rows.map(({ name }) => name));
  return (
    <div>
      <div class="heat">
        <ul>
          {rows.map((row, i) => <li key={row.key} title={row.name}>{short[i]}</li>)}
        </ul>
        <div class="ground" ref={box} onPointerMove={point} onPointerLeave={() => (state.pointed.value = null)}>
          <canvas ref={canvas} role="img" aria-label={`${props.title}, values beside it`} style={{ width: `${width}px`, height: `${height}px` }} />
        </div>
        <Values props={props} rows={rows} gap={gap} />
      </div>
      <p class="heat-key s muted">{valued(0, unit)} <i aria-hidden="true" /> {valued(scale.max, unit)}{props.series.length > ROWS_MAX ? `, and ${props.series.length - ROWS_MAX} rows more` : ""}</p>
    </div>
  );
}
