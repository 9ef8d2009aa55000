//! How a series moves within its window.

use crate::eval::kahan::Sum;
use crate::eval::{Cell, Scope, Window};
use crate::histogram;

use super::rate::is_restarted;

/// Slope per second and value at `at` of the least-squares line through the floats.
#[expect(clippy::float_cmp, reason = "a constant series has a slope of exactly 0")]
fn line(window: &Window<'_>, at: i64) -> (f64, f64) {
    let values = window.floats.values;
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, value) in window.floats.times.iter().zip(values) {
        let x = time.saturating_sub(at) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(*value);
        xy_sum.add(x * value);
        xx_sum.add(x * x);
    }
    let n = values.len() as f64;
    let covariance = xy_sum.value() - x_sum.value() * y_sum.value() / n;
    let variance = xx_sum.value() - x_sum.value() * x_sum.value() / n;
    let slope = covariance / variance;
    (slope, y_sum.value() / n - slope * x_sum.value() / n)
}

fn fits(window: &Window<'_>, scope: &mut Scope<'_>) -> bool {
    let floats = window.floats.len();
    if floats > 0 && !window.histograms.is_empty() {
        scope.info_ignored();
    }
    floats >= 2
}

pub(super) fn deriv(window: &Window<'_>, _: &[f64], scope: &mut Scope<'_>) -> Cell {
    if !fits(window, scope) {
        return Cell::Absent;
    }
    // Times relative to the first sample keep the products small.
    Cell::Float(line(window, window.floats.times[0]).0)
}

pub(super) fn predict(window: &Window<'_>, params: &[f64], scope: &mut Scope<'_>) -> Cell {
    if !fits(window, scope) {
        return Cell::Absent;
    }
    let (slope, value) = line(window, window.at);
    Cell::Float(slope * params[0] + value)
}

/// Holt's double exponential smoothing: a level and a trend, both followed with their factors.
pub(super) fn smooth(window: &Window<'_>, params: &[f64], scope: &mut Scope<'_>) -> Cell {
    let (level_factor, trend_factor) = (params[0], params[1]);
    let values = window.floats.values;
    if !fits(window, scope) || !(0.0..=1.0).contains(&level_factor) || !(0.0..=1.0).contains(&trend_factor) {
        return Cell::Absent;
    }
    let (mut before, mut level, mut trend) = (0.0, values[0], values[1] - values[0]);
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        before = level;
        level = level_factor * value + (1.0 - level_factor) * (level + trend);
    }
    Cell::Float(level)
}

/// Floats and histograms in the order of their times, as indexes.
fn ordered(window: &Window<'_>) -> Vec<(i64, bool, usize)> {
    let floats = window.floats.times.iter().enumerate().map(|(index, time)| (*time, true, index));
    let histograms = window.histograms.times.iter().enumerate().map(|(index, time)| (*time, false, index));
    let mut all: Vec<(i64, bool, usize)> = floats.chain(histograms).collect();
    all.sort_unstable();
    all
}

#[expect(clippy::float_cmp, reason = "every change counts")]
fn is_changed(before: f64, now: f64) -> bool {
    before != now && !(before.is_nan() && now.is_nan())
}

pub(super) fn changes(window: &Window<'_>, _: &[f64], _: &mut Scope<'_>) -> Cell {
    let Some(points) = anchored(window) else { return Cell::Absent };
    let changed = points.windows(2).filter(|pair| match (pair[0], pair[1]) {
        ((_, true, a), (_, true, b)) => is_changed(window.floats.values[a], window.floats.values[b]),
        ((_, false, a), (_, false, b)) => {
            !histogram::is_equal(&window.histograms.values[a], &window.histograms.values[b])
        }
        _ => true,
    });
    Cell::Float(changed.count() as f64)
}

pub(super) fn resets(window: &Window<'_>, _: &[f64], _: &mut Scope<'_>) -> Cell {
    let Some(points) = anchored(window) else { return Cell::Absent };
    let (floats, histograms) = (window.floats, window.histograms);
    let reset = points.windows(2).filter(|pair| match (pair[0], pair[1]) {
        ((_, true, a), (_, true, b)) => {
            floats.values[b] < floats.values[a] || is_restarted(floats.starts, floats.times, b)
        }
        ((_, false, a), (_, false, b)) => {
            is_restarted(histograms.starts, histograms.times, b)
                || histogram::is_reset(&histograms.values[b], &histograms.values[a])
        }
        _ => true,
    });
    Cell::Float(reset.count() as f64)
}

/// The samples to compare, in order; `None` when an anchored window holds nothing but the sample before it.
fn anchored(window: &Window<'_>) -> Option<Vec<(i64, bool, usize)>> {
    let points = ordered(window);
    let is_inside = points.last().is_some_and(|(time, _, _)| *time > window.from);
    is_inside.then_some(points)
}
