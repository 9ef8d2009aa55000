//! What the tower itself knows, as series: what gateways counted, whether probes pass, and how the tower is doing.
//!
//! Counters begin at 0 when the tower starts, as those of any program do.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hmsops_control::state::State;
use hmsops_control::state::service::InstancePhase;
use hmsops_model::labels::METRIC_NAME;
use hmsops_model::outcome::{BadKind, Latencies};
use hmsops_model::sample::stale_nan;
use hmsops_model::{Labels, Value};
use hmsops_wire::exposition::{self, Format};
use tokio::time::MissedTickBehavior;

use super::metrics::Sample;
use super::traffic::STABLE;
use super::{Door, GatewayTraffic, Metrics};
use crate::Engine;
use crate::door::own_exposition;

/// Between two samples of what gateways and probes say.
const EVERY: Duration = Duration::from_secs(1);

/// How the tower is doing is written down each so many times.
const STATS_EACH: u64 = 5;

/// Samples of our own exposition: some dozens, and one more per gateway.
const STATS_MAX: usize = 10_000;

/// The `job` of the tower's own series.
const JOB: &str = "hmsops";

/// All kinds of bad answers, with the value of the label `kind`.
const KINDS: [(BadKind, &str); 5] = [
    (BadKind::Status, "status"),
    (BadKind::Timeout, "timeout"),
    (BadKind::Refused, "refused"),
    (BadKind::Broken, "broken"),
    (BadKind::Declared, "declared"),
];

/// The buckets of a gateway's that the latency histogram shows: they end at 2^(i/4) × 0.1 ms, 0.8 ms to 13 s, so that
/// nothing is estimated.
const BUCKETS: std::ops::RangeInclusive<u8> = 12..=68;

/// Each fourth of them; of a service whose latency is watched for drift, all.
const COARSE: usize = 4;

/// Writes it down until the tower ends.
pub async fn keep(metrics: Metrics, engine: Engine, traffic: GatewayTraffic) {
    let mut due = tokio::time::interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = HashMap::new();
    for round in 0_u64.. {
        tokio::select! {
            _ = due.tick() => {}
            () = engine.ended() => return,
        }
        let snapshot = engine.snapshot();
        let time = metrics.clock().now().wall.0;
        let mut now = HashMap::new();
        gateways(&snapshot.state, &traffic, &mut now);
        probes(&snapshot.state, &mut now);
        let mut samples = turn(&mut last, now, time);
        if round % STATS_EACH == 0 {
            let text = own_exposition(&snapshot, &metrics, &metrics.stats().await);
            samples.extend(read_stats(&text).iter().map(|(labels, value)| sample(labels, time, *value)));
        }
        if !samples.is_empty() {
            // What is not stored is counted there, and said once.
            let _counted = metrics.append(Door::Own, samples).await;
        }
    }
}

/// The samples of now, and a mark for each series that was there the last time and is not now.
fn turn(last: &mut HashMap<Labels, f64>, now: HashMap<Labels, f64>, time: i64) -> Vec<Sample> {
    let gone = last.keys().filter(|labels| !now.contains_key(*labels));
    let gone = gone.map(|labels| sample(labels, time, stale_nan()));
    let samples = now.iter().map(|(labels, value)| sample(labels, time, *value)).chain(gone).collect();
    *last = now;
    samples
}

fn sample(labels: &Labels, time: i64, value: f64) -> Sample {
    Sample { labels: labels.clone(), time, start: 0, value: Value::Float(value) }
}

fn gateways(state: &State, traffic: &GatewayTraffic, into: &mut HashMap<Labels, f64>) {
    for ((service, version, arm), total) in traffic.totals(state) {
        let own = [("service", service.as_str()), ("version", version.as_str()), ("arm", arm)];
        let mut put = |name: &str, more: Option<(&str, &str)>, value: u64| {
            let labels = own.into_iter().chain(more).chain([(METRIC_NAME, name)]);
            into.insert(Labels::new(labels), value as f64);
        };
        put("gateway_requests_total", None, total.requests);
        for (kind, text) in KINDS {
            put("gateway_bad_total", Some(("kind", text)), total.bad.get(&kind).copied().unwrap_or(0));
        }
        let fine = arm == STABLE
            && state
                .signals
                .rules
                .values()
                .any(|rule| rule.spec.expected.is_some() && rule.spec.service.as_ref() == Some(&service));
        for (bound, n) in cumulative(&total.latencies, fine) {
            put("gateway_latency_seconds_bucket", Some(("le", &bound)), n);
        }
        put("gateway_latency_seconds_count", None, total.latencies.count());
    }
}

