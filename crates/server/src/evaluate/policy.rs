//! A release policy's metric, read for one version.

use hmsops_model::release::PolicySpec;
use hmsops_model::{SeriesSource, ServiceName, Version};
use hmsops_promql::quote::quote;
use hmsops_promql::{Options, Outcome, instant, parse};

use super::budget;
use super::rule::number;

/// Rates are taken over so long a time before the moment: long enough for six scrapes of five seconds.
const WINDOW: &str = "30s";

/// The gateway's own count of requests, by service and version.
const REQUESTS: &str = "gateway_requests_total";

/// Reads a policy's metric for a version at a moment in Unix milliseconds; `None`: it is not known. In this order:
/// the ratio when the policy names a denominator; a series of the metric's name; for `X_rate` the failures
/// `X_total` of each request that the gateway gave the version; else `X_total` by second.
pub(super) fn read(
    source: &dyn SeriesSource,
    spec: &PolicySpec,
    service: &ServiceName,
    version: &Version,
    at: i64,
) -> Option<f64> {
    let of = |metric: &str| selector(metric, service, version);
    let rate = |metric: &str| format!("sum(rate({}[{WINDOW}]))", of(metric));
    if let Some(denominator) = &spec.of {
        return ask(source, &format!("{} / {}", rate(&spec.metric), rate(denominator)), at);
    }
    if let Some(value) = ask(source, &format!("avg({})", of(&spec.metric)), at) {
        return Some(value);
    }
    let stem = spec.metric.strip_suffix("_rate").unwrap_or(&spec.metric);
    let failures = rate(&format!("{stem}_total"));
    let share = ask(source, &format!("{failures} / {}", rate(REQUESTS)), at);
    // Without requests there is no share; without a gateway there is nothing to take a share of.
    let requests = ask(source, &format!("count({})", of(REQUESTS)), at);
    if requests.is_some() { share } else { ask(source, &failures, at) }
}

fn selector(metric: &str, service: &ServiceName, version: &Version) -> String {
    let (metric, service, version) = (quote(metric), quote(service.as_str()), quote(version.as_str()));
    format!("{{__name__={metric}, service={service}, version={version}}}")
}

fn ask(source: &dyn SeriesSource, text: &str, at: i64) -> Option<f64> {
    let expr = parse(text).ok()?;
    match instant(source, &expr, at, Options::default(), &budget()).ok()?.outcome {
        Outcome::Vector(points) => points.first().map(|point| number(&point.value)),
        Outcome::Scalar(value) => Some(value),
        _ => None,
    }
    .filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use hmsops_model::Millis;
    use hmsops_model::release::{Comparison, ComparisonOp, PolicyAction};
    use hmsops_promql::script::Memory;

    use super::*;

    fn auth_fail_rate(of: Option<&str>) -> PolicySpec {
        PolicySpec {
            service: None,
            metric: "auth_fail_rate".into(),
            of: of.map(str::to_owned),
            above: Comparison { op: ComparisonOp::Gt, bound: 0.05 },
            hold: Millis::from_mins(2),
            action: PolicyAction::Rollback,
            notify: Vec::new(),
        }
    }
    const AT: i64 = 600_000;

    /// Every five seconds: so many failures, requests and log-ins a second.
    fn series(kinds: &[(&str, f64)]) -> Memory {
        let mut memory = Memory::default();
        for (name, per_second) in kinds {
            let labels = [("__name__", *name), ("service", "csac-portal"), ("version", "1.8.0")];
            let labels = hmsops_model::Labels::new(labels);
            for time in (0..=AT).step_by(5000) {
                let value = hmsops_model::Value::Float(per_second * time as f64 / 1000.0);
                memory.push(&labels, (time, 0, value)).unwrap();
            }
        }
        memory
    }

    fn at(memory: &Memory, spec: &PolicySpec) -> Option<f64> {
        let (service, version) = (ServiceName::new("csac-portal").unwrap(), Version::new("1.8.0").unwrap());
        read(memory, spec, &service, &version, AT).map(|value| (value * 1e6).round() / 1e6)
    }

    #[test]
    fn the_chapters_metric_is_found_whatever_the_service_tells() {
        let plain = auth_fail_rate(None);
        assert_eq!(at(&series(&[]), &plain), None);
        assert_eq!(
            at(&series(&[("auth_fail_total", 0.2)]), &plain),
            Some(0.2),
            "by second, for want of requests"
        );
        let both = series(&[("auth_fail_total", 0.2), ("gateway_requests_total", 4.0)]);
        assert_eq!(at(&both, &plain), Some(0.05), "a share of the arm's requests");
        let named = series(&[("auth_fail_rate", 0.0), ("auth_fail_total", 0.2)]);
        assert_eq!(at(&named, &plain), Some(0.0), "a series of that very name");
        let of = series(&[("auth_fail_rate", 1.0), ("auth_total", 10.0)]);
        assert_eq!(at(&of, &auth_fail_rate(Some("auth_total"))), Some(0.1), "of a denominator");
    }
}
