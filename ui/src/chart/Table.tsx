// The latest values, a row a series, in the order in which the tower sends them, so that rows stand still.

import type { Picture } from "../dash/Panel.tsx";
import { valueAt } from "../dash/points.ts";
import { spelled } from "../words/format.ts";
import { Spark } from "./Spark.tsx";

const ROWS_MAX = 100;
const COLUMNS_MAX = 3;

/** Labels whose values differ; with many, the name for people says it in one column. */
function columnsOf(all: Record<string, string>[]): string[] {
  const names = [...new Set(all.flatMap((labels) => Object.keys(labels)))].sort();
  const differing = names.filter((name) => new Set(all.map((labels) => labels[name])).size > 1);
  return differing.length <= COLUMNS_MAX ? differing : [];
}

export function Table({ series, unit, from, to, gap, title }: Picture) {
  const columns = columnsOf(series.map(({ labels }) => labels));
  return (
    <div class="rows" tabIndex={0} role="region" aria-label={title}>
      <table>
        <thead>
          <tr>
            {columns.length > 0 ? columns.map((name) => <th key={name} scope="col">{name}</th>) : <th scope="col">series</th>}
            <th class="r" scope="col">now</th>
            <th scope="col" class="trend"><span class="hidden">its course</span></th>
          </tr>
        </thead>
        <tbody>
          {series.slice(0, ROWS_MAX).map((one) => {
            const value = valueAt(one.points, to, gap);
            const [figure, words] = value === null ? ["no data", ""] : spelled(value, unit);
            return (
              <tr key={one.key}>
                {columns.length > 0 ? columns.map((name) => <td key={name}>{one.labels[name] ?? ""}</td>) : <td>{one.name}</td>}
                <td class={value === null ? "r muted" : "r"}>{figure} {words}</td>
                <td class="trend"><Spark points={one.points} from={from} to={to} gap={gap} /></td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {series.length > ROWS_MAX ? <p class="muted s">and {series.length - ROWS_MAX} more</p> : null}
    </div>
  );
}
