//! Quantiles, fractions and moments of classic and native histograms.

use std::collections::{HashMap, HashSet};

use hmsops_model::labels::Labels;
use hmsops_model::sample::Histogram;

use crate::ast::{Call, Span};
use crate::error::EvalError;
use crate::eval::{Column, Evaluated, Evaluator, Grid, Row};
use crate::histogram;
use crate::note::Notes;
use crate::number;
use crate::quantile::{Bucket, bucket_fraction, bucket_quantile, is_usable, repair};

type Answer = Result<Evaluated, EvalError>;

/// The label that holds a classic bucket's upper bound.
const BOUND: &str = "le";

/// Classic histograms: rows of buckets by the labels of the whole.
struct Classic {
    labels: Labels,
    buckets: Vec<(f64, usize)>,
}

/// Classic histograms of a vector, and its rows that may hold native ones. Rows whose bound does not parse are
/// reported where they hold floats.
fn classic(rows: &[Row], notes: &mut Notes, span: Span) -> Vec<Classic> {
    let mut found: Vec<Classic> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if !(0..row.column.len()).any(|index| row.column.float(index).is_some()) {
            continue;
        }
        let text = row.labels.get(BOUND).unwrap_or_default();
        let Some(upper) = number::parse(text) else {
            let name = row.name();
            let named = if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") };
            notes.warn(
                span,
                format!("bucket label \"le\" is missing or has a malformed value of {text:?}{named}"),
            );
            continue;
        };
        let labels = row.labels.filter(|name| name != BOUND);
        let index = *by_labels.entry(labels.clone()).or_insert_with(|| {
            found.push(Classic { labels, buckets: Vec::new() });
            found.len() - 1
        });
        found[index].buckets.push((upper, at));
    }
    found
}

fn buckets_at(classic: &Classic, rows: &[Row], index: usize) -> Vec<Bucket> {
    classic
        .buckets
        .iter()
        .filter_map(|(upper, row)| {
            rows[*row].column.float(index).map(|count| Bucket { upper: *upper, count })
        })
        .collect()
}

/// What is computed of both kinds of histograms at one step.
struct Reading<'a> {
    classic: &'a dyn Fn(usize, &[Bucket]) -> f64,
    native: &'a dyn Fn(usize, &Histogram, &str, &mut Notes) -> f64,
    /// Whether falling counts are reported.
    reports_repair: bool,
}

fn read(rows: &[Row], grid: Grid, notes: &mut Notes, span: Span, reading: &Reading<'_>) -> Vec<Row> {
    let classics = classic(rows, notes, span);
    let by_labels: HashMap<&Labels, usize> =
        classics.iter().enumerate().map(|(index, classic)| (&classic.labels, index)).collect();
    let mut answers: Vec<Row> = Vec::new();
    let mut conflicts: HashSet<(usize, usize)> = HashSet::new();
    for row in rows {
        let mut column = Column::absent(grid.count);
        for index in 0..row.column.len() {
            let Some(histogram) = row.column.histogram(index) else { continue };
            let conflict = by_labels
                .get(&row.labels)
                .filter(|classic| !buckets_at(&classics[**classic], rows, index).is_empty());
            if let Some(classic) = conflict {
                conflicts.insert((*classic, index));
                let name = row.name();
                notes.warn(
                    span,
                    format!(
                        "vector contains a mix of classic and native histograms for metric name {name:?}"
                    ),
                );
                continue;
            }
            column.set_float(index, (reading.native)(index, histogram, row.name(), notes));
        }
        if !column.is_absent() {
            answers.push(Row { labels: row.labels.clone(), is_name_dropped: true, column });
        }
    }
    for (at, classic) in classics.iter().enumerate() {
        let mut column = Column::absent(grid.count);
        for index in 0..grid.count {
            let mut buckets = buckets_at(classic, rows, index);
            if buckets.is_empty() || conflicts.contains(&(at, index)) {
                continue;
            }
            let repaired = repair(&mut buckets);
            if let Some((low, high, most)) =
                repaired.fell.filter(|_| reading.reports_repair && is_usable(&buckets))
            {
                note_repair(&classic.labels, (low, high, most), grid.time(index), notes, span);
            }
            column.set_float(index, (reading.classic)(index, &buckets));
        }
        if !column.is_absent() {
            answers.push(Row { labels: classic.labels.clone(), is_name_dropped: true, column });
        }
    }
    answers
}

fn note_repair(
    labels: &Labels,
    (low, high, most): (f64, f64, f64),
    time: i64,
    notes: &mut Notes,
    span: Span,
) {
    let name = labels.name().unwrap_or_default();
    let [low, high, most] = [low, high, most].map(number::format_general);
    notes.info(
        span,
        format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric \
             name {name:?}, from buckets {low} to {high}, with a max diff of {most}, at sample ts {time}"
        ),
    );
}

