// The latest value, large, over a small picture of how it came to be.

import type { Picture } from "../dash/Panel.tsx";
import { valueAt } from "../dash/points.ts";
import { shortened, spelled } from "../words/format.ts";
import { looks } from "./colour.ts";
import { gapOf } from "./lanes.ts";
import { Spark } from "./Spark.tsx";

const STATS_MAX = 4;

export function Stat({ series, unit, from, to, range, gap, state }: Picture) {
  const look = looks(series.map(({ labels }) => labels), state.arms.value);
  const short = shortened(series.map(({ name }) => name));
  return (
    <dl class={series.length > 1 ? "stats several" : "stats"}>
      {series.slice(0, STATS_MAX).map((one, i) => {
        const value = valueAt(one.points, to, gapOf(range.stepMs));
        const [figure, words] = value === null ? ["no data", ""] : spelled(value, unit);
        return (
          <div key={one.key}>
            <dd class={value === null ? "muted" : ""}>{figure}{words ? <span> {words}</span> : null}</dd>
            {series.length > 1 ? <dt title={one.name} style={{ color: `var(${look[i]?.colour ?? "--text"})` }}>{short[i]}</dt> : <dt class="hidden">{one.name}</dt>}
            <Spark points={one.points} from={from} to={to} gap={gap} />
          </div>
        );
      })}
      {series.length > STATS_MAX ? <p class="muted s">and {series.length - STATS_MAX} more</p> : null}
    </dl>
  );
}
