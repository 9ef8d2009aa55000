// The JSON of the tower that the live parts read. Only what they use is named.

export type Labels = Record<string, string>;

export interface Alert {
  id: string | null;
  rule: string;
  service: string | null;
  state: string;
  condition: string;
  handling: string;
  since: string | null;
  fired_at: string | null;
  value_text: string;
  silenced_until: string | null;
  sentence: string;
}

export interface Service {
  name: string;
  system: string;
  stable: { version: string } | null;
  release: string | null;
}

export interface Release {
  id: string;
  service: string;
  version: string;
  phase: string;
}

/** Event `state`: what changed. */
export interface Changed {
  services?: Service[];
  releases?: Release[];
  alerts?: Alert[];
}

export type PanelKind = "line" | "bar" | "stat" | "table" | "heatmap";

export interface PanelSpec {
  title: string;
  query: string;
  panel: PanelKind;
}

export interface DashSpec {
  name: string;
  url: string;
  panels: PanelSpec[];
  services: string[];
}

/** A moment in Unix milliseconds, and a value that may be missing. */
export type Point = [number, number | null];

export interface SeriesPoints {
  labels: Labels;
  name: string;
  points: Point[];
}

export interface PanelPoints {
  title: string;
  series: SeriesPoints[];
  error: string | null;
  no_data_since: number | null;
  last: number | null;
}

/** Event `points`: what is newer than what was sent before on this connection; all of it with `reset`. */
export interface Points {
  dash: string;
  at: number;
  reset?: boolean;
  panels: PanelPoints[];
}

/** A failure with what a person may read. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const TIMEOUT_MS = 15_000;

/** Fetches JSON; a failure says what the tower said. */
export async function get<T>(url: string): Promise<T> {
  const answer = await fetch(url, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  const body: unknown = await answer.json().catch(() => null);
  if (!answer.ok) {
    const said = body as { detail?: string; title?: string; error?: string } | null;
    throw new Refused(answer.status, said?.error ?? said?.detail ?? said?.title ?? `status ${answer.status}`);
  }
  return body as T;
}
