//! One evaluation of one alert rule.

use std::collections::BTreeMap;

use hmsops_control::event::{Evaluation, Outcome};
use hmsops_model::{Labels, RuleSpec, SeriesSource, Value};
use hmsops_promql::ast::Expr;
use hmsops_promql::reading::{Reading, reading, readings};
use hmsops_promql::{Options, instant, parse};

use super::budget;
use super::texts::Texts;
use super::witness::Witness;

/// Evaluates a rule at a moment in Unix milliseconds.
pub(super) fn evaluate(source: &dyn SeriesSource, spec: &RuleSpec, at: i64) -> Evaluation {
    let rule = spec.name.clone();
    let expr = match parse(&spec.expr) {
        Ok(expr) => expr,
        Err(error) => {
            return Evaluation {
                rule,
                expr: spec.expr.clone(),
                outcome: Outcome::Failed(error.to_string()),
                reading: None,
                texts: BTreeMap::new(),
            };
        }
    };
    let witness = Witness::new(source);
    let mut outcome = ask(&witness, &expr, at);
    let mut chosen = None;
    if readings(&expr).is_ambiguous() && witness.has_data() {
        let is_share = |selector: &hmsops_promql::ast::Selector| witness.is_share(&selector.conditions());
        let (how, both) = reading(&expr, spec.is_literal, is_share);
        if how == Reading::Share {
            outcome = ask(&witness, both.expr(how), at);
        }
        chosen = Some(if how == Reading::Share { "share" } else { "per-second" }.to_owned());
    }
    let outcome = match outcome {
        Outcome::Holds(held) if held.is_empty() && !witness.has_data() => Outcome::NoData,
        // With too few requests a quantile says nothing, whatever number comes out.
        Outcome::Holds(_)
            if spec.expected.as_ref().is_some_and(|known| !is_enough(source, &known.enough, at)) =>
        {
            Outcome::NoData
        }
        Outcome::Holds(held) if limit(spec).is_some_and(|limit| held.len() > limit) => {
            Outcome::Failed(format!("exceeded limit of {} with {} alerts", spec.group.limit, held.len()))
        }
        outcome => outcome,
    };
    let (outcome, texts) = match outcome {
        Outcome::Holds(held) => {
            let (held, texts) = Texts::new(source, spec, at).expand(held);
            (Outcome::Holds(held), texts)
        }
        outcome => (outcome, BTreeMap::new()),
    };
    Evaluation { rule, expr: spec.expr.clone(), outcome, reading: chosen, texts }
}

/// Alerts that a rule may give; `None`: as many as it likes.
fn limit(spec: &RuleSpec) -> Option<usize> {
    Some(spec.group.limit as usize).filter(|limit| *limit > 0)
}

/// Whether an expression holds; one that fails does not.
fn is_enough(source: &dyn SeriesSource, expr: &str, at: i64) -> bool {
    let holds = parse(expr).ok().map(|expr| ask(&Witness::new(source), &expr, at));
    matches!(holds, Some(Outcome::Holds(held)) if !held.is_empty())
}

