//! Growth of counters and gauges: `rate`, `increase`, `delta`, `irate`, `idelta`.
//!
//! Extrapolation as Prometheus documents it for `rate()`: to the window's edges when the samples come within 1.1
//! average distances of them, else by half a distance, and for counters not below zero.

#![expect(clippy::unnecessary_wraps, reason = "all functions of the table have one signature")]

use std::sync::Arc;

use hmsops_model::sample::{Histogram, ResetHint};

use crate::ast::Extension;
use crate::eval::{Cell, Scope, Window};
use crate::histogram;

pub(super) fn rate(window: &Window<'_>, _: &[f64], scope: &mut Scope<'_>) -> Cell {
    grown(window, scope, true, true)
}

pub(super) fn increase(window: &Window<'_>, _: &[f64], scope: &mut Scope<'_>) -> Cell {
    grown(window, scope, true, false)
}

pub(super) fn delta(window: &Window<'_>, _: &[f64], scope: &mut Scope<'_>) -> Cell {
    grown(window, scope, false, false)
}

/// Everything emitted within the window.
pub(super) fn tally_increase(window: &Window<'_>) -> Option<f64> {
    Some(window.tallies.iter().map(|tally| tally.sum).sum())
}

/// What was emitted, by second: no extrapolation, because a tally says all that happened.
pub(super) fn tally_rate(window: &Window<'_>) -> Option<f64> {
    tally_increase(window).map(|sum| sum / window.seconds())
}

/// Whether the counter of a sample began after the sample before it. One that began exactly then is a new one when the
/// start before is known (a delta), else the start is not known at all (OpenTelemetry's way of saying so).
pub(super) fn is_restarted(starts: &[i64], times: &[i64], index: usize) -> bool {
    let (Some(&start), Some(&before)) = (starts.get(index), starts.get(index - 1)) else { return false };
    let last = times[index - 1];
    if start == 0 || start >= times[index] || start < last {
        return false;
    }
    start > last || (before != 0 && before < last)
}

/// The growth between first and last sample with resets made up for, its first time and its first value.
fn grown(window: &Window<'_>, scope: &mut Scope<'_>, is_counter: bool, is_rate: bool) -> Cell {
    let (floats, histograms) = (window.floats, window.histograms);
    if !floats.is_empty() && !histograms.is_empty() {
        scope.warn_mixed();
        return Cell::Absent;
    }
    if let Some(extension) = window.extension {
        return extended(window, scope, is_counter, is_rate, extension);
    }
    let (times, starts) = if histograms.is_empty() {
        (floats.times, floats.starts)
    } else {
        (histograms.times, histograms.starts)
    };
    let [first, .., last] = times else {
        let Some(&only) = times.first() else { return Cell::Absent };
        return single(window, starts, only, is_counter, is_rate);
    };
    note_overlap(starts, times, is_counter, scope);
    let begun = begun_inside(window, starts, *first, is_counter);
    if histograms.is_empty() {
        let values = floats.values;
        let mut growth = values[values.len() - 1] - values[0];
        if is_counter {
            for index in 1..values.len() {
                if values[index] < values[index - 1] || is_restarted(starts, times, index) {
                    growth += values[index - 1];
                }
            }
        }
        growth += if begun.is_some() { values[0] } else { 0.0 };
        let zero = (is_counter && growth > 0.0 && values[0] >= 0.0).then(|| values[0] / growth);
        let factor = factor(window, (*first, *last, times.len()), begun, zero, is_rate);
        return Cell::Float(growth * factor);
    }
    let Some(mut growth) = histogram_growth(window, scope, is_counter) else { return Cell::Absent };
    let first_value = &histograms.values[0];
    if begun.is_some() {
        match histogram::join(&growth, first_value, false) {
            Some(joined) => growth = joined.histogram,
            None => return Cell::Absent,
        }
    }
    let zero = (is_counter && growth.count > 0.0 && first_value.count >= 0.0)
        .then(|| first_value.count / growth.count);
    let factor = factor(window, (*first, *last, times.len()), begun, zero, is_rate);
    let mut scaled = histogram::scale(&growth, factor);
    scaled.reset = ResetHint::Gauge;
    Cell::Histogram(Arc::new(histogram::compact(&scaled)))
}

