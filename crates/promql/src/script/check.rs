//! Whether a case comes out as expected.

use hmsops_model::sample::{Histogram, Value, is_stale_nan};
use hmsops_model::series::{Budget, Series};
use regex::Regex;

use super::case::{About, Case, Expected, Wording};
use super::memory::Memory;
use super::notation::{Described, Item};
use super::recheck;
use crate::ast::Expr;
use crate::error::EvalError;
use crate::eval::{self, Answer, Options, Outcome, Point};
use crate::note::{Note, Severity};
use crate::{histogram, number};

/// Far more than any script needs.
const SAMPLES_MAX: u64 = 1_000_000;

/// Evaluates for one moment.
pub(super) fn instant(memory: &Memory, expr: &Expr, at: i64) -> Result<Answer, EvalError> {
    eval::instant(memory, expr, at, Options::default(), &Budget::new(SAMPLES_MAX, 1 << 30))
}

/// Evaluates for many.
pub(super) fn range(memory: &Memory, expr: &Expr, times: (i64, i64, i64)) -> Result<Answer, EvalError> {
    eval::range(memory, expr, times, Options::default(), &Budget::new(SAMPLES_MAX, 1 << 30))
}

/// Says what is wrong, if anything.
pub(super) fn check(case: &Case, memory: &Memory) -> Result<(), String> {
    let answer = match case.step {
        None => instant(memory, &case.expr, case.from),
        Some(step) => range(memory, &case.expr, (case.from, case.to, step)),
    };
    let fail = case.expectations.iter().find(|expectation| expectation.about == About::Fail);
    let answer = match (answer, fail) {
        (Err(error), Some(expectation)) => {
            let text = error.to_string();
            return if is_worded(&expectation.wording, &text)? {
                Ok(())
            } else {
                Err(format!("fails with other words: {text}"))
            };
        }
        (Err(error), None) => return Err(format!("fails: {error}")),
        (Ok(_), Some(_)) => return Err("should fail".into()),
        (Ok(answer), None) => answer,
    };
    notes(case, &answer.notes)?;
    outcome(case, &answer.outcome)?;
    if case.step.is_none() { recheck::recheck(case, memory) } else { Ok(()) }
}

fn is_worded(wording: &Wording, text: &str) -> Result<bool, String> {
    match wording {
        Wording::Any => Ok(true),
        Wording::Message(message) => Ok(message == text),
        Wording::Pattern(pattern) => {
            Regex::new(pattern).map(|regex| regex.is_match(text)).map_err(|error| error.to_string())
        }
    }
}

fn notes(case: &Case, notes: &[Note]) -> Result<(), String> {
    for (severity, wanted, unwanted) in
        [(Severity::Warning, About::Warn, About::NoWarn), (Severity::Info, About::Info, About::NoInfo)]
    {
        let shown: Vec<String> = notes
            .iter()
            .filter(|note| note.severity == severity)
            .map(|note| note.show(&case.query))
            .collect();
        let of = |about| case.expectations.iter().filter(move |expectation| expectation.about == about);
        if of(unwanted).next().is_some() && !shown.is_empty() {
            return Err(format!("unexpected {shown:?}"));
        }
        if of(wanted).next().is_none() {
            continue;
        }
        if shown.is_empty() {
            return Err(format!("no note of the kind {wanted:?}"));
        }
        for expectation in of(wanted) {
            let mut is_found = false;
            for text in &shown {
                is_found |= is_worded(&expectation.wording, text)?;
            }
            if !is_found {
                return Err(format!("{:?} is not among {shown:?}", expectation.wording));
            }
        }
        for text in &shown {
            let mut is_expected = false;
            for expectation in of(wanted) {
                is_expected |= is_worded(&expectation.wording, text)?;
            }
            if !is_expected {
                return Err(format!("unexpected {text:?}"));
            }
        }
    }
    Ok(())
}

