//! Windows of samples before each step, from selectors and subqueries.

use std::sync::Arc;

use hmsops_model::labels::Labels;
use hmsops_model::sample::{Histogram, ResetHint, Tally, Value, is_stale_nan};
use hmsops_model::series::{Hints, Samples, Series, Values};

use super::selector::{Sight, is_stale};
use super::{Cell, Column, Evaluator, Grid, Row, duration};
use crate::ast::{Call, Expr, Extension, Kind, Span, Subquery};
use crate::error::EvalError;
use crate::eval::Evaluated;
use crate::functions::{Body, WindowBody};
use crate::note::Notes;

/// Values of one kind with their times and start timestamps (empty when none is known).
#[derive(Debug, Clone, Default)]
pub(crate) struct Points<T> {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<T>,
    pub(crate) starts: Vec<i64>,
}

impl<T> Points<T> {
    fn push(&mut self, time: i64, value: T, start: i64) {
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
            self.starts.push(start);
        }
        self.times.push(time);
        self.values.push(value);
    }

    fn slice(&self, low: usize, high: usize) -> Slice<'_, T> {
        let starts = if self.starts.is_empty() { &[][..] } else { &self.starts[low..high] };
        Slice { times: &self.times[low..high], values: &self.values[low..high], starts }
    }
}

/// Part of [`Points`].
#[derive(Debug)]
pub(crate) struct Slice<'a, T> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [T],
    pub(crate) starts: &'a [i64],
}

impl<T> Clone for Slice<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<'_, T> {}

impl<T> Slice<'_, T> {
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

/// One series' samples without stale marks, floats and histograms apart. Of tallies, `floats` hold the last values.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) labels: Labels,
    pub(crate) is_name_dropped: bool,
    floats: Points<f64>,
    histograms: Points<Arc<Histogram>>,
    /// In step with `floats`, or empty.
    tallies: Vec<Tally>,
}

impl Lane {
    fn of(series: Series) -> Self {
        let mut lane = Self { labels: series.labels, ..Self::default() };
        let samples: Samples = series.samples;
        // Most series are floats without a stale mark: their columns are taken as they are.
        let is_plain = match samples.values() {
            Values::Floats(floats) => !floats.iter().copied().any(is_stale_nan),
            Values::Mixed(_) => false,
        };
        if is_plain {
            if let (times, starts, Values::Floats(values)) = samples.into_columns() {
                lane.floats = Points { times, values, starts };
            }
            return lane;
        }
        for (index, time) in samples.times().iter().enumerate() {
            if is_stale(&samples, index) {
                continue;
            }
            let start = samples.start(index);
            match samples.value(index) {
                Value::Float(value) => {
                    lane.floats.push(*time, value, start);
                    if !lane.tallies.is_empty() {
                        lane.tallies.push(Tally::of(value));
                    }
                }
                Value::Tally(tally) => {
                    if lane.tallies.is_empty() {
                        lane.tallies.extend(lane.floats.values.iter().map(|value| Tally::of(*value)));
                    }
                    lane.floats.push(*time, tally.last, start);
                    lane.tallies.push(tally);
                }
                Value::Histogram(histogram) => lane.histograms.push(*time, histogram, start),
            }
        }
        lane
    }

    fn of_row(row: &Row, grid: Grid) -> Self {
        let mut lane =
            Self { labels: row.labels.clone(), is_name_dropped: row.is_name_dropped, ..Self::default() };
        for (index, time) in grid.times().enumerate() {
            match row.column.cell(index) {
                Cell::Absent => {}
                Cell::Float(value) => lane.floats.push(time, value, 0),
                Cell::Histogram(histogram) => {
                    // Steps may skip samples: what a hint says of the sample before is not true of the step before.
                    let plain = if matches!(histogram.reset, ResetHint::Gauge | ResetHint::Unknown) {
                        histogram
                    } else {
                        Arc::new(Histogram { reset: ResetHint::Unknown, ..(*histogram).clone() })
                    };
                    lane.histograms.push(time, plain, 0);
                }
            }
        }
        lane
    }
}

