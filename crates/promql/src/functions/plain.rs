//! Clamping, rounding, sorting, and what turns scalars into vectors and back.

#![expect(clippy::unnecessary_wraps, reason = "all functions of the table have one signature")]

use hmsops_model::labels::Labels;

use crate::ast::{Call, Kind, Span};
use crate::error::EvalError;
use crate::eval::{Column, Evaluated, Evaluator, Grid, Row};

type Answer = Result<Evaluated, EvalError>;

/// Changes each float by the scalars of its step; histograms are dropped.
fn each(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
    change: impl Fn(f64, &[f64]) -> Option<f64>,
) -> Answer {
    let mut params = Vec::new();
    for arg in &call.args[1..] {
        params.push(evaluator.scalars(arg, grid)?);
    }
    let mut rows = evaluator.vector(&call.args[0], grid)?;
    let mut here = vec![0.0; params.len()];
    for row in &mut rows {
        row.is_name_dropped = true;
        row.column.drop_histograms();
        for index in 0..grid.count {
            here.iter_mut().zip(&params).for_each(|(here, param)| *here = param[index]);
            if let Some(value) = row.column.float(index) {
                match change(value, &here) {
                    Some(changed) => row.column.set_float(index, changed),
                    None => row.column.clear(index),
                }
            }
        }
    }
    rows.retain(|row| !row.column.is_absent());
    Ok(Evaluated::Vector(rows))
}

