//! The tower's own metrics, in Prometheus' text exposition format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use hmsops_tower::Snapshot;
use hmsops_tsdb::Stats;
use hmsops_wire::gateway::GatewayCounts;
use http::StatusCode;

use super::show;
use crate::bound::{Bounds, Counts};
use crate::collect::metrics::Meter;
use crate::collect::{Door, Metrics};

/// What the doors count.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Answers by the first digit of their status, 1 to 5.
    answers: [AtomicU64; 5],
    refused: AtomicU64,
    too_often: AtomicU64,
}

impl Meters {
    /// An answer went out.
    pub(crate) fn answered(&self, status: StatusCode) {
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.too_often.fetch_add(1, Ordering::Relaxed);
        }
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.answers.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was refused because it is not known who asks, or they may not.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything that is measured.
pub(crate) fn exposition(
    (snapshot, metrics, stats): (&Snapshot, &Metrics, &Stats),
    meters: &Meters,
    bounds: &Bounds,
) -> String {
    let mut text = own_exposition(snapshot, metrics, stats);
    text.push_str(&answers(meters));
    text.push_str(&connections(bounds));
    text
}

/// One of what a door counts.
type Count = fn(&Meter) -> &AtomicU64;

/// What the doors counted.
fn answers(meters: &Meters) -> String {
    let mut text = Exposition(String::new());
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let answers = classes.into_iter().zip(meters.answers.iter().map(|count| count.load(Ordering::Relaxed)));
    text.family("hmsops_http_answers_total", "counter", "Answers of the doors.", labelled("status", answers));
    let refused = meters.refused.load(Ordering::Relaxed);
    let help = "Requests without the right to be made.";
    text.family("hmsops_http_refused_total", "counter", help, [(String::new(), refused)]);
    let often = meters.too_often.load(Ordering::Relaxed);
    let help = "Requests answered with 429: somebody asks too often.";
    text.family("hmsops_http_too_often_total", "counter", help, [(String::new(), often)]);
    text.0
}

/// One of what is counted of connections.
type CountOf = fn(&Counts) -> u64;

/// What became of connections, and what runs because of them.
fn connections(bounds: &Bounds) -> String {
    let mut text = Exposition(String::new());
    let doors = [("web", bounds.web.counts()), ("collector", bounds.collector.counts())];
    let families: [(&str, &str, &str, CountOf); 4] = [
        ("hmsops_connections", "gauge", "Connections, by door.", |counts| counts.taken as u64),
        ("hmsops_connections_max", "gauge", "Connections at most, by door.", |counts| counts.most as u64),
        (
            "hmsops_connections_displaced_total",
            "counter",
            "Silent connections that made way for another one, by door.",
            |counts| counts.displaced,
        ),
        (
            "hmsops_connections_refused_total",
            "counter",
            "Connections for which there was no place, by door.",
            |counts| counts.refused,
        ),
    ];
    for (name, kind, help, of) in families {
        text.family(
            name,
            kind,
            help,
            labelled("door", doors.iter().map(|(door, counts)| (*door, of(counts)))),
        );
    }
    let tasks = tokio::runtime::Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks());
    text.family("hmsops_tasks", "gauge", "Tasks that run or wait.", [(String::new(), tasks as u64)]);
    text.0
}

/// What the tower writes down about itself.
pub(crate) fn own_exposition(snapshot: &Snapshot, metrics: &Metrics, stats: &Stats) -> String {
    let mut text = Exposition(String::new());
    tower(&mut text, snapshot);
    store(&mut text, metrics, stats);
    gateways(&mut text, &metrics.traffic().counts());
    text.0
}