fn native_quantile(q: f64, histogram: &Histogram, name: &str, notes: &mut Notes, span: Span) -> f64 {
    let value = histogram::quantile(q, histogram);
    let in_buckets: f64 = histogram::all_buckets(histogram).iter().map(|bucket| bucket.count).sum();
    if histogram.sum.is_nan() && histogram.count > in_buckets && (0.0..=1.0).contains(&q) {
        let effect = if value.is_nan() { "result is NaN" } else { "result is skewed higher" };
        notes.info(
            span,
            format!("input to histogram_quantile has NaN observations, {effect} for metric name {name:?}"),
        );
    }
    value
}

fn warn_quantiles(values: &[f64], notes: &mut Notes, span: Span) {
    for value in values.iter().filter(|value| !(0.0..=1.0).contains(*value)) {
        let got = number::format_general(*value);
        notes.warn(span, format!("quantile value should be between 0 and 1, got {got}"));
    }
}

pub(super) fn quantile(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    let qs = evaluator.scalars(&call.args[0], grid)?;
    let rows = evaluator.vector(&call.args[1], grid)?;
    let span = call.args[1].span;
    warn_quantiles(&qs, &mut evaluator.notes, call.args[0].span);
    let reading = Reading {
        classic: &|index, buckets| bucket_quantile(qs[index], buckets),
        native: &|index, histogram, name, notes| native_quantile(qs[index], histogram, name, notes, span),
        reports_repair: true,
    };
    Ok(Evaluated::Vector(read(&rows, grid, &mut evaluator.notes, span, &reading)))
}

pub(super) fn quantiles(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    let rows = evaluator.vector(&call.args[0], grid)?;
    let label = evaluator.text(&call.args[1], grid)?;
    let span = call.args[0].span;
    let mut answers: Vec<Row> = Vec::new();
    for arg in &call.args[2..] {
        let qs = evaluator.scalars(arg, grid)?;
        warn_quantiles(&qs, &mut evaluator.notes, arg.span);
        let reading = Reading {
            classic: &|index, buckets| bucket_quantile(qs[index], buckets),
            native: &|index, histogram, name, notes| native_quantile(qs[index], histogram, name, notes, span),
            reports_repair: true,
        };
        for row in read(&rows, grid, &mut evaluator.notes, span, &reading) {
            // A quantile may differ from step to step; each value has its own series.
            let mut by_value: HashMap<u64, Row> = HashMap::new();
            for (index, q) in qs.iter().enumerate() {
                let Some(value) = row.column.float(index) else { continue };
                let answer = by_value.entry(q.to_bits()).or_insert_with(|| Row {
                    labels: row.labels.with(&label, &bound_text(*q)),
                    is_name_dropped: true,
                    column: Column::absent(grid.count),
                });
                answer.column.set_float(index, value);
            }
            answers.extend(by_value.into_values());
        }
    }
    Ok(Evaluated::Vector(answers))
}

pub(super) fn fraction(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    let lower = evaluator.scalars(&call.args[0], grid)?;
    let upper = evaluator.scalars(&call.args[1], grid)?;
    let rows = evaluator.vector(&call.args[2], grid)?;
    let span = call.args[2].span;
    let reading = Reading {
        classic: &|index, buckets| bucket_fraction(lower[index], upper[index], buckets),
        native: &|index, histogram, name, notes| {
            let in_buckets: f64 = histogram::all_buckets(histogram).iter().map(|bucket| bucket.count).sum();
            if histogram.sum.is_nan() && histogram.count > in_buckets {
                notes.info(
                    span,
                    format!(
                        "input to histogram_fraction has NaN observations, which are excluded from all fractions \
                         for metric name {name:?}"
                    ),
                );
            }
            histogram::fraction(lower[index], upper[index], histogram)
        },
        reports_repair: false,
    };
    Ok(Evaluated::Vector(read(&rows, grid, &mut evaluator.notes, span, &reading)))
}

/// As bounds and quantiles are written in labels: a whole number keeps its point.
fn bound_text(value: f64) -> String {
    let text = number::format_general(value);
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { text + ".0" } else { text }
}

/// A number of each native histogram; floats are left out.
fn moment(evaluator: &mut Evaluator<'_>, call: &Call, grid: Grid, of: fn(&Histogram) -> f64) -> Answer {
    let mut answers = Vec::new();
    for row in evaluator.vector(&call.args[0], grid)? {
        let mut column = Column::absent(grid.count);
        for index in 0..grid.count {
            if let Some(histogram) = row.column.histogram(index) {
                column.set_float(index, of(histogram));
            }
        }
        if !column.is_absent() {
            answers.push(Row { labels: row.labels, is_name_dropped: true, column });
        }
    }
    Ok(Evaluated::Vector(answers))
}

pub(super) fn count(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    moment(evaluator, call, grid, |histogram| histogram.count)
}

pub(super) fn sum(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    moment(evaluator, call, grid, |histogram| histogram.sum)
}

pub(super) fn avg(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    moment(evaluator, call, grid, |histogram| histogram.sum / histogram.count)
}

pub(super) fn stdvar(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    moment(evaluator, call, grid, histogram::variance)
}

pub(super) fn stddev(evaluator: &mut Evaluator<'_>, call: &Call, _: Span, grid: Grid) -> Answer {
    moment(evaluator, call, grid, |value| histogram::variance(value).sqrt())
}