/// A counter that began within the window was zero then.
fn begun_inside(window: &Window<'_>, starts: &[i64], first: i64, is_counter: bool) -> Option<i64> {
    let start = *starts.first()?;
    (is_counter && start != 0 && start > window.from && start < first).then_some(start)
}

fn note_overlap(starts: &[i64], times: &[i64], is_counter: bool, scope: &mut Scope<'_>) {
    let overlaps = is_counter
        && (1..starts.len()).any(|index| {
            starts[index] != 0 && starts[index] != starts[index - 1] && starts[index] < times[index - 1]
        });
    if overlaps {
        let name = scope.name().to_owned();
        scope.warn(format!(
            "sample has start time that overlaps with previous sample timestamp for metric {name:?}"
        ));
    }
}

/// One sample tells of growth only when it says that its counter began within the window.
fn single(window: &Window<'_>, starts: &[i64], only: i64, is_counter: bool, is_rate: bool) -> Cell {
    let Some(start) = begun_inside(window, starts, only, is_counter) else { return Cell::Absent };
    let factor = factor(window, (only, only, 1), Some(start), None, is_rate);
    match (window.floats.values.first(), window.histograms.values.first()) {
        (Some(value), _) => Cell::Float(value * factor),
        (None, Some(value)) => {
            let mut scaled = histogram::scale(value, factor);
            scaled.reset = ResetHint::Gauge;
            Cell::Histogram(Arc::new(histogram::compact(&scaled)))
        }
        _ => Cell::Absent,
    }
}