fn tower(text: &mut Exposition, snapshot: &Snapshot) {
    let version = env!("CARGO_PKG_VERSION");
    text.family(
        "hmsops_build_info",
        "gauge",
        "Which program this is.",
        [(format!("version=\"{version}\""), 1)],
    );
    let one = |value: u64| [(String::new(), value)];
    text.family(
        "hmsops_ledger_entries_total",
        "counter",
        "Entries of the ledger.",
        one(snapshot.ledger_size),
    );
    text.family(
        "hmsops_ledger_backlog",
        "gauge",
        "Lines that wait for the ledger.",
        one(snapshot.backlog as u64),
    );
    let failed = u64::from(snapshot.ledger_failed.is_some());
    text.family("hmsops_ledger_failing", "gauge", "1 while the ledger takes nothing.", one(failed));
    let mut phases = BTreeMap::new();
    for release in snapshot.state.releases.values() {
        *phases.entry(show::phase(release.phase).name()).or_insert(0_u64) += 1;
    }
    text.family("hmsops_releases", "gauge", "Releases remembered, by phase.", labelled("phase", phases));
    let active = snapshot.state.releases.values().filter(|release| show::phase(release.phase).is_active());
    let follows = active.filter_map(|release| {
        let measured = show::measured(snapshot, release)?;
        Some((release.spec.service.as_str(), u64::from(measured.follows)))
    });
    let help =
        "1 while a canary's measured share agrees with the one that its step asks for, 0 while it does not.";
    text.family("hmsops_release_share_follows", "gauge", help, labelled("service", follows));
    let mut states = BTreeMap::new();
    for service in snapshot.state.services.values() {
        *states.entry(show::health(snapshot, service).name()).or_insert(0_u64) += 1;
    }
    text.family("hmsops_services", "gauge", "Services, by state.", labelled("state", states));
    let gateways = snapshot.evidence.gateways.keys();
    let live =
        gateways.map(|name| (name.as_str(), u64::from(snapshot.evidence.gateway_live(snapshot.now, name))));
    text.family("hmsops_gateway_live", "gauge", "1 while a gateway is heard.", labelled("gateway", live));
}

fn store(text: &mut Exposition, metrics: &Metrics, stats: &Stats) {
    let one = |value: u64| [(String::new(), value)];
    text.family("hmsops_series", "gauge", "Series of the metric store.", one(stats.series as u64));
    let help = "Series at most; above it new ones are refused.";
    text.family("hmsops_series_max", "gauge", help, one(stats.series_max as u64));
    let help = "Samples stored.";
    text.family("hmsops_samples_appended_total", "counter", help, one(stats.samples_appended));
    let help = "Samples that came after a newer one of their series.";
    text.family("hmsops_samples_late_total", "counter", help, one(stats.late));
    let help = "Samples that were stored before.";
    text.family("hmsops_samples_duplicate_total", "counter", help, one(stats.duplicates));
    let help = "Batches that were stored before.";
    text.family("hmsops_batches_repeated_total", "counter", help, one(stats.repeats));
    let refused = &stats.refused;
    let reasons = [
        ("over_budget", refused.over_budget as u64),
        ("too_old", refused.too_old as u64),
        ("too_new", refused.too_new as u64),
        ("conflicting", refused.conflicting as u64),
        ("bad_labels", refused.bad_labels as u64),
        ("malformed", metrics.malformed()),
    ];
    text.family("hmsops_samples_refused_total", "counter", "Samples refused.", labelled("reason", reasons));
    let families: [(&str, &str, Count); 5] = [
        ("hmsops_door_batches_total", "Batches taken, by door.", |meter| &meter.batches),
        ("hmsops_door_samples_total", "Samples stored, by door.", |meter| &meter.samples),
        ("hmsops_door_samples_refused_total", "Samples refused, by door.", |meter| &meter.refused),
        ("hmsops_door_rejected_total", "Batches refused as a whole, by door.", |meter| &meter.rejected),
        ("hmsops_door_unavailable_total", "Batches sent away for the moment, by door.", |meter| {
            &meter.unavailable
        }),
    ];
    for (name, help, count) in families {
        let doors = Door::ALL.map(|door| (door.name(), count(metrics.meter(door)).load(Ordering::Relaxed)));
        text.family(name, "counter", help, labelled("door", doors));
    }
    let failing = u64::from(stats.latched.is_some() || metrics.failing().is_some());
    let rules = metrics.rules();
    for (name, help, counted) in [
        ("hmsops_rule_evaluations_total", "Recording rules evaluated.", &rules.evaluations),
        ("hmsops_rule_evaluation_failures_total", "Recording rules that failed.", &rules.failures),
        (
            "hmsops_rule_group_missed_total",
            "Evaluations of groups of recording rules given up.",
            &rules.missed,
        ),
    ] {
        text.family(name, "counter", help, one(counted.load(Ordering::Relaxed)));
    }
    text.family("hmsops_metrics_failing", "gauge", "1 while the metric store takes nothing.", one(failing));
    let help = "1 while no checkpoint of the metric store can be made.";
    let no_checkpoint = u64::from(stats.checkpoint_error.is_some());
    text.family("hmsops_metrics_checkpoint_failing", "gauge", help, one(no_checkpoint));
    let help = "Bytes of the metric store's log since the last checkpoint.";
    text.family("hmsops_metrics_log_bytes", "gauge", help, one(stats.wal_bytes));
    let help = "Bytes of the metric store's files of chunks.";
    text.family("hmsops_metrics_chunk_bytes", "gauge", help, one(stats.chunk_bytes));
}