fn outcome(case: &Case, outcome: &Outcome) -> Result<(), String> {
    match (&case.expected, outcome) {
        (Expected::Scalar(expected), Outcome::Scalar(found)) => {
            if is_close(*expected, *found) {
                Ok(())
            } else {
                Err(format!("expected {}, found {}", number::format(*expected), number::format(*found)))
            }
        }
        (Expected::Text(expected), Outcome::Text(found)) if expected == found => Ok(()),
        (Expected::Series(expected), Outcome::Vector(points)) => vector(expected, points, case.is_ordered),
        (Expected::Series(expected), Outcome::Matrix(series)) if case.step.is_some() => {
            if case.is_ordered {
                return Err("the series of a range query have no other order".into());
            }
            matrix(expected, series, case.from, case.step.unwrap_or(1))
        }
        (Expected::Matrix { from, step, series: expected }, Outcome::Matrix(series)) => {
            matrix(expected, series, *from, *step)
        }
        (expected, found) => Err(format!("expected {expected:?}, found {found:?}")),
    }
}

/// Compares an instant vector.
pub(super) fn vector(
    expected: &[(Described, Vec<Item>)],
    points: &[Point],
    is_ordered: bool,
) -> Result<(), String> {
    for (index, point) in points.iter().enumerate() {
        let labels = &point.labels;
        let Some(at) = expected.iter().position(|(described, _)| described.labels == *labels) else {
            return Err(format!("unexpected {labels} = {}", shown(&point.value)));
        };
        if is_ordered && at != index {
            return Err(format!("{labels} is number {}, expected number {}", index + 1, at + 1));
        }
        value(expected[at].1.first(), &point.value).map_err(|why| format!("{labels}: {why}"))?;
    }
    for (described, _) in expected {
        if !points.iter().any(|point| point.labels == described.labels) {
            return Err(format!("{} is missing", described.labels));
        }
    }
    Ok(())
}

fn matrix(
    expected: &[(Described, Vec<Item>)],
    series: &[Series],
    from: i64,
    step: i64,
) -> Result<(), String> {
    for found in series {
        let labels = &found.labels;
        let Some((_, items)) = expected.iter().find(|(described, _)| described.labels == *labels) else {
            return Err(format!("unexpected {labels}"));
        };
        let wanted: Vec<(i64, &Item)> = items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.is_some())
            .map(|(index, item)| (from + step * index as i64, item))
            .collect();
        let times: Vec<i64> = wanted.iter().map(|(time, _)| *time).collect();
        if times != found.samples.times() {
            return Err(format!("{labels}: expected values at {times:?}, found {:?}", found.samples.times()));
        }
        for (index, (time, item)) in wanted.iter().enumerate() {
            value(Some(item), &found.samples.value(index))
                .map_err(|why| format!("{labels} at {time}: {why}"))?;
        }
    }
    for (described, items) in expected {
        let has_values = items.iter().any(Option::is_some);
        if has_values && !series.iter().any(|found| found.labels == described.labels) {
            return Err(format!("{} is missing", described.labels));
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Float(value) => number::format(*value),
        Value::Histogram(histogram) => format!("{histogram:?}"),
        Value::Tally(tally) => format!("{tally:?}"),
    }
}

fn value(expected: Option<&Item>, found: &Value) -> Result<(), String> {
    let is_same = match (expected, found) {
        (Some(Some((Value::Float(expected), _))), Value::Float(found)) => is_close(*expected, *found),
        (Some(Some((Value::Histogram(expected), is_hinted))), Value::Histogram(found)) => {
            is_close_histogram(expected, found, *is_hinted)
        }
        _ => false,
    };
    if is_same {
        return Ok(());
    }
    let expected = expected.cloned().flatten().map_or("nothing".into(), |(value, _)| shown(&value));
    Err(format!("expected {expected}, found {}", shown(found)))
}

/// Equal but for the last digits: a millionth of both together.
#[expect(clippy::float_cmp, reason = "infinities are equal or they are not")]
pub(super) fn is_close(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let size = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < 1e-6
}

#[expect(clippy::float_cmp, reason = "thresholds and bounds must be the same")]
fn is_close_histogram(expected: &Histogram, found: &Histogram, is_hinted: bool) -> bool {
    let (a, b) = (histogram::compact(expected), histogram::compact(found));
    let are_close = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && is_close(a.1, b.1))
    };
    a.schema == b.schema
        && is_close(a.count, b.count)
        && is_close(a.sum, b.sum)
        && a.zero_threshold == b.zero_threshold
        && is_close(a.zero_count, b.zero_count)
        && a.custom == b.custom
        && are_close(&a.positive, &b.positive)
        && are_close(&a.negative, &b.negative)
        && (!is_hinted || a.reset == b.reset)
}
