//! Aggregations of one series over its window.

#![expect(clippy::unnecessary_wraps, reason = "all functions of the table have one signature")]

use std::sync::Arc;

use hmsops_model::sample::ResetHint;

use crate::eval::kahan::{Mean, Sum, Variance};
use crate::eval::{Cell, Scope, Window};
use crate::histogram;
use crate::number;
use crate::quantile::quantile as quantile_of;

type Params<'a> = &'a [f64];

/// Floats where there are any; histograms beside them are ignored, and that is said.
fn floats<'a>(window: &Window<'a>, scope: &mut Scope<'_>) -> Option<&'a [f64]> {
    if window.floats.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        scope.info_ignored();
    }
    Some(window.floats.values)
}

pub(super) fn avg(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    if !window.histograms.is_empty() {
        return histograms(window, scope, true);
    }
    let mut mean = Mean::default();
    window.floats.values.iter().for_each(|value| mean.add(*value));
    Cell::Float(mean.value())
}

pub(super) fn sum(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    if !window.histograms.is_empty() {
        return histograms(window, scope, false);
    }
    let mut sum = Sum::default();
    window.floats.values.iter().for_each(|value| sum.add(*value));
    Cell::Float(sum.value())
}

fn histograms(window: &Window<'_>, scope: &mut Scope<'_>, is_mean: bool) -> Cell {
    if !window.floats.is_empty() {
        scope.warn_mixed();
        return Cell::Absent;
    }
    let values = window.histograms.values;
    let mut total = histogram::Total::new(&values[0]);
    let has = |hint: ResetHint| values.iter().any(|value| value.reset == hint);
    if has(ResetHint::Reset) && has(ResetHint::NotReset) {
        scope.warn("conflicting counter resets during histogram aggregation".into());
    }
    for value in &values[1..] {
        if total.add(value, is_mean).is_none() {
            let name = scope.name().to_owned();
            scope.warn(format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {name:?}"
            ));
            return Cell::Absent;
        }
    }
    if total.is_reconciled {
        scope.info("mismatched custom buckets were reconciled during aggregation".into());
    }
    let joined = if is_mean { total.mean() } else { total.sum() };
    Cell::Histogram(Arc::new(histogram::compact(&joined)))
}

pub(super) fn count(window: &Window<'_>, _: Params<'_>, _: &mut Scope<'_>) -> Cell {
    Cell::Float((window.floats.len() + window.histograms.len()) as f64)
}

pub(super) fn present(_: &Window<'_>, _: Params<'_>, _: &mut Scope<'_>) -> Cell {
    Cell::Float(1.0)
}

pub(super) fn min(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    extreme(window, scope, |value, best| value < best)
}

pub(super) fn max(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    extreme(window, scope, |value, best| value > best)
}

fn extreme(window: &Window<'_>, scope: &mut Scope<'_>, is_better: fn(f64, f64) -> bool) -> Cell {
    floats(window, scope).map_or(Cell::Absent, |values| {
        Cell::Float(values.iter().copied().fold(values[0], |best, value| {
            if best.is_nan() || is_better(value, best) { value } else { best }
        }))
    })
}

/// The time of the extreme, the latest of several, in seconds.
fn time_of(window: &Window<'_>, scope: &mut Scope<'_>, is_better: fn(f64, f64) -> bool) -> Cell {
    let Some(values) = floats(window, scope) else { return Cell::Absent };
    let best = (1..values.len()).fold(0, |best, index| {
        if values[best].is_nan() || is_better(values[index], values[best]) { index } else { best }
    });
    Cell::Float(window.floats.times[best] as f64 / 1000.0)
}

pub(super) fn ts_of_min(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    time_of(window, scope, |value, best| value <= best)
}

pub(super) fn ts_of_max(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    time_of(window, scope, |value, best| value >= best)
}

pub(super) fn first(window: &Window<'_>, _: Params<'_>, _: &mut Scope<'_>) -> Cell {
    match (window.floats.times.first(), window.histograms.times.first()) {
        (Some(float), Some(histogram)) if float > histogram => {
            Cell::Histogram(window.histograms.values[0].clone())
        }
        (Some(_), _) => Cell::Float(window.floats.values[0]),
        _ => Cell::Histogram(window.histograms.values[0].clone()),
    }
}