/// One of what a gateway counts.
type Counted = fn(&GatewayCounts) -> u64;

/// What gateways refused, retried and left alone.
fn gateways(text: &mut Exposition, counts: &BTreeMap<String, GatewayCounts>) {
    let one = |name: &str, value: &str| format!("{name}=\"{}\"", escaped(value));
    let label = |gateway: &str| one("gateway", gateway);
    let refused = counts.iter().flat_map(|(gateway, counts)| {
        let reasons = counts.refused.iter().map(|(reason, n)| (reason.as_str(), *n));
        labelled("reason", reasons)
            .into_iter()
            .map(move |(reason, n)| (format!("{},{reason}", label(gateway)), n))
    });
    let help = "Requests and connections that a gateway refused or ended, by reason.";
    text.family("hmsops_gateway_refused_total", "counter", help, refused);
    let families: [(&str, &str, Counted); 3] = [
        (
            "hmsops_gateway_ejections_total",
            "Times an upstream was left alone because it failed more than the others.",
            |counts| counts.ejections,
        ),
        (
            "hmsops_gateway_retries_over_budget_total",
            "Retries that a gateway's budget did not allow.",
            |counts| counts.over_budget,
        ),
        (
            "hmsops_gateway_access_log_dropped_total",
            "Lines of the access log that could not be kept.",
            |counts| counts.unlogged,
        ),
    ];
    for (name, help, of) in families {
        let samples = counts.iter().map(|(gateway, counts)| (label(gateway), of(counts)));
        text.family(name, "counter", help, samples);
    }
    let ejected = counts.iter().flat_map(|(gateway, counts)| {
        counts.ejected.iter().map(move |ejected| {
            let of = (one("service", ejected.service.as_str()), one("upstream", &ejected.upstream));
            (format!("{},{},{}", label(gateway), of.0, of.1), 1)
        })
    });
    let help = "1 while an upstream is left alone.";
    text.family("hmsops_gateway_upstream_ejected", "gauge", help, ejected);
}

fn labelled<'a>(label: &'a str, values: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<(String, u64)> {
    values.into_iter().map(|(value, n)| (format!("{label}=\"{}\"", escaped(value)), n)).collect()
}

/// A label's value as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Exposition(String);

impl Exposition {
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, u64)>,
    ) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use hmsops_model::ServiceName;
    use hmsops_wire::gateway::EjectedUpstream;

    use super::*;

    /// What gateways count stands in `/metrics`, by gateway, in the format's own escapes.
    #[test]
    fn what_gateways_count_is_written_by_gateway() {
        let service = ServiceName::new("portal").unwrap();
        let counts = GatewayCounts {
            refused: [("rate".to_owned(), 7), ("body-size".to_owned(), 2)].into(),
            over_budget: 3,
            ejections: 4,
            ejected: vec![EjectedUpstream { service, upstream: "127.0.0.1:\"81".to_owned() }],
            unlogged: 5,
        };
        let mut text = Exposition(String::new());
        gateways(
            &mut text,
            &[("inner".to_owned(), GatewayCounts::default()), ("edge".to_owned(), counts)].into(),
        );
        let samples: Vec<&str> = text.0.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "hmsops_gateway_refused_total{gateway=\"edge\",reason=\"body-size\"} 2",
                "hmsops_gateway_refused_total{gateway=\"edge\",reason=\"rate\"} 7",
                "hmsops_gateway_ejections_total{gateway=\"edge\"} 4",
                "hmsops_gateway_ejections_total{gateway=\"inner\"} 0",
                "hmsops_gateway_retries_over_budget_total{gateway=\"edge\"} 3",
                "hmsops_gateway_retries_over_budget_total{gateway=\"inner\"} 0",
                "hmsops_gateway_access_log_dropped_total{gateway=\"edge\"} 5",
                "hmsops_gateway_access_log_dropped_total{gateway=\"inner\"} 0",
                "hmsops_gateway_upstream_ejected{gateway=\"edge\",service=\"portal\",upstream=\"127.0.0.1:\\\"81\"} 1",
            ]
        );
        let types = text.0.lines().filter(|line| line.starts_with("# TYPE hmsops_gateway_"));
        assert_eq!(types.count(), 5, "{}", text.0);
    }
}
