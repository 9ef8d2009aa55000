//! The tower's own metrics, in Prometheus' text exposition format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use hmsops_tower::Snapshot;
use http::StatusCode;

use super::show;

/// What the doors count.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Answers by the first digit of their status, 1 to 5.
    answers: [AtomicU64; 5],
    refused: AtomicU64,
}

impl Meters {
    /// An answer went out.
    pub(crate) fn answered(&self, status: StatusCode) {
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
pub(crate) fn exposition(snapshot: &Snapshot, meters: &Meters) -> String {
    let mut text = Exposition(String::new());
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
    let mut states = BTreeMap::new();
    for service in snapshot.state.services.values() {
        *states.entry(show::health(snapshot, service).name()).or_insert(0_u64) += 1;
    }
    text.family("hmsops_services", "gauge", "Services, by state.", labelled("state", states));
    let gateways = snapshot.evidence.gateways.keys();
    let live =
        gateways.map(|name| (name.as_str(), u64::from(snapshot.evidence.gateway_live(snapshot.now, name))));
    text.family("hmsops_gateway_live", "gauge", "1 while a gateway is heard.", labelled("gateway", live));
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let answers = classes.into_iter().zip(meters.answers.iter().map(|count| count.load(Ordering::Relaxed)));
    text.family("hmsops_http_answers_total", "counter", "Answers of the doors.", labelled("status", answers));
    let refused = meters.refused.load(Ordering::Relaxed);
    text.family(
        "hmsops_http_refused_total",
        "counter",
        "Requests without the right to be made.",
        one(refused),
    );
    text.0
}

fn labelled<'a>(label: &'a str, values: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<(String, u64)> {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    values.into_iter().map(|(value, n)| (format!("{label}=\"{}\"", escaped(value)), n)).collect()
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
