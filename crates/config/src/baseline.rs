//! `ops/baselines/SERVICE.yaml` → alert rules: what a service's latency is expected to be, and when it has drifted.

use hmsops_model::rule::Expected;
use hmsops_model::{Millis, OnNoData, RuleName, RuleSpec, ServiceName};

use crate::diagnostic::{Checked, Findings, shown};
use crate::fields::{Fields, Key, Shape};
use crate::rule::{HOLD_MAX, INTERVAL_DEFAULT};
use crate::scalar;
use crate::settings::line;
use crate::yaml::{self, Entry, Node};

pub(crate) static BASELINE: Shape = Shape {
    what: "a baseline",
    keys: &[
        Key::needed("service", "service: dmv-photo", "a baseline says which service it is of"),
        Key::needed("expect", "expect: {p50: 40ms, p99: 250ms}", "a baseline says what is expected"),
        Key::optional("drift", "drift: {above: 20 %, for: 10m}"),
    ],
};

pub(crate) static EXPECT: Shape = Shape {
    what: "what is expected",
    keys: &[
        Key::optional("p50", "p50: 40ms"),
        Key::optional("p90", "p90: 120ms"),
        Key::optional("p95", "p95: 160ms"),
        Key::optional("p99", "p99: 250ms"),
        Key::optional("from", "from: esr-run-118"),
    ],
};

pub(crate) static DRIFT: Shape = Shape {
    what: "a drift",
    keys: &[Key::optional("above", "above: 20 %"), Key::optional("for", "for: 10m")],
};

/// The quantiles that can be expected, in per cent.
const QUANTILES: [(&str, u8); 4] = [("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)];

/// More than the noise of a day, less than what users complain of (contract, “Files”).
const ABOVE_DEFAULT: u64 = 20;

/// As long as the contract's example.
const HOLD_DEFAULT: Millis = Millis::from_mins(10);

/// Latencies are counted in buckets a fifth wide, between which is interpolated: less than this is noise.
const ABOVE_FINE: u64 = 10;

/// Requests that must lie beyond a quantile, within the window, before it is told: with fewer it jumps by itself.
const BEYOND: u64 = 10;

/// The shortest and the longest time over which a quantile is taken.
const WINDOW: (Millis, Millis) = (Millis::from_mins(1), Millis::from_mins(60));

/// Reads a baseline: an alert rule for each quantile.
pub fn parse_baseline(text: &str) -> Checked<Vec<RuleSpec>> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, false, "a baseline has `service` and `expect`", &mut out);
    let rules = root.and_then(|root| baseline(&root, &mut out));
    out.finish(rules)
}

fn baseline(root: &Node, out: &mut Findings) -> Option<Vec<RuleSpec>> {
    let fields = Fields::open(root, root.at, &BASELINE, out)?;
    let service = fields.get("service").and_then(|entry| scalar::service(&entry.value, out));
    let drift = match fields.get("drift") {
        Some(entry) => drift(entry, out),
        None => Some((ABOVE_DEFAULT, HOLD_DEFAULT)),
    };
    let expected = fields.get("expect").and_then(|entry| expect(entry, out));
    let ((above, hold), service) = (drift?, service?);
    let (expected, from) = expected?;
    let rules = expected.into_iter().map(|expected| rule(&service, expected, from.as_deref(), (above, hold)));
    rules.collect()
}

/// Quantiles in per cent, each with the latency that is expected, and where that is from.
type Expectations = (Vec<(u8, Millis)>, Option<String>);