/// Counts up to each bound, with the bound's text in seconds, and all.
fn cumulative(latencies: &Latencies, fine: bool) -> Vec<(String, u64)> {
    let buckets: BTreeMap<u8, u64> = latencies.buckets().collect();
    let bounds = BUCKETS.step_by(if fine { 1 } else { COARSE });
    let up_to = |bound: u8| (bound_text(bound), buckets.range(..=bound).map(|(_, n)| n).sum());
    bounds.map(up_to).chain([("+Inf".to_owned(), latencies.count())]).collect()
}

/// Where a bucket ends, in seconds, to 0.1 µs.
fn bound_text(bucket: u8) -> String {
    let text = format!("{:.7}", (f64::from(bucket) / 4.0).exp2() * 1e-4);
    text.trim_end_matches('0').to_owned()
}

/// Only what is known: an instance whose probes have not said anything yet is neither up nor down.
fn probes(state: &State, into: &mut HashMap<Labels, f64>) {
    for known in state.services.values().flat_map(|service| service.instances.values()) {
        let (InstancePhase::Running, Some(healthy)) = (&known.phase, known.healthy) else { continue };
        let Some(address) = known.upstreams.first() else { continue };
        let labels = [
            (METRIC_NAME, "probe_up"),
            ("service", known.instance.service.as_str()),
            ("version", known.instance.version.as_str()),
            ("instance", address.as_str()),
        ];
        into.insert(Labels::new(labels), if healthy { 1.0 } else { 0.0 });
    }
}

/// Our own page, as a scraper would read it.
fn read_stats(text: &str) -> Vec<(Labels, f64)> {
    let page = match exposition::parse(text.as_bytes(), Format::Text, STATS_MAX) {
        Ok(page) => page,
        Err(error) => {
            tracing::error!("metrics: our own page can't be read at {error}");
            return Vec::new();
        }
    };
    page.samples.iter().map(|sample| (sample.labels.with("job", JOB), sample.value)).collect()
}

#[cfg(test)]
mod tests {
    use hmsops_control::event::Who;
    use hmsops_control::state::service::{InstanceState, Service};
    use hmsops_control::transition::Role;
    use hmsops_model::instance::Instance;
    use hmsops_model::outcome::{ArmTick, Tick};
    use hmsops_model::{InstanceId, Millis, Now, Unit, UnixMillis, Weight};

    use super::*;
    use crate::collect::tests::Site;

    const SERVICES: &str = "services:\n  forms:\n    driver: external\n    route: {gateway: public}\n    \
                            upstreams: {\"1.7.3\": [\"127.0.0.1:1\"]}\n";

    /// A service that runs 1.7.3 behind a gateway.
    fn state() -> State {
        let spec = hmsops_config::parse_services(SERVICES).value.unwrap().remove(0);
        let who = Who { actor: "a".into(), source: "test".into() };
        let (mut service, id) = (Service::new(spec, who), InstanceId(1));
        let version = "1.7.3".parse().unwrap();
        let instance = Instance { id, service: "forms".parse().unwrap(), version, digest: None };
        let known = InstanceState {
            instance,
            role: Role::Stable,
            phase: InstancePhase::Running,
            intended_at: Now::default(),
            pid: None,
            upstreams: vec!["127.0.0.1:1".into()],
            metrics: None,
            ready_at: None,
            healthy: Some(true),
            healthy_since: None,
        };
        service.instances.insert(id, known);
        service.stable = Some(id);
        let mut state = State::default();
        state.services.insert(service.spec.name.clone(), service);
        state
    }

    fn tick(seq: u64, requests: u64, bad: u64) -> Tick {
        let mut stable = ArmTick { requests, ..ArmTick::default() };
        stable.bad.insert(BadKind::Status, bad);
        stable.latencies.observe(2_000);
        Tick {
            service: "forms".parse().unwrap(),
            release: None,
            epoch: 1,
            seq,
            gateway_run: 9,
            at: UnixMillis(0),
            span: Millis(100),
            weight: Weight::NONE,
            unit: Unit::Request,
            canary_waiting: 0,
            stable,
            canary: ArmTick::default(),
        }
    }

    fn shown(into: &HashMap<Labels, f64>, name: &str) -> Vec<String> {
        let mut shown: Vec<String> = into
            .iter()
            .filter(|(labels, _)| labels.name() == Some(name))
            .map(|(labels, value)| format!("{labels} {value}"))
            .collect();
        shown.sort();
        shown
    }