/// The greater, or NaN when either is, but for infinity, which is above all: Go's `math.Max`, as Prometheus has it.
fn greater(a: f64, b: f64) -> f64 {
    let is_top = |value: f64| value.is_infinite() && value > 0.0;
    if is_top(a) || is_top(b) {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The lesser, likewise.
fn lesser(a: f64, b: f64) -> f64 {
    -greater(-a, -b)
}

pub(super) fn clamp(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    each(evaluator, call, grid, |value, bounds| {
        let (low, high) = (bounds[0], bounds[1]);
        // Bounds the wrong way round leave nothing; NaN bounds make NaN.
        (low.partial_cmp(&high) != Some(std::cmp::Ordering::Greater))
            .then(|| greater(low, lesser(high, value)))
    })
}

pub(super) fn clamp_max(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    each(evaluator, call, grid, |value, bounds| Some(lesser(bounds[0], value)))
}

pub(super) fn clamp_min(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    each(evaluator, call, grid, |value, bounds| Some(greater(bounds[0], value)))
}

pub(super) fn round(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    each(evaluator, call, grid, |value, to| {
        // Multiplying with the inverse keeps steps such as 0.1 exact.
        let inverse = 1.0 / to.first().copied().unwrap_or(1.0);
        Some((value * inverse + 0.5).floor() / inverse)
    })
}

fn constant(grid: Grid, value: f64) -> Evaluated {
    Evaluated::Scalar(vec![value; grid.count])
}

pub(super) fn pi(_: &mut Evaluator<'_>, _: &Call, _: Span, grid: Grid) -> Answer {
    Ok(constant(grid, std::f64::consts::PI))
}

pub(super) fn time(_: &mut Evaluator<'_>, _: &Call, _: Span, grid: Grid) -> Answer {
    Ok(Evaluated::Scalar(grid.times().map(|time| time as f64 / 1000.0).collect()))
}

pub(super) fn start(evaluator: &mut Evaluator<'_>, _: &Call, _: Span, grid: Grid) -> Answer {
    Ok(constant(grid, evaluator.asked.from as f64 / 1000.0))
}

pub(super) fn end(evaluator: &mut Evaluator<'_>, _: &Call, _: Span, grid: Grid) -> Answer {
    Ok(constant(grid, evaluator.asked.to as f64 / 1000.0))
}

pub(super) fn step(evaluator: &mut Evaluator<'_>, _: &Call, _: Span, grid: Grid) -> Answer {
    Ok(constant(grid, evaluator.asked.step as f64 / 1000.0))
}

pub(super) fn range(evaluator: &mut Evaluator<'_>, _: &Call, _: Span, grid: Grid) -> Answer {
    Ok(constant(grid, (evaluator.asked.to - evaluator.asked.from) as f64 / 1000.0))
}

fn of_two(evaluator: &mut Evaluator<'_>, call: &Call, grid: Grid, choose: fn(f64, f64) -> f64) -> Answer {
    let left = evaluator.scalars(&call.args[0], grid)?;
    let right = evaluator.scalars(&call.args[1], grid)?;
    Ok(Evaluated::Scalar(left.into_iter().zip(right).map(|(left, right)| choose(left, right)).collect()))
}

pub(super) fn max_of(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    of_two(evaluator, call, grid, greater)
}

pub(super) fn min_of(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    of_two(evaluator, call, grid, lesser)
}

pub(super) fn vector(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    let values = evaluator.scalars(&call.args[0], grid)?;
    let mut column = Column::absent(grid.count);
    values.into_iter().enumerate().for_each(|(index, value)| column.set_float(index, value));
    Ok(Evaluated::Vector(vec![Row { labels: Labels::empty(), is_name_dropped: false, column }]))
}

/// The only float there is, or NaN.
pub(super) fn scalar(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    let rows = evaluator.vector(&call.args[0], grid)?;
    let values = (0..grid.count).map(|index| {
        let mut floats = rows.iter().filter_map(|row| row.column.float(index));
        match (floats.next(), floats.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    });
    Ok(Evaluated::Scalar(values.collect()))
}

/// Sorting says nothing about a range query, whose answer is in the order of labels.
pub(super) fn warn_unsorted(evaluator: &mut Evaluator<'_>, grid: Grid, span: Span) {
    if grid.step != 0 {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        evaluator.notes.warn(span, text);
    }
}

fn sorted(evaluator: &mut Evaluator<'_>, call: &Call, span: Span, grid: Grid, is_descending: bool) -> Answer {
    warn_unsorted(evaluator, grid, span);
    let mut rows = evaluator.vector(&call.args[0], grid)?;
    if grid.count == 1 {
        rows.retain(|row| row.column.float(0).is_some());
        let value = |row: &Row| row.column.float(0).unwrap_or(f64::NAN);
        rows.sort_by(|a, b| {
            let (a, b) = (value(a), value(b));
            // NaN last either way.
            let by_nan = a.is_nan().cmp(&b.is_nan());
            by_nan.then(if is_descending { b.total_cmp(&a) } else { a.total_cmp(&b) })
        });
    }
    Ok(Evaluated::Vector(rows))
}

pub(super) fn sort(evaluator: &mut Evaluator<'_>, call: &Call, span: Span, grid: Grid) -> Answer {
    sorted(evaluator, call, span, grid, false)
}

pub(super) fn sort_desc(evaluator: &mut Evaluator<'_>, call: &Call, span: Span, grid: Grid) -> Answer {
    sorted(evaluator, call, span, grid, true)
}

/// The time of the sample where a selector is asked, else of the evaluation.
pub(super) fn timestamp(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    if let Kind::Selector(selector) = &call.args[0].bare().kind
        && selector.extension.is_none()
    {
        return evaluator.sample_times(selector, grid).map(Evaluated::Vector);
    }
    let mut rows = evaluator.vector(&call.args[0], grid)?;
    for row in &mut rows {
        row.is_name_dropped = true;
        for (index, time) in grid.times().enumerate() {
            if row.column.is_present(index) {
                row.column.set_float(index, time as f64 / 1000.0);
            }
        }
    }
    Ok(Evaluated::Vector(rows))
}

/// When the counter behind a selector's sample began.
pub(super) fn start_timestamp(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    match &call.args[0].bare().kind {
        Kind::Selector(selector) => evaluator.sample_starts(selector, grid).map(Evaluated::Vector),
        _ => Ok(Evaluated::Vector(Vec::new())),
    }
}
