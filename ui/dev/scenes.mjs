// Made-up dashboards, one for each thing that must be looked at.

/** A value that wanders, the same at the same moment. */
function wander(seed, at) {
  const t = at / 1000;
  return 0.5 + 0.25 * Math.sin(t / 97 + seed) + 0.15 * Math.sin(t / 23 + seed * 2.3) + 0.1 * Math.sin(t / 7.1 + seed * 5.7);
}

const series = (labels, name, low, high, seed) => ({ labels, name, of: (at) => low + (high - low) * wander(seed, at) });

/** The points of a panel's series on the grid of `step`. */
export function valuesOf(panel, from, to, step) {
  if (panel.error || panel.never) return [];
  const end = panel.mute ? Math.min(to, Date.now() - panel.mute) : to;
  return panel.series.map(({ labels, name, of }) => {
    const points = [];
    for (let at = Math.ceil(from / step) * step; at <= end; at += step) {
      const isHole = panel.hole && Date.now() - at > panel.hole[1] && Date.now() - at < panel.hole[0];
      points.push([at, isHole ? null : of(at)]);
    }
    return { labels, name, points };
  });
}

const arms = (low, high) => [
  series({ service: "csac-portal", version: "1.7.3" }, "1.7.3", low, low + (high - low) / 4, 1),
  series({ service: "csac-portal", version: "1.8.0" }, "1.8.0", low, high, 2),
];
const uploads = { title: "Photo Uploads / sec", query: "sum(rate(photo.upload.ok[5m]))", panel: "line", series: [series({}, "photo.upload.ok", 31, 44, 3)] };
const bad = { title: "Bad answers, share", query: "sum by (version) (rate(answers_bad_total[1m])) / sum by (version) (rate(answers_total[1m]))", panel: "line", series: arms(0.0002, 0.031) };
const p99 = { title: "p99 until an answer began", query: "histogram_quantile(0.99, sum by (le, arm) (rate(answer_seconds_bucket[1m])))", panel: "line", hole: [420_000, 300_000], series: [series({ arm: "stable" }, "stable", 0.038, 0.051, 4), series({ arm: "canary" }, "canary", 0.04, 0.072, 5)] };
const stat = (title, query, low, high, seed, more = {}) => ({ title, query, panel: "stat", series: [series({}, title, low, high, seed)], ...more });
const kinds = ["login", "upload", "search", "renew"];
const perPath = { title: "Requests by path", query: "sum by (path) (rate(requests_total[1m]))", panel: "bar", series: kinds.map((path, i) => series({ path: `/${path}` }, `/${path}`, 20 * (i + 1), 60 * (i + 1), i + 7)) };
const table = { title: "Memory by instance", query: "process_resident_memory_bytes", panel: "table", series: ["portal-1", "portal-2", "photo-1"].map((instance, i) => series({ instance, service: i < 2 ? "csac-portal" : "dmv-photo" }, instance, 2e8, 4e8 + i * 1e8, i)) };
const heat = { title: "Latency buckets", query: "sum by (le) (rate(answer_seconds_bucket[1m]))", panel: "heatmap", hole: [420_000, 300_000], series: ["0.01", "0.05", "0.1", "0.5", "1", "+Inf"].map((le, i) => series({ le }, `≤ ${le} s`, 0, [2, 90, 300, 120, 12, 0.4][i], i + 20)) };

const alert = (more) => ({
  id: "a-12", rule: "photo_error_spike", service: "dmv-photo", labels: {}, state: "fired, heal-running", condition: "firing", handling: "heal-running",
  since: new Date(Date.now() - 72_000).toISOString(), fired_at: new Date(Date.now() - 12_000).toISOString(), value_text: "0.42", silenced_until: null, ...more,
  sentence: more?.sentence ?? "photo_error_spike fired 0 s ago: 0.42; rollback dmv-photo --to=prev runs",
});

const long = "a-service-with-a-very-long-name-that-somebody-found-reasonable.region-eu-central-1.replica-";

export const scenes = {
  dmv: {
    services: ["dmv-photo"],
    panels: [uploads, bad, stat("Requests a second", "sum(rate(requests_total[10s]))", 780, 1240, 31), stat("p99", "histogram_quantile(0.99, answer_seconds_bucket)", 0.041, 0.062, 32), stat("Failed log-ins, share", "auth_fail_ratio", 0.0001, 0.0042, 33), { ...stat("Queue", "queue_length", 0, 9, 34), series: [series({ queue: "in" }, "in", 2, 9, 1), series({ queue: "out" }, "out", 0, 3, 2)] }, p99, perPath, heat, table],
  },
  fired: {
    services: ["dmv-photo"],
    alerts: () => [alert({}), alert({ id: "a-13", rule: "photo_slow", state: "pending", condition: "pending", handling: "open", fired_at: null, sentence: "photo_slow is pending for 20 s of 1 min: p99 is 610 ms" }), alert({ id: null, rule: "photo_queue", state: "no data", condition: "pending", handling: "open", fired_at: null, sentence: "photo_queue has no data since 13:58" }), alert({ id: "a-14", rule: "disk_full", handling: "open", state: "fired", silenced_until: new Date(Date.now() + 7_200_000).toISOString(), sentence: "disk_full fired 2 h ago: 91 %" })],
    panels: [uploads, bad],
  },
  mute: {
    services: [],
    panels: [{ ...uploads, mute: 240_000, last: 38.2 }, { ...bad, title: "Bad answers, share of all", mute: 3_600_000 }, { title: "Log-ins", query: "sum(rate(logins_total[1m]))", panel: "line", never: true, series: [] }, { title: "Ratio", query: "a / on () b[5m]", panel: "line", error: "query failed: `/` wants instant values on both sides; the right one is a range, at 1:10", series: [] }, stat("Requests a second", "sum(rate(requests_total[30s]))", 780, 1240, 31, { mute: 120_000, last: 812 }), { title: "Tickets", query: "tickets", panel: "stat", never: true, series: [] }, { ...table, title: "Memory", query: "process_resident_memory_bytes > 0", mute: 7_200_000, last: 3.1e8 }, { ...heat, title: "Buckets", mute: 300_000 }],
  },
  many: {
    services: [],
    panels: ["line", "bar", "table", "heatmap"].map((panel) => ({ title: `Requests by instance, as ${panel}`, query: `sum by (instance) (rate(requests_total[1m])) # ${panel}`, panel, series: Array.from({ length: 37 }, (_, i) => series({ instance: `portal-${i + 1}` }, `portal-${i + 1}`, i * 3, i * 5 + 20, i)) })),
  },
  long: {
    services: [],
    panels: ["line", "bar", "table", "heatmap", "stat"].map((panel) => ({ title: `A heading that goes on for longer than anybody would read it, drawn as ${panel}, and then some more of it, to be sure`, query: `long_${panel}_bytes`, panel, series: [1, 2, 3].map((i) => series({ instance: long + i, region: "eu-central-1" }, long + i, 1e9 * i, 3e9 * i, i)) })),
  },
  quiet: { services: [], panels: [uploads, bad, stat("Requests a second", "sum(rate(requests_total[10s]))", 780, 1240, 31)] },
  bare: { services: [], panels: [] },
  one: { services: [], panels: [{ ...uploads, query: "sum(rate(photo.upload.ok[9m]))" }] },
};