fn ask(witness: &Witness<'_>, expr: &Expr, at: i64) -> Outcome {
    match instant(witness, expr, at, Options::default(), &budget()) {
        Ok(answer) => match answer.outcome {
            hmsops_promql::Outcome::Vector(points) => {
                Outcome::Holds(points.into_iter().map(|point| (point.labels, number(&point.value))).collect())
            }
            // A number that is not 0 holds, as in `vector(1)`.
            hmsops_promql::Outcome::Scalar(value) if value != 0.0 => {
                Outcome::Holds(vec![(Labels::empty(), value)])
            }
            hmsops_promql::Outcome::Scalar(_) => Outcome::Holds(Vec::new()),
            _ => Outcome::Failed("the expression gives neither a number nor an instant vector".into()),
        },
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// A value as a number: of a histogram its count.
pub(super) fn number(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Histogram(histogram) => histogram.count,
        Value::Tally(tally) => tally.last,
    }
}

#[cfg(test)]
pub(super) use tests::spec;

#[cfg(test)]
mod tests {
    use hmsops_model::series::{Found, Selection, Series, SourceError};
    use hmsops_model::{Budget, Millis, OnNoData, RuleName, Samples, Tally};

    use super::*;

    /// Uploads: so many a second, of which a share succeeds, one flush a second.
    struct Uploads {
        until: i64,
        per_second: u64,
        ok: f64,
    }

    impl SeriesSource for Uploads {
        fn select<'a>(&'a self, selection: &Selection<'_>, _: &Budget) -> Result<Found<'a>, SourceError> {
            let mut samples = Samples::default();
            let every = if self.per_second == 0 { 5 } else { 1 };
            let count = self.per_second.max(1);
            for second in (0..self.until).step_by(every).map(|second| second * 1000) {
                if (selection.from..=selection.to).contains(&second) {
                    let sum = (count as f64 * self.ok).round();
                    let (min, max) = (if sum < count as f64 { 0.0 } else { 1.0 }, f64::from(sum > 0.0));
                    samples.push(second, 0, Value::Tally(Tally { sum, count, min, max, last: max }));
                }
            }
            let labels = Labels::new([("__name__", "photo.upload.ok"), ("service", "dmv-photo")]);
            Ok(Box::new(std::iter::once(Ok(Series { labels, samples }))))
        }
    }

    pub(crate) fn spec() -> RuleSpec {
        RuleSpec {
            name: RuleName::new("photo_error_spike").unwrap(),
            service: None,
            expr: "rate(photo.upload.ok[1m]) < 0.7".into(),
            is_literal: false,
            hold: Millis::ZERO,
            keep_firing_for: Millis::ZERO,
            interval: Millis::from_secs(5),
            labels: [].into(),
            annotations: [].into(),
            heal: None,
            on_nodata: OnNoData::Keep,
            notify: Vec::new(),
            expected: None,
            group: hmsops_model::RuleGroup::default(),
        }
    }

    #[test]
    fn the_chapters_rule_is_quiet_when_uploads_are_rare_and_fires_when_many_fail() {
        let at = 600_000;
        // One upload in five seconds, all of them good: 0.2 a second.
        let healthy = Uploads { until: 601, per_second: 0, ok: 1.0 };
        let quiet = evaluate(&healthy, &spec(), at);
        assert_eq!((quiet.outcome, quiet.reading.as_deref()), (Outcome::Holds(Vec::new()), Some("share")));
        // Nine thousand a second, of which 60 % succeed.
        let failing = Uploads { until: 601, per_second: 9000, ok: 0.6 };
        let fires = evaluate(&failing, &spec(), at);
        let Outcome::Holds(held) = fires.outcome else { panic!("{fires:?}") };
        assert!((held[0].1 - 0.6).abs() < 1e-9, "{held:?}");
        // Whoever insists on the literal reading gets it: 0.2 a second is below 0.7, 5 400 is not.
        let literal = RuleSpec { is_literal: true, ..spec() };
        assert!(matches!(evaluate(&healthy, &literal, at).outcome, Outcome::Holds(held) if held.len() == 1));
        assert!(matches!(evaluate(&failing, &literal, at).outcome, Outcome::Holds(held) if held.is_empty()));
    }

    #[test]
    fn an_empty_window_is_no_data_and_a_false_expression_is_not() {
        let gone = Uploads { until: 100, per_second: 10, ok: 0.1 };
        assert_eq!(evaluate(&gone, &spec(), 600_000).outcome, Outcome::NoData);
        let good = Uploads { until: 601, per_second: 10, ok: 1.0 };
        assert_eq!(evaluate(&good, &spec(), 600_000).outcome, Outcome::Holds(Vec::new()));
        let absent = RuleSpec { expr: "absent(photo.upload.ok)".into(), ..spec() };
        assert!(matches!(evaluate(&gone, &absent, 600_000).outcome, Outcome::Holds(held) if held.len() == 1));
    }

    /// A gateway's histogram: so many requests a second, each of so many milliseconds.
    struct Answers {
        per_second: u64,
        millis: f64,
    }

    impl SeriesSource for Answers {
        fn select<'a>(&'a self, selection: &Selection<'_>, _: &Budget) -> Result<Found<'a>, SourceError> {
            let series = |name: &str, le: Option<(String, bool)>| {
                let mut samples = Samples::default();
                for second in 0..1200_i64 {
                    let counted = le.as_ref().is_none_or(|(_, above)| *above);
                    let n = if counted { second as u64 * self.per_second } else { 0 };
                    if (selection.from..=selection.to).contains(&(second * 1000)) {
                        samples.push(second * 1000, 0, Value::Float(n as f64));
                    }
                }
                let own = [("__name__", name), ("service", "dmv-photo"), ("arm", "stable")];
                let le = le.as_ref().map(|(le, _)| ("le", le.as_str()));
                Ok(Series { labels: Labels::new(own.into_iter().chain(le)), samples })
            };
            let mut found = vec![series("gateway_latency_seconds_count", None)];
            for bucket in 12..=68_u8 {
                let end = (f64::from(bucket) / 4.0).exp2() * 0.1;
                let le = (format!("{:.7}", end / 1000.0), self.millis <= end);
                found.push(series("gateway_latency_seconds_bucket", Some(le)));
            }
            found.push(series("gateway_latency_seconds_bucket", Some(("+Inf".into(), true))));
            let wanted = |series: &Series| {
                selection.matchers.iter().all(|m| series.labels.get(&m.name) == Some(m.value.as_str()))
            };
            found.retain(|series| series.as_ref().is_ok_and(wanted));
            Ok(Box::new(found.into_iter()))
        }
    }

    /// M21: slower than expected by more than it may be, told by how much; with too few requests nothing is known.
    #[test]
    fn a_baseline_tells_drift_from_noise_and_from_silence() {
        let text = "service: dmv-photo\nexpect: {p50: 40ms, p99: 250ms, from: esr-run-118}\n";
        let rules = hmsops_config::parse_baseline(text).value.unwrap();
        let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["dmv-photo drift p50", "dmv-photo drift p99"]);
        let p99 =
            |per_second, millis| evaluate(&Answers { per_second, millis }, &rules[1], 1_100_000).outcome;
        assert_eq!(p99(100, 200.0), Outcome::Holds(Vec::new()));
        let Outcome::Holds(held) = p99(100, 380.0) else { panic!("no data") };
        assert!((380.0 / 1.19..380.0 * 1.19).contains(&held[0].1), "{held:?}");
        let said = hmsops_control::signal::sentence::drift_words(&rules[1], 312.4).unwrap();
        assert_eq!(said, "p99 312 ms, expected 250 ms (+25 %) for 10 min");
        assert_eq!(p99(3, 380.0), Outcome::NoData, "900 requests in five minutes");
        assert_eq!(p99(0, 380.0), Outcome::NoData);
    }
}