/// By what the growth between the samples is multiplied. `zero` is the first value as a share of the growth.
fn factor(
    window: &Window<'_>,
    (first, last, count): (i64, i64, usize),
    begun: Option<i64>,
    zero: Option<f64>,
    is_rate: bool,
) -> f64 {
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let mut sampled = seconds(last - first);
    let average = if count > 1 { sampled / (count - 1) as f64 } else { 0.0 };
    let threshold = average * 1.1;
    let mut to_start = seconds(first - window.from);
    let mut to_end = seconds(window.to - last);
    if let Some(begun) = begun {
        to_start = 0.0;
        sampled = seconds(last - begun);
    } else {
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if let Some(zero) = zero {
            to_start = to_start.min(sampled * zero);
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if is_rate {
        factor /= window.seconds();
    }
    factor
}

fn warn_not_counter(scope: &mut Scope<'_>) {
    let name = scope.name().to_owned();
    scope.warn(format!("this native histogram metric is not a counter: {name:?}"));
}

fn warn_not_gauge(scope: &mut Scope<'_>) {
    let name = scope.name().to_owned();
    scope.warn(format!("this native histogram metric is not a gauge: {name:?}"));
}

fn warn_schemas(scope: &mut Scope<'_>) {
    let name = scope.name().to_owned();
    scope.warn(format!(
        "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {name:?}"
    ));
}

/// Last minus first, plus what was counted before each reset.
fn histogram_growth(window: &Window<'_>, scope: &mut Scope<'_>, is_counter: bool) -> Option<Histogram> {
    let points = window.histograms;
    let values = points.values;
    let (first, last) = (&values[0], &values[values.len() - 1]);
    let is_gauge = |histogram: &Histogram| histogram.reset == ResetHint::Gauge;
    if is_counter && values.iter().any(|value| is_gauge(value)) {
        warn_not_counter(scope);
    }
    let are_gauges = is_gauge(first) && is_gauge(last);
    if !is_counter && !are_gauges {
        warn_not_gauge(scope);
    }
    // What was before a reset of the second sample is not looked at, whatever its buckets.
    let reset_at = |index: usize, before: &Histogram| {
        is_restarted(points.starts, points.times, index) || histogram::is_reset(&values[index], before)
    };
    let mut before = (**first).clone();
    if is_counter && reset_at(1, &before) {
        let second = &values[1];
        before = Histogram { schema: second.schema, custom: second.custom.clone(), ..Histogram::default() };
    }
    let is_custom = before.is_custom();
    let inner = if is_counter { &values[1..] } else { &values[values.len() - 1..] };
    if inner.iter().any(|value| value.is_custom() != is_custom) {
        warn_schemas(scope);
        return None;
    }
    let mut growth = subtract(last, &before, scope)?;
    if is_counter {
        for (index, value) in values.iter().enumerate().skip(1) {
            if reset_at(index, &before) {
                let joined = histogram::join(&growth, &before, false)?;
                joined.note_custom("addition", scope.notes, scope.span);
                growth = joined.histogram;
            }
            before = (**value).clone();
        }
        // No bucket of the result is finer than in the coarsest sample.
        let coarsest = values[1..].iter().map(|value| value.schema).min().unwrap_or(growth.schema);
        growth = histogram::at_schema(&growth, coarsest.min(growth.schema));
    }
    Some(growth)
}

fn subtract(left: &Histogram, right: &Histogram, scope: &mut Scope<'_>) -> Option<Histogram> {
    let Some(joined) = histogram::join(left, right, true) else {
        warn_schemas(scope);
        return None;
    };
    joined.note_custom("subtraction", scope.notes, scope.span);
    Some(joined.histogram)
}

pub(super) fn irate(window: &Window<'_>, _: &[f64], scope: &mut Scope<'_>) -> Cell {
    last_two(window, scope, true)
}

pub(super) fn idelta(window: &Window<'_>, _: &[f64], scope: &mut Scope<'_>) -> Cell {
    last_two(window, scope, false)
}

/// The growth between the last two samples.
fn last_two(window: &Window<'_>, scope: &mut Scope<'_>, is_rate: bool) -> Cell {
    let (floats, histograms) = (window.floats, window.histograms);
    if floats.len() + histograms.len() < 2 {
        return Cell::Absent;
    }
    let at = |times: &[i64], back: usize| times.len().checked_sub(back).map(|index| times[index]);
    let newest = at(floats.times, 1).max(at(histograms.times, 1));
    let floats_in = [1, 2].iter().filter(|back| at(floats.times, **back) >= second_newest(window)).count();
    let (times, starts) = match floats_in {
        2 => (floats.times, floats.starts),
        0 => (histograms.times, histograms.starts),
        _ => {
            scope.warn_mixed();
            return Cell::Absent;
        }
    };
    debug_assert_eq!(newest, times.last().copied());
    let last = times.len() - 1;
    let seconds = (times[last] - times[last - 1]) as f64 / 1000.0;
    let is_restarted = is_restarted(starts, times, last);
    if floats_in == 2 {
        let (before, now) = (floats.values[last - 1], floats.values[last]);
        let grown = if is_rate && (now < before || is_restarted) { now } else { now - before };
        return Cell::Float(if is_rate { grown / seconds } else { grown });
    }
    let (before, now) = (&histograms.values[last - 1], &histograms.values[last]);
    let is_gauge = |histogram: &Histogram| histogram.reset == ResetHint::Gauge;
    if is_rate && (is_gauge(before) || is_gauge(now)) {
        warn_not_counter(scope);
    }
    let are_gauges = is_gauge(before) && is_gauge(now);
    if !is_rate && !are_gauges {
        warn_not_gauge(scope);
    }
    let grown = if is_rate && (is_restarted || histogram::is_reset(now, before)) {
        Some((**now).clone())
    } else {
        subtract(now, before, scope)
    };
    grown.map_or(Cell::Absent, |grown| {
        let mut grown = if is_rate { histogram::divide(&grown, seconds) } else { grown };
        grown.reset = ResetHint::Gauge;
        Cell::Histogram(Arc::new(histogram::compact(&grown)))
    })
}

/// The time of the sample before the newest, of either kind.
fn second_newest(window: &Window<'_>) -> Option<i64> {
    let mut times: Vec<i64> = [window.floats.times, window.histograms.times]
        .iter()
        .flat_map(|times| times.iter().rev().take(2).copied())
        .collect();
    times.sort_unstable();
    times.len().checked_sub(2).map(|index| times[index])
}

/// `anchored` and `smoothed`: edges are sampled, nothing is extrapolated.
fn extended(
    window: &Window<'_>,
    scope: &mut Scope<'_>,
    is_counter: bool,
    is_rate: bool,
    extension: Extension,
) -> Cell {
    if !window.histograms.is_empty() {
        let grown = extended_histograms(window, scope, is_counter, extension);
        return grown.map_or(Cell::Absent, |grown| {
            let mut grown = if is_rate { histogram::divide(&grown, window.seconds()) } else { grown };
            grown.reset = ResetHint::Gauge;
            Cell::Histogram(Arc::new(histogram::compact(&grown)))
        });
    }
    let Some(points) = extended_floats(window, extension, is_counter) else { return Cell::Absent };
    let [first, .., last] = points.as_slice() else { return Cell::Absent };
    let mut growth = last - first;
    if is_counter {
        growth += points.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum::<f64>();
    }
    Cell::Float(if is_rate { growth / window.seconds() } else { growth })
}

/// The same for histograms.
fn extended_histograms(
    window: &Window<'_>,
    scope: &mut Scope<'_>,
    is_counter: bool,
    extension: Extension,
) -> Option<Histogram> {
    let points = window.histograms;
    let (times, values) = (points.times, points.values);
    let is_smoothed = extension == Extension::Smoothed;
    let is_gauge = |histogram: &Histogram| histogram.reset == ResetHint::Gauge;
    let last = if is_smoothed {
        times.partition_point(|time| *time < window.to).min(times.len() - 1)
    } else {
        times.len() - 1
    };
    let first = times.partition_point(|time| *time <= window.from).min(last).saturating_sub(1);
    if times[last] <= window.from || times[first] > window.to {
        return None;
    }
    let used = &values[first..=last];
    if used.iter().any(|value| value.is_custom() != used[0].is_custom()) {
        warn_schemas(scope);
        return None;
    }
    if is_counter && used.iter().any(|value| is_gauge(value)) {
        warn_not_counter(scope);
    }
    if !is_counter && !used.iter().all(|value| is_gauge(value)) {
        warn_not_gauge(scope);
    }
    let between = |low: usize, edge: i64, scope: &mut Scope<'_>| {
        let share = (edge - times[low]) as f64 / (times[low + 1] - times[low]) as f64;
        let between = histogram::between(&values[low], &values[low + 1], share, is_counter);
        if between.is_none() {
            warn_schemas(scope);
        }
        between
    };
    let is_left_cut = is_smoothed && times[first] < window.from && first < last;
    let left = if is_left_cut { between(first, window.from, scope)? } else { (*values[first]).clone() };
    let is_right_cut = is_smoothed && last > 0 && times[last] > window.to;
    let right = if is_right_cut { between(last - 1, window.to, scope)? } else { (*values[last]).clone() };
    let mut growth = subtract(&right, &left, scope)?;
    if is_counter {
        let mut before = left;
        let mut next = first + 1;
        // A reset that the left edge was interpolated across is made up for by that.
        if is_left_cut && histogram::is_reset(&values[next], &values[first]) {
            before = (*values[next]).clone();
            next += 1;
        }
        let inner = values.get(next..last).unwrap_or_default();
        // Both edges in one interval were interpolated in the same segment.
        let is_one_segment = next > last;
        for value in inner.iter().map(|value| &**value).chain((!is_one_segment).then_some(&right)) {
            if histogram::is_reset(value, &before) {
                growth = histogram::join(&growth, &before, false)?.histogram;
            }
            before = value.clone();
        }
    }
    Some(growth)
}

/// The floats of an extended window with its edges: a sample carried over (anchored) or interpolated (smoothed).
/// `None` when nothing lies within it.
fn extended_floats(window: &Window<'_>, extension: Extension, is_counter: bool) -> Option<Vec<f64>> {
    let (times, values) = (window.floats.times, window.floats.values);
    let inside_low = times.partition_point(|time| *time <= window.from);
    let inside_high = times.partition_point(|time| *time <= window.to);
    let is_smoothed = extension == Extension::Smoothed;
    let is_outside = times.last()? <= &window.from || times.first()? > &window.to;
    if is_outside || (inside_low == inside_high && !is_smoothed) {
        return None;
    }
    let between = |edge: i64, low: usize, high: usize| {
        let (a, b) = (values[low], values[high]);
        // A counter that fell began again at zero right after the sample before.
        let a = if is_counter && b < a { 0.0 } else { a };
        let share = (edge - times[low]) as f64 / (times[high] - times[low]) as f64;
        a + (b - a) * share
    };
    let left = match inside_low.checked_sub(1) {
        Some(before) if is_smoothed && times[before] < window.from => {
            between(window.from, before, inside_low)
        }
        Some(before) => values[before],
        None => values[0],
    };
    let mut points = vec![left];
    points.extend_from_slice(&values[inside_low..inside_high]);
    if is_smoothed && inside_high < times.len() && times[inside_high - 1] < window.to {
        points.push(between(window.to, inside_high - 1, inside_high));
    } else {
        points.push(*points.last()?);
    }
    Some(points)
}