/// The samples of one series before one step, left end exclusive.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    pub(crate) floats: Slice<'a, f64>,
    pub(crate) histograms: Slice<'a, Arc<Histogram>>,
    /// In step with `floats`, or empty when the series has none.
    pub(crate) tallies: &'a [Tally],
    /// The left end, exclusive, in Unix milliseconds.
    pub(crate) from: i64,
    /// The right end, inclusive.
    pub(crate) to: i64,
    /// The step's own time.
    pub(crate) at: i64,
    /// How the edges are treated.
    pub(crate) extension: Option<Extension>,
}

impl Window<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// Its length in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        (self.to - self.from) as f64 / 1000.0
    }
}

/// Where a function over a window says what should be known, and about what.
pub(crate) struct Scope<'a> {
    pub(crate) notes: &'a mut Notes,
    pub(crate) labels: &'a Labels,
    /// Of the range argument.
    pub(crate) span: Span,
}

impl Scope<'_> {
    pub(crate) fn name(&self) -> &str {
        self.labels.name().unwrap_or_default()
    }

    pub(crate) fn warn(&mut self, text: String) {
        self.notes.warn(self.span, text);
    }

    pub(crate) fn info(&mut self, text: String) {
        self.notes.info(self.span, text);
    }

    /// Floats and histograms in one window do not mix.
    pub(crate) fn warn_mixed(&mut self) {
        let name = self.name().to_owned();
        self.warn(format!("encountered a mix of histograms and floats for metric name {name:?}"));
    }

    pub(crate) fn info_ignored(&mut self) {
        let name = self.name().to_owned();
        self.info(format!(
            "ignored histograms in a range containing both floats and histograms for metric name {name:?}"
        ));
    }
}

/// A range vector: lanes of samples, and which part of them each step sees.
pub(crate) struct Ranged {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) sight: Sight,
    pub(crate) range: i64,
    pub(crate) extension: Option<Extension>,
    /// How far beyond its edges an extended window looks, in milliseconds.
    lookback: i64,
}

impl Ranged {
    /// Calls for each step with the window it sees.
    pub(crate) fn each_window<'l>(
        &self,
        lane: &'l Lane,
        grid: Grid,
        mut take: impl FnMut(usize, Window<'l>),
    ) {
        let (mut floats, mut histograms) = (Cursor::default(), Cursor::default());
        // Anchored and smoothed windows also see what lies around their edges.
        for (index, at) in grid.times().enumerate() {
            let to = self.sight.moment(at);
            let from = to.saturating_sub(self.range);
            let reach = self.extension.map(|extension| (extension, self.lookback));
            let (mut f_low, f_high) = floats.advance(&lane.floats.times, from, to, reach);
            let (mut h_low, h_high) = histograms.advance(&lane.histograms.times, from, to, reach);
            // There is one sample before the window, of whichever kind.
            let before = |times: &[i64], low: usize, high: usize| {
                times.get(low).copied().filter(|time| low < high && *time <= from)
            };
            if let (Some(float), Some(histogram)) =
                (before(&lane.floats.times, f_low, f_high), before(&lane.histograms.times, h_low, h_high))
            {
                f_low += usize::from(float < histogram);
                h_low += usize::from(histogram < float);
            }
            let tallies = if lane.tallies.is_empty() { &[][..] } else { &lane.tallies[f_low..f_high] };
            take(
                index,
                Window {
                    floats: lane.floats.slice(f_low, f_high),
                    histograms: lane.histograms.slice(h_low, h_high),
                    tallies,
                    from,
                    to,
                    at,
                    extension: self.extension,
                },
            );
        }
    }
}

/// Where a window stands in ascending times; windows only move forward.
#[derive(Default)]
struct Cursor {
    low: usize,
    high: usize,
}

