// A line as small as a word.

import type { Point } from "../api.ts";

const WIDTH = 100;
const HEIGHT = 30;

export function Spark({ points, from, to, gap }: { points: Point[]; from: number; to: number; gap: number }) {
  const values = points.flatMap(([, value]) => (value === null ? [] : [value]));
  const low = values.reduce((a, b) => Math.min(a, b), 0);
  const high = values.reduce((a, b) => Math.max(a, b), 0) || 1;
  let path = "";
  let before: number | null = null;
  for (const [at, value] of points) {
    if (value === null || at < from) {
      before = null;
      continue;
    }
    const x = ((at - from) / (to - from)) * WIDTH;
    const y = HEIGHT - 2 - ((value - low) / (high - low || 1)) * (HEIGHT - 4);
    path += `${before !== null && at - before <= gap ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`;
    before = at;
  }
  return (
    <svg class="little" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