fn expect(entry: &Entry, out: &mut Findings) -> Option<Expectations> {
    let fields = Fields::open(&entry.value, entry.at, &EXPECT, out)?;
    let from = match fields.get("from") {
        Some(entry) => Some(line(entry, out)?),
        None => None,
    };
    let mut found: Vec<(u8, Millis)> = Vec::new();
    let mut sound = true;
    for (key, quantile) in QUANTILES {
        let Some(entry) = fields.get(key) else { continue };
        let Some(span) = scalar::span(entry, Millis(1), Millis::from_mins(10), out) else {
            sound = false;
            continue;
        };
        if let Some((lower, faster)) = found.last().filter(|(_, before)| *before > span) {
            let message = format!("`{key}` of {span} is less than the p{lower} of {faster}");
            out.error(entry.value.at, message, "a higher quantile is not faster than a lower one");
            sound = false;
        }
        found.push((quantile, span));
    }
    if found.is_empty() && sound && !fields.disturbed {
        out.error(entry.at, "nothing is expected", "add `p99: 250ms` (or p50, p90, p95)");
        return None;
    }
    (sound && !found.is_empty()).then_some((found, from))
}

fn drift(entry: &Entry, out: &mut Findings) -> Option<(u64, Millis)> {
    let fields = Fields::open(&entry.value, entry.at, &DRIFT, out)?;
    let above = match fields.get("above") {
        Some(entry) => above(entry, out),
        None => Some(ABOVE_DEFAULT),
    };
    let hold = match fields.get("for") {
        Some(entry) => scalar::span(entry, Millis::from_secs(10), HOLD_MAX, out),
        None => Some(HOLD_DEFAULT),
    };
    Some((above?, hold?))
}

/// `20 %`
fn above(entry: &Entry, out: &mut Findings) -> Option<u64> {
    let written = scalar::text(&entry.value, "`above`", "above: 20 %", out)?;
    let number = written.strip_suffix('%').map(str::trim).and_then(|number| number.parse::<u64>().ok());
    let Some(above) = number.filter(|above| (1..=1000).contains(above)) else {
        let message = format!("`{}` is no share from 1 % to 1000 %", shown(written));
        out.error(entry.value.at, message, "write `above: 20 %`");
        return None;
    };
    if above < ABOVE_FINE {
        let hint = "latencies are counted in buckets a fifth wide and interpolated: use 10 % or more";
        out.warning(entry.value.at, format!("{above} % is finer than latencies are measured"), hint);
    }
    Some(above)
}

/// The rule that says it: stable's quantile, in milliseconds, over what was expected.
fn rule(
    service: &ServiceName,
    (quantile, span): (u8, Millis),
    from: Option<&str>,
    (above, hold): (u64, Millis),
) -> Option<RuleSpec> {
    let window = Millis(hold.0 / 2).clamp(WINDOW.0, WINDOW.1).0 / 1000;
    let of = |name: &str| format!("{name}{{service=\"{service}\",arm=\"stable\"}}[{window}s]");
    let needed = BEYOND * 100 / u64::from(100 - quantile);
    let bound = span.0 as f64 * (100 + above) as f64 / 100.0;
    let measured = format!(
        "1000 * histogram_quantile({}, sum by (le) (rate({})))",
        f64::from(quantile) / 100.0,
        of("gateway_latency_seconds_bucket")
    );
    let enough = format!("sum(increase({})) >= {needed}", of("gateway_latency_seconds_count"));
    let from = from.map(|from| format!(" ({from})")).unwrap_or_default();
    let summary =
        format!("{service} is slower than expected: p{quantile} over {span} by more than {above} %{from}");
    Some(RuleSpec {
        name: RuleName::new(format!("{service} drift p{quantile}")).ok()?,
        service: Some(service.clone()),
        expr: format!("{measured} > {bound}"),
        is_literal: true,
        hold,
        keep_firing_for: Millis::ZERO,
        interval: INTERVAL_DEFAULT,
        labels: [].into(),
        annotations: [("summary".to_owned(), summary)].into(),
        heal: None,
        on_nodata: OnNoData::Keep,
        notify: Vec::new(),
        expected: Some(Expected { quantile, span, enough }),
        group: hmsops_model::RuleGroup::default(),
    })
}
