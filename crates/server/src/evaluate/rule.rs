//! One evaluation of one alert rule.

use hmsops_control::event::{Evaluation, Outcome};
use hmsops_model::{Labels, RuleSpec, SeriesSource, Value};
use hmsops_promql::ast::Expr;
use hmsops_promql::reading::{Reading, reading, readings};
use hmsops_promql::{Options, instant, parse};

use super::budget;
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
        outcome => outcome,
    };
    Evaluation { rule, expr: spec.expr.clone(), outcome, reading: chosen }
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

    fn spec() -> RuleSpec {
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
}
