// Scales that people know by heart, and that stay while values move.

import type { Unit } from "../words/unit.ts";

export interface Scale {
  min: number;
  max: number;
  /** Values at which a level is drawn, from low to high. */
  levels: number[];
}

const SHARES = [0.01, 0.05, 0.1, 0.25, 0.5, 1];

/** 1, 2 or 5 times a power of ten, at least `size`. */
function round(size: number): number {
  const ten = 10 ** Math.floor(Math.log10(size));
  return ([1, 2, 5].find((n) => n * ten >= size * (1 - 1e-9)) ?? 10) * ten;
}

/** The scale for values between `low` and `high`; `before` stays if it still serves. */
export function scaleOf(low: number, high: number, unit: Unit, before: Scale | null): Scale {
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [0, 0];
  low = Math.min(low, 0);
  high = Math.max(high, 0);
  if (before && low >= before.min && high <= before.max && high - low >= (before.max - before.min) * 0.3) return before;
  const whole = unit === "share" ? 1 : 100;
  if ((unit === "share" || unit === "percent") && low === 0 && high <= whole) {
    const top = (SHARES.find((share) => high <= share * whole) ?? 1) * whole;
    return { min: 0, max: top, levels: [0, top / 2, top] };
  }
  if (high === low) return { min: 0, max: 1, levels: [0, 1] };
  const step = round((high - low) / 3);
  const [bottom, top] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const levels = Array.from({ length: top - bottom + 1 }, (_, i) => (bottom + i) * step);
  return { min: bottom * step, max: top * step, levels };
}
