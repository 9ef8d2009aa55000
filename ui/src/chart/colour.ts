// Which colour a line has: stable and canary have theirs everywhere; the others are told apart by their names, and
// colour only helps.

import type { Labels } from "../api.ts";

/** Which version is which arm, by `SERVICE VERSION`, as the tower's state tells. */
export type Arms = ReadonlyMap<string, "stable" | "canary">;

export interface Look {
  /** The name of a token. */
  colour: string;
  dash: number[];
}

const TONES = 6;
const DASHES = [[], [7, 4], [2, 4]];

/** The arm that labels name, if they name one. */
export function armOf(labels: Labels, arms: Arms): "stable" | "canary" | null {
  const arm = labels["arm"];
  if (arm === "stable" || arm === "canary") return arm;
  const version = labels["version"];
  if (version === undefined) return null;
  const service = labels["service"];
  if (service !== undefined) return arms.get(`${service} ${version}`) ?? null;
  // A sum over services: its arm is known if it is the same for each that has this version.
  const said = new Set([...arms].filter(([key]) => key.endsWith(` ${version}`)).map(([, arm]) => arm));
  return said.size === 1 ? ([...said][0] ?? null) : null;
}

/** A look for each series, stable while the series stay the same. */
export function looks(all: Labels[], arms: Arms): Look[] {
  let n = 0;
  const seen = { stable: 0, canary: 0 };
  return all.map((labels) => {
    const arm = armOf(labels, arms);
    // Several lines of one arm share its colour and differ in dashes.
    if (arm) return { colour: `--${arm}`, dash: DASHES[seen[arm]++ % DASHES.length] ?? [] };
    const look = { colour: `--line-${(n % TONES) + 1}`, dash: DASHES[Math.floor(n / TONES) % DASHES.length] ?? [] };
    n++;
    return look;
  });
}