    /// From 0 before the first request, so that `rate` sees the first one; ticks sent again count once.
    #[test]
    fn what_gateways_count_adds_up_by_service_version_and_arm() {
        let (mut state, traffic) = (state(), GatewayTraffic::default());
        let look = |state: &State| {
            let mut into = HashMap::new();
            gateways(state, &traffic, &mut into);
            into
        };
        let requests = r#"gateway_requests_total{arm="stable", service="forms", version="1.7.3"}"#;
        assert_eq!(shown(&look(&state), "gateway_requests_total"), [format!("{requests} 0")]);
        for tick in [tick(1, 5, 1), tick(2, 3, 2), tick(1, 5, 1), tick(2, 3, 2)] {
            traffic.add("public", &state, &tick);
        }
        traffic.add("other", &state, &tick(1, 1, 0));
        let into = look(&state);
        assert_eq!(shown(&into, "gateway_requests_total"), [format!("{requests} 9")]);
        let bad = shown(&into, "gateway_bad_total");
        assert_eq!(bad.len(), 5);
        let status = r#"gateway_bad_total{arm="stable", kind="status", service="forms", version="1.7.3"} 3"#;
        assert!(bad.contains(&status.to_owned()), "{bad:?}");
        let under = r#"gateway_latency_seconds_bucket{arm="stable", le="0.0032", service="forms", version="1.7.3"} 3"#;
        assert!(shown(&into, "gateway_latency_seconds_bucket").contains(&under.to_owned()));
        // A gateway that starts again numbers its ticks anew.
        traffic.add("public", &state, &Tick { gateway_run: 10, ..tick(1, 1, 0) });
        assert_eq!(shown(&look(&state), "gateway_requests_total"), [format!("{requests} 10")]);
        state.services.values_mut().next().unwrap().stable = None;
        assert_eq!(look(&state), HashMap::new(), "an arm that is gone has no series");
    }

    #[test]
    fn an_instance_whose_probes_said_nothing_is_neither_up_nor_down() {
        let mut state = state();
        let mut look = |healthy| {
            let service = state.services.values_mut().next().unwrap();
            service.instances.values_mut().next().unwrap().healthy = healthy;
            let mut into = HashMap::new();
            probes(&state, &mut into);
            shown(&into, "probe_up")
        };
        let labels = r#"probe_up{instance="127.0.0.1:1", service="forms", version="1.7.3"}"#;
        assert_eq!(look(Some(true)), [format!("{labels} 1")]);
        assert_eq!(look(Some(false)), [format!("{labels} 0")]);
        assert!(look(None).is_empty());
    }

    #[tokio::test]
    async fn the_tower_writes_down_how_it_is_doing() {
        let site = Site::new().await;
        let keeping =
            tokio::spawn(keep(site.metrics.clone(), site.engine.clone(), GatewayTraffic::default()));
        let mut wait = tokio::time::interval(Duration::from_millis(20));
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                wait.tick().await;
                let found = site.series("hmsops_series_max");
                if !found.is_empty() {
                    return found;
                }
            }
        });
        let found = found.await.unwrap();
        assert_eq!(found[0].labels.get("job"), Some("hmsops"));
        assert_eq!(found[0].samples.value(0), Value::Float(1_000_000.0));
        let page = own_exposition(&site.engine.snapshot(), &site.metrics, &site.metrics.stats().await);
        assert!(page.contains("hmsops_door_samples_total{door=\"own\"}"), "{page}");
        keeping.abort();
    }

    #[test]
    fn the_bounds_are_those_of_a_gateways_buckets() {
        let texts: Vec<String> = BUCKETS.step_by(COARSE).map(bound_text).collect();
        let shown =
            ["0.0008", "0.0016", "0.0032", "0.0064", "0.0128", "0.0256", "0.0512", "0.1024", "0.2048"];
        assert_eq!(texts[..9], shown);
        assert_eq!(texts[9..], ["0.4096", "0.8192", "1.6384", "3.2768", "6.5536", "13.1072"]);
        assert_eq!(bound_text(13), "0.0009514");
        let mut latencies = Latencies::default();
        for micros in [500, 1_000, 100_000, 60_000_000] {
            latencies.observe(micros);
        }
        let counts = cumulative(&latencies, false);
        assert_eq!(cumulative(&latencies, true).len(), 58);
        let count = |le: &str| counts.iter().find(|(bound, _)| bound == le).unwrap().1;
        assert_eq!(
            [count("0.0008"), count("0.0016"), count("0.1024"), count("13.1072"), count("+Inf")],
            [1, 2, 3, 3, 4]
        );
    }

    #[test]
    fn a_series_that_is_gone_is_marked_once() {
        let labels = |name: &str| Labels::new([(METRIC_NAME, name)]);
        let mut last = HashMap::new();
        turn(&mut last, HashMap::from([(labels("a"), 1.0), (labels("b"), 2.0)]), 1000);
        let samples = turn(&mut last, HashMap::from([(labels("a"), 1.0)]), 2000);
        assert_eq!(samples.iter().filter(|sample| sample.value.is_stale()).count(), 1);
        assert_eq!(turn(&mut last, HashMap::from([(labels("a"), 1.0)]), 3000).len(), 1);
    }
}
