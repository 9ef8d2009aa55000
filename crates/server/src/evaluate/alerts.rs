//! The series `ALERTS` and `ALERTS_FOR_STATE` of the alerts that go on, at the interval of their rules, as Prometheus
//! writes them.

use std::collections::BTreeMap;
use std::time::Duration;

use hmsops_control::signal::alert::Alert;
use hmsops_model::labels::METRIC_NAME;
use hmsops_model::rule::is_template;
use hmsops_model::sample::stale_nan;
use hmsops_model::{Labels, Millis, RuleSpec, Value};
use tokio::time::MissedTickBehavior;

use crate::Engine;
use crate::clock::Clock;
use crate::collect::metrics::Sample;
use crate::collect::{Door, Metrics};

/// Between two looks at what is due: the shortest interval of a rule.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Writes them until the tower stops.
pub async fn run(metrics: Metrics, engine: Engine, clock: Clock) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: BTreeMap<String, AlertSeries> = BTreeMap::new();
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = engine.leaves() => return,
        }
        let snapshot = engine.snapshot();
        let signals = &snapshot.state.signals;
        let now = clock.now();
        let mut samples = Vec::new();
        for (name, rule) in &signals.rules {
            let entry = known.entry(name.to_string()).or_default();
            if entry.at.is_none_or(|at| now.steady.since(at) >= rule.spec.interval) {
                entry.at = Some(now.steady);
                let alerts = signals.open_alerts(name).flat_map(|alert| series_of(&rule.spec, alert));
                entry.turn(alerts.collect(), now.wall.0, &mut samples);
            }
        }
        known.retain(|name, entry| {
            let is_known = signals.rules.keys().any(|rule| rule.as_str() == name);
            if !is_known {
                entry.turn(BTreeMap::new(), now.wall.0, &mut samples);
            }
            is_known
        });
        if !samples.is_empty() {
            // What is not stored is counted there, and said once.
            let _counted = metrics.append(Door::Rules, samples).await;
        }
    }
}

/// What was written of a rule's alerts.
#[derive(Default)]
struct AlertSeries {
    at: Option<Millis>,
    last: BTreeMap<Labels, f64>,
}

impl AlertSeries {
    /// The samples of now, and a marker for each series that was there the last time and is not now.
    fn turn(&mut self, now: BTreeMap<Labels, f64>, time: i64, samples: &mut Vec<Sample>) {
        let gone = self.last.keys().filter(|labels| !now.contains_key(*labels));
        let gone = gone.map(|labels| (labels.clone(), stale_nan()));
        let all = now.iter().map(|(labels, value)| (labels.clone(), *value)).chain(gone);
        samples.extend(all.map(|(labels, value)| Sample {
            labels,
            time,
            start: 0,
            value: Value::Float(value),
        }));
        self.last = now;
    }
}

fn series_of(spec: &RuleSpec, alert: &Alert) -> [(Labels, f64); 2] {
    let state = if alert.fired_at.is_some() { "firing" } else { "pending" };
    let labels = |name: &str| {
        let own = alert.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        // Templates were expanded onto the alert when it began.
        let of_rule = spec.labels.iter().filter(|(_, value)| !is_template(value));
        let of_rule = of_rule.map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::new(own.chain(of_rule).chain([("alertname", spec.name.as_str()), (METRIC_NAME, name)]))
    };
    let since = alert.since.wall.0.div_euclid(1000) as f64;
    [(labels("ALERTS").with("alertstate", state), 1.0), (labels("ALERTS_FOR_STATE"), since)]
}
