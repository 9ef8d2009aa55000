//! The same query asked in other ways must answer the same: as a range query around its moment, and with its moment
//! fixed by `@` from elsewhere.

use hmsops_model::series::Series;

use super::case::{Case, Expected};
use super::check::{instant, is_close, range, vector};
use super::memory::Memory;
use crate::ast::{At, Expr, Kind};
use crate::eval::{Outcome, Point};
use crate::{number, parse};

/// Functions whose value depends on when they are evaluated, whatever `@` says.
const MOMENTARY: [&str; 16] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start",
    "end",
    "step",
    "range",
    "start_timestamp",
];

/// Says which other way answers differently, if any.
pub(super) fn recheck(case: &Case, memory: &Memory) -> Result<(), String> {
    let is_plain = matches!(case.expected, Expected::Scalar(_) | Expected::Series(_));
    let speaks_of_range =
        ["start()", "end()", "range()", "step()"].iter().any(|word| case.query.contains(word));
    let at = case.from;
    if is_plain && !speaks_of_range {
        as_range(case, memory, &case.expr, at)?;
    }
    if !is_plain || is_momentary(&case.expr) {
        return Ok(());
    }
    let mut pinned = case.expr.clone();
    pin(&mut pinned, at);
    let text = pinned.to_string();
    let pinned = parse(&text).map_err(|error| format!("`{text}` does not parse: {error}"))?;
    let moments = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    for moment in moments {
        let answer = instant(memory, &pinned, moment)
            .map_err(|error| format!("`{text}` at {moment}: fails: {error}"))?;
        same(case, &answer.outcome).map_err(|why| format!("`{text}` at {moment}: {why}"))?;
        if !speaks_of_range {
            as_range(case, memory, &pinned, moment)?;
        }
    }
    Ok(())
}

fn same(case: &Case, outcome: &Outcome) -> Result<(), String> {
    match (&case.expected, outcome) {
        (Expected::Scalar(expected), Outcome::Scalar(found)) if is_close(*expected, *found) => Ok(()),
        (Expected::Series(expected), Outcome::Vector(points)) => vector(expected, points, case.is_ordered),
        (_, found) => Err(format!("found {found:?}")),
    }
}

/// From a minute before to a minute after, by minutes.
fn as_range(case: &Case, memory: &Memory, expr: &Expr, at: i64) -> Result<(), String> {
    let times = (at - 60_000, at + 60_000, 60_000);
    let fail = |why: String| format!("`{expr}` as a range around {at}: {why}");
    let answer = range(memory, expr, times).map_err(|error| fail(format!("fails: {error}")))?;
    if case.is_ordered {
        return Ok(());
    }
    let Outcome::Matrix(series) = &answer.outcome else { return Err(fail("not a matrix".into())) };
    match &case.expected {
        Expected::Scalar(expected) => {
            let found = series.first().and_then(|series| point(series, at)).map(|point| point.value);
            match found {
                Some(hmsops_model::sample::Value::Float(found)) if is_close(*expected, found) => Ok(()),
                found => Err(fail(format!("expected {}, found {found:?}", number::format(*expected)))),
            }
        }
        Expected::Series(expected) => {
            let points: Vec<Point> = series.iter().filter_map(|series| point(series, at)).collect();
            vector(expected, &points, false).map_err(fail)
        }
        _ => Ok(()),
    }
}

fn point(series: &Series, at: i64) -> Option<Point> {
    let index = series.samples.times().binary_search(&at).ok()?;
    Some(Point { labels: series.labels.clone(), time: at, value: series.samples.value(index) })
}

/// Every node below, itself included.
fn any(expr: &Expr, is_wanted: &dyn Fn(&Expr) -> bool) -> bool {
    is_wanted(expr) || children(expr).into_iter().any(|child| any(child, is_wanted))
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        Kind::Number { .. } | Kind::Text(_) | Kind::Selector(_) | Kind::Range(_) => Vec::new(),
        Kind::Subquery(subquery) => vec![&subquery.expr],
        Kind::Call(call) => call.args.iter().collect(),
        Kind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
        Kind::Binary(binary) => vec![&binary.left, &binary.right],
        Kind::Unary { expr, .. } | Kind::Paren(expr) => vec![expr],
    }
}

fn is_momentary(expr: &Expr) -> bool {
    any(expr, &|node| match &node.kind {
        Kind::Call(call) => MOMENTARY.contains(&call.function.name),
        _ => false,
    })
}

/// Sets `@` wherever there is none, not below a subquery that has one.
fn pin(expr: &mut Expr, at: i64) {
    match &mut expr.kind {
        Kind::Number { .. } | Kind::Text(_) => {}
        Kind::Selector(selector) => {
            selector.at.get_or_insert(At::Time(at));
        }
        Kind::Range(range) => {
            range.selector.at.get_or_insert(At::Time(at));
        }
        Kind::Subquery(subquery) => {
            if subquery.at.is_none() {
                subquery.at = Some(At::Time(at));
            }
        }
        Kind::Call(call) => call.args.iter_mut().for_each(|arg| pin(arg, at)),
        Kind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                pin(param, at);
            }
            pin(&mut aggregate.expr, at);
        }
        Kind::Binary(binary) => {
            pin(&mut binary.left, at);
            pin(&mut binary.right, at);
        }
        Kind::Unary { expr, .. } | Kind::Paren(expr) => pin(expr, at),
    }
}