impl Cursor {
    /// Which samples a window holds. An extended one (`reach`) also holds the one before it, and a smoothed one the
    /// one after it, when they are no farther than the look-back.
    fn advance(
        &mut self,
        times: &[i64],
        from: i64,
        to: i64,
        reach: Option<(Extension, i64)>,
    ) -> (usize, usize) {
        while self.low < times.len() && times[self.low] <= from {
            self.low += 1;
        }
        self.high = self.high.max(self.low);
        while self.high < times.len() && times[self.high] <= to {
            self.high += 1;
        }
        let (mut low, mut high) = (self.low, self.high);
        if let Some((extension, lookback)) = reach {
            if low > 0 && times[low - 1] > from.saturating_sub(lookback) {
                low -= 1;
            }
            let is_after_near = high < times.len() && times[high] <= to.saturating_add(lookback);
            if extension == Extension::Smoothed && is_after_near {
                high += 1;
            }
        }
        (low, high)
    }
}

impl Evaluator<'_> {
    /// What a range argument stands for, for all steps.
    pub(crate) fn ranged(
        &mut self,
        expr: &Expr,
        grid: Grid,
        function: &'static str,
    ) -> Result<Ranged, EvalError> {
        match &expr.bare().kind {
            Kind::Range(range) => {
                let sight = self.sight(range.selector.at, range.selector.offset.as_ref())?;
                let length = duration::positive(&range.range, self.asked)?;
                let hints =
                    Hints { step: grid.step, range: length, function: Some(function), ..Hints::default() };
                let extension = range.selector.extension;
                let lookback = self.options.lookback;
                let reach = match extension {
                    None => (length, 0),
                    Some(Extension::Anchored) => (length.saturating_add(lookback), 0),
                    Some(Extension::Smoothed) => (length.saturating_add(lookback), lookback),
                };
                let series = self.series(&range.selector, sight, grid, reach, hints)?;
                let lanes = series.into_iter().map(Lane::of).collect();
                Ok(Ranged { lanes, sight, range: length, extension, lookback })
            }
            Kind::Subquery(subquery) => {
                let was_stats = std::mem::take(&mut self.is_stats);
                let ranged = self.subquery(subquery, grid);
                self.is_stats = was_stats;
                ranged
            }
            _ => Err(EvalError::new("expected a range vector")),
        }
    }

    /// Steps of a subquery are multiples of its step in absolute time.
    fn subquery(&mut self, subquery: &Subquery, grid: Grid) -> Result<Ranged, EvalError> {
        let sight = self.sight(subquery.at, subquery.offset.as_ref())?;
        let range = duration::positive(&subquery.range, self.asked)?;
        let step = match &subquery.step {
            Some(step) => duration::positive(step, self.asked)?,
            None => self.options.subquery_step,
        };
        let first = sight.moment(grid.from).saturating_sub(range);
        let last = sight.moment(grid.last());
        let from = (first.div_euclid(step) + 1).saturating_mul(step);
        let count = last.saturating_sub(from).max(-1) / step + i64::from(last >= from);
        // Each step costs at least one sample of the budget, whatever it finds.
        self.budget.charge(count.max(0).unsigned_abs(), 0)?;
        let inner = Grid { from, step, count: count.max(0) as usize };
        let lanes = if inner.count == 0 {
            Vec::new()
        } else {
            self.vector(&subquery.expr, inner)?.iter().map(|row| Lane::of_row(row, inner)).collect()
        };
        self.budget.release(count.max(0).unsigned_abs(), 0);
        Ok(Ranged { lanes, sight, range, extension: None, lookback: 0 })
    }

    /// Applies a function that turns each window into a value.
    pub(crate) fn windowed(
        &mut self,
        call: &Call,
        body: &WindowBody,
        grid: Grid,
    ) -> Result<Evaluated, EvalError> {
        let position = call.args.iter().position(|arg| arg.value_type() == crate::ast::Type::Matrix);
        let Some(position) = position else { return Err(EvalError::new("expected a range vector")) };
        let argument = &call.args[position];
        let mut params = Vec::new();
        for arg in call.args.iter().filter(|arg| arg.value_type() == crate::ast::Type::Scalar) {
            params.push(self.scalars(arg, grid)?);
        }
        let ranged = self.ranged(argument, grid, call.function.name)?;
        check_extension(call.function.name, ranged.extension)?;
        let span = match &argument.bare().kind {
            Kind::Range(_) | Kind::Subquery(_) => argument.bare().span,
            _ => argument.span,
        };
        let mut rows = Vec::new();
        let mut values = vec![0.0; params.len()];
        for lane in &ranged.lanes {
            self.charge_column(grid)?;
            let mut column = Column::absent(grid.count);
            let mut scope = Scope { notes: &mut self.notes, labels: &lane.labels, span };
            ranged.each_window(lane, grid, |index, window| {
                if window.is_empty() {
                    return;
                }
                for (value, param) in values.iter_mut().zip(&params) {
                    *value = param[index];
                }
                let tally = body.tally.filter(|_| !window.tallies.is_empty() && window.histograms.is_empty());
                let cell = match tally {
                    Some(tally) => tally(&window).map_or(Cell::Absent, Cell::Float),
                    None => (body.compute)(&window, &values, &mut scope),
                };
                column.set(index, cell);
            });
            if !column.is_absent() {
                let is_name_dropped = !body.keeps_name || lane.is_name_dropped;
                rows.push(Row { labels: lane.labels.clone(), is_name_dropped, column });
            }
        }
        Ok(Evaluated::Vector(rows))
    }

    /// Applies a function.
    pub(crate) fn call(&mut self, call: &Call, span: Span, grid: Grid) -> Result<Evaluated, EvalError> {
        let was_stats = self.is_stats;
        match call.function.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => self.is_stats = true,
            name if name.starts_with("histogram_") => self.is_stats = false,
            _ => {}
        }
        let value = self.applied(call, span, grid);
        self.is_stats = was_stats;
        value
    }

    fn applied(&mut self, call: &Call, span: Span, grid: Grid) -> Result<Evaluated, EvalError> {
        match &call.function.body {
            Body::Window(body) => self.windowed(call, body, grid),
            Body::Math(compute) => {
                let mut rows = self.vector(&call.args[0], grid)?;
                for row in &mut rows {
                    row.is_name_dropped = true;
                    row.column.drop_histograms();
                    row.column.map(compute);
                }
                Ok(Evaluated::Vector(rows))
            }
            Body::Special(apply) => apply(self, call, span, grid),
        }
    }

    /// The samples within a window before one moment, as they are.
    pub(crate) fn matrix(&mut self, expr: &Expr, at: i64) -> Result<super::Outcome, EvalError> {
        let grid = Grid { from: at, step: 0, count: 1 };
        let ranged = self.ranged(expr, grid, "")?;
        let mut series = Vec::new();
        for lane in &ranged.lanes {
            let mut samples: Vec<(i64, Value)> = Vec::new();
            let plain = Ranged { lanes: Vec::new(), extension: None, ..ranged };
            plain.each_window(lane, grid, |_, window| {
                let floats = window.floats.times.iter().zip(window.floats.values);
                samples.extend(floats.map(|(time, value)| (*time, Value::Float(*value))));
                let histograms = window.histograms.times.iter().zip(window.histograms.values);
                samples.extend(histograms.map(|(time, value)| (*time, Value::Histogram(value.clone()))));
            });
            samples.sort_by_key(|(time, _)| *time);
            if !samples.is_empty() {
                let labels = if lane.is_name_dropped {
                    super::column::without_metadata(&lane.labels)
                } else {
                    lane.labels.clone()
                };
                let mut columns = Samples::default();
                for (time, value) in samples {
                    columns.push(time, 0, value);
                }
                series.push(Series { labels, samples: columns });
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(super::Outcome::Matrix(series))
    }
}

/// Which functions know what to do with extended edges.
fn check_extension(function: &str, extension: Option<Extension>) -> Result<(), EvalError> {
    let (name, allowed): (_, &[&str]) = match extension {
        None => return Ok(()),
        Some(Extension::Anchored) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Some(Extension::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let list = allowed.join(", ");
    Err(EvalError::new(format!("{name} modifier can only be used with: {list} - not with {function}")))
}
