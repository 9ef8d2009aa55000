// All that a dashboard knows, as signals: what was declared, what was heard, and what is looked at.

import { batch, computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import { type Alert, type Changed, type DashSpec, get, type Points, Refused } from "../api.ts";
import type { Arms } from "../chart/colour.ts";
import { clock, SILENT_MS, silence } from "../live/stream.ts";
import { past } from "./history.ts";
import { continued, merged, type PanelData, type Series, stateOf } from "./points.ts";
import { LIVE, rangeOf, withRange } from "./range.ts";

/** Between two fetches of the past: a step, but not more often than this. */
const PAST_EVERY_MIN_MS = 10_000;

/** Panels that come and go are noticed by the points; what is declared is asked for again no more often than this. */
const LOAD_EVERY_MIN_MS = 3000;
/** And while there is none, as often as this. */
const LOAD_EVERY_MS = 10_000;

export type Declared = { kind: "loading" } | { kind: "none" } | { kind: "failed"; why: string } | { kind: "known"; spec: DashSpec };

/** What a panel is drawn from. */
export interface Shown {
  data: PanelData | undefined;
  series: Series[];
  /** Whether something of it is still on its way. */
  isWaiting: boolean;
}

export type Past = { series: Series[]; error: string | null; asked: number };

export function dashState(name: string) {
  const declared = signal<Declared>({ kind: "loading" });
  const panels = signal<ReadonlyMap<string, PanelData>>(new Map());
  const pasts = signal<ReadonlyMap<string, Past>>(new Map());
  const allAlerts = signal<Alert[] | null>(null);
  const arms = signal<Arms>(new Map());
  const range = signal(rangeOf(location.search));
  /** The moment under the pointer, in every panel. */
  const pointed = signal<number | null>(null);
  /** How far the tower's clock is ahead of ours. */
  const ahead = signal(0);

  /** When points came last. */
  const fedAt = signal<number | null>(null);
  /** Milliseconds since panels were fed, once that is long: the tower may live and its panels stand still. */
  const quiet = computed(() => {
    const age = clock.value - (fedAt.value ?? clock.value);
    return Math.max(silence.value, age > SILENT_MS ? age : 0);
  });

  const now = computed(() => clock.value + ahead.value);
  const services = computed(() => (declared.value.kind === "known" ? declared.value.spec.services : []));
  const alerts = computed(() => (allAlerts.value ?? []).filter((alert) => alert.service === name || services.value.includes(alert.service ?? "")));

  let loadedAt = 0;
  const load = async (): Promise<void> => {
    loadedAt = Date.now();
    try {
      declared.value = { kind: "known", spec: await get<DashSpec>(`/hms/v1/dashes/${encodeURIComponent(name)}`) };
    } catch (error) {
      if (error instanceof Refused && error.status === 404) declared.value = { kind: "none" };
      else if (declared.value.kind !== "known") {
        declared.value = { kind: "failed", why: error instanceof Refused ? error.message : "the tower does not answer" };
      }
    }
  };

  const onPoints = (news: Points): void => {
    if (news.dash !== name) return;
    const reset = news.reset === true;
    batch(() => {
      ahead.value = news.at - Date.now();
      clock.value = Date.now();
      fedAt.value = clock.value;
      const next = new Map(reset ? [] : panels.value);
      for (const panel of news.panels) next.set(panel.title, merged(panels.value.get(panel.title), panel, reset, news.at - LIVE.ms));
      panels.value = next;
    });
    const spec = declared.value.kind === "known" ? declared.value.spec : null;
    const isAsDeclared = news.panels.length === (spec?.panels.length ?? 0) && news.panels.every(({ title }) => spec?.panels.some((panel) => panel.title === title));
    if (reset || (!isAsDeclared && Date.now() - loadedAt > LOAD_EVERY_MIN_MS)) void load();
  };

  const onState = (changed: Changed): void => {
    if (changed.alerts) allAlerts.value = changed.alerts;
    const next = new Map(arms.value);
    for (const service of changed.services ?? []) {
      if (service.stable) next.set(`${service.name} ${service.stable.version}`, "stable");
    }
    for (const release of changed.releases ?? []) {
      const key = `${release.service} ${release.version}`;
      if (["starting", "watching"].includes(release.phase)) next.set(key, "canary");
      else if (next.get(key) === "canary" && release.phase !== "rolled-back") next.delete(key);
    }
    arms.value = next;
  };

  const loadPast = async (spec: DashSpec): Promise<void> => {
    const { ms, stepMs } = range.value;
    const to = Math.floor(now.peek() / stepMs) * stepMs;
    const asked = range.value;
    await Promise.all(
      spec.panels.map(async (panel) => {
        const old = pasts.peek().get(panel.title);
        const found = await past(panel, to - ms, to, stepMs).then(
          (series) => ({ series, error: null, asked: stepMs }),
          (error: Error) => ({ series: old?.asked === stepMs ? old.series : [], error: error.message, asked: stepMs }),
        );
        if (range.peek() === asked) pasts.value = new Map(pasts.peek()).set(panel.title, found);
      }),
    );
  };

  effect(() => {
    const { stepMs } = range.value;
    const known = declared.value;
    if (stepMs === 0 || known.kind !== "known") return;
    const renew = (): void => {
      if (document.visibilityState !== "hidden") void loadPast(known.spec);
    };
    renew();
    const timer = window.setInterval(renew, Math.max(stepMs, PAST_EVERY_MIN_MS));
    return () => window.clearInterval(timer);
  });

  effect(() => {
    const known = declared.value;
    const isEmpty = known.kind === "none" || known.kind === "failed" || (known.kind === "known" && known.spec.panels.length === 0);
    if (isEmpty && clock.value - loadedAt > LOAD_EVERY_MS) void load();
  });

  const pictures = new Map<string, ReadonlySignal<Shown>>();
  /** What a panel draws and says over the range that is looked at. */
  const shown = (title: string): Shown => {
    let picture = pictures.get(title);
    if (!picture) {
      picture = computed(() => {
        const data = panels.value.get(title);
        const { stepMs } = range.value;
        if (stepMs === 0) return { data, series: data?.series ?? [], isWaiting: !data };
        const before = pasts.value.get(title);
        const isWaiting = before?.asked !== stepMs;
        const all = data ?? { series: [], error: null, noDataSince: null, last: null };
        const series = continued(isWaiting ? [] : before.series, all.series, stepMs);
        return { data: { ...all, error: all.error ?? (isWaiting ? null : before.error) }, series, isWaiting };
      });
      pictures.set(title, picture);
    }
    return picture.value;
  };

  const look = (href: string): void => {
    history.pushState(null, "", href);
    range.value = rangeOf(location.search);
  };
  window.addEventListener("popstate", () => {
    range.value = rangeOf(location.search);
  });

  void load();
  void get<{ items: Alert[] }>("/hms/v1/alerts?active=true").then(
    ({ items }) => {
      // What the stream said meanwhile is newer.
      allAlerts.value ??= items;
    },
    () => undefined,
  );

  return { name, declared, panels, alerts, arms, range, pointed, now, quiet, shown, look, load, onPoints, onState, stateOf, withRange };
}

export type DashState = ReturnType<typeof dashState>;