pub(super) fn last(window: &Window<'_>, _: Params<'_>, _: &mut Scope<'_>) -> Cell {
    let histogram = window.histograms.times.last().zip(window.histograms.values.last());
    match (window.floats.times.last().zip(window.floats.values.last()), histogram) {
        (Some((float, _)), Some((time, histogram))) if float < time => Cell::Histogram(histogram.clone()),
        (Some((_, value)), _) => Cell::Float(*value),
        (None, Some((_, histogram))) => Cell::Histogram(histogram.clone()),
        (None, None) => Cell::Absent,
    }
}

pub(super) fn ts_of_first(window: &Window<'_>, _: Params<'_>, _: &mut Scope<'_>) -> Cell {
    let firsts = [window.floats.times.first(), window.histograms.times.first()];
    firsts.into_iter().flatten().min().map_or(Cell::Absent, |time| Cell::Float(*time as f64 / 1000.0))
}

pub(super) fn ts_of_last(window: &Window<'_>, _: Params<'_>, _: &mut Scope<'_>) -> Cell {
    let lasts = [window.floats.times.last(), window.histograms.times.last()];
    lasts.into_iter().flatten().max().map_or(Cell::Absent, |time| Cell::Float(*time as f64 / 1000.0))
}

pub(super) fn quantile(window: &Window<'_>, params: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    let Some(values) = floats(window, scope) else { return Cell::Absent };
    let q = params[0];
    if !(0.0..=1.0).contains(&q) {
        let got = number::format_general(q);
        scope.warn(format!("quantile value should be between 0 and 1, got {got}"));
    }
    Cell::Float(quantile_of(q, values.to_vec()))
}

/// The median absolute deviation.
pub(super) fn mad(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    floats(window, scope).map_or(Cell::Absent, |values| {
        if values.iter().any(|value| value.is_nan()) {
            return Cell::Float(f64::NAN);
        }
        let median = quantile_of(0.5, values.to_vec());
        Cell::Float(quantile_of(0.5, values.iter().map(|value| (value - median).abs()).collect()))
    })
}

fn variance(window: &Window<'_>, scope: &mut Scope<'_>) -> Option<f64> {
    let mut variance = Variance::default();
    floats(window, scope)?.iter().for_each(|value| variance.add(*value));
    Some(variance.value())
}

pub(super) fn stddev(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    variance(window, scope).map_or(Cell::Absent, |variance| Cell::Float(variance.sqrt()))
}

pub(super) fn stdvar(window: &Window<'_>, _: Params<'_>, scope: &mut Scope<'_>) -> Cell {
    variance(window, scope).map_or(Cell::Absent, Cell::Float)
}

/// Σsum.
pub(super) fn tally_sum(window: &Window<'_>) -> Option<f64> {
    let mut sum = Sum::default();
    window.tallies.iter().for_each(|tally| sum.add(tally.sum));
    Some(sum.value())
}

/// How many values were emitted.
pub(super) fn tally_count(window: &Window<'_>) -> Option<f64> {
    Some(window.tallies.iter().map(|tally| tally.count as f64).sum())
}

/// Σsum / Σcount; nothing when nothing was emitted.
pub(super) fn tally_avg(window: &Window<'_>) -> Option<f64> {
    let count = tally_count(window)?;
    (count > 0.0).then(|| tally_sum(window).map(|sum| sum / count))?
}

/// The least value emitted.
pub(super) fn tally_min(window: &Window<'_>) -> Option<f64> {
    window.tallies.iter().filter(|tally| tally.count > 0).map(|tally| tally.min).reduce(f64::min)
}

/// The greatest value emitted.
pub(super) fn tally_max(window: &Window<'_>) -> Option<f64> {
    window.tallies.iter().filter(|tally| tally.count > 0).map(|tally| tally.max).reduce(f64::max)
}
