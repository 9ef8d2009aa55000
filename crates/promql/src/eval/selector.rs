//! Series from the source, and their value at each step.

use std::sync::Arc;

use hmsops_model::sample::{Histogram, ResetHint, Value, is_stale_nan};
use hmsops_model::series::{Hints, Samples, Selection, Series, Values};

use super::{Cell, Column, Evaluator, Grid, Row, duration};
use crate::ast::{At, Selector, Span};
use crate::error::EvalError;
use crate::histogram::is_reset;

/// From where to where a selector looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// The moment of `@`, if there is one.
    pub(crate) at: Option<i64>,
    /// How far back it is moved, in milliseconds.
    pub(crate) offset: i64,
}

impl Sight {
    /// What it looks at when the step is `time`.
    pub(crate) fn moment(self, time: i64) -> i64 {
        self.at.unwrap_or(time).saturating_sub(self.offset)
    }
}

impl Evaluator<'_> {
    pub(crate) fn sight(
        &self,
        at: Option<At>,
        offset: Option<&crate::ast::Duration>,
    ) -> Result<Sight, EvalError> {
        let at = at.map(|at| match at {
            At::Time(time) => time,
            At::Start => self.asked.from,
            At::End => self.asked.to,
        });
        let offset = offset.map_or(Ok(0), |offset| duration::signed(offset, self.asked))?;
        Ok(Sight { at, offset })
    }

    /// The series of a selector, with samples after `before` the first step's moment up to the last one's.
    pub(crate) fn series(
        &self,
        selector: &Selector,
        sight: Sight,
        grid: Grid,
        (before, after): (i64, i64),
        hints: Hints,
    ) -> Result<Vec<Series>, EvalError> {
        let (first, last) = (sight.moment(grid.from), sight.moment(grid.last()));
        let matchers = selector.conditions();
        let selection = Selection {
            matchers: &matchers,
            from: first.saturating_sub(before).saturating_add(1),
            to: last.saturating_add(after),
            hints,
        };
        let mut series = Vec::new();
        for found in self.source.select(&selection, self.budget)? {
            let found = found?;
            series.push(if self.is_stats { with_resets(found) } else { found });
        }
        Ok(series)
    }

    /// An instant vector selector: at each step the latest sample within the look-back, unless the series has ended.
    pub(crate) fn selector(
        &mut self,
        selector: &Selector,
        span: Span,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        if selector.extension.is_some() {
            return self.smoothed(selector, span, grid);
        }
        let mut rows = Vec::new();
        self.each_latest(selector, grid, |labels, column_of| {
            let column = column_of(&|samples, index, _| cell(samples, index));
            rows.push(Row { labels, is_name_dropped: false, column });
        })?;
        Ok(rows)
    }

    /// `timestamp()` of a selector: the times of the samples themselves, in seconds.
    pub(crate) fn sample_times(&mut self, selector: &Selector, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut rows = Vec::new();
        self.each_latest(selector, grid, |labels, column_of| {
            let column = column_of(&|samples, index, _| Cell::Float(samples.times()[index] as f64 / 1000.0));
            rows.push(Row { labels, is_name_dropped: true, column });
        })?;
        Ok(rows)
    }

    /// `start_timestamp()` of a selector: when the counters behind the samples began, in seconds.
    pub(crate) fn sample_starts(&mut self, selector: &Selector, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut rows = Vec::new();
        self.each_latest(selector, grid, |labels, column_of| {
            let column = column_of(&|samples, index, _| Cell::Float(samples.start(index) as f64 / 1000.0));
            rows.push(Row { labels, is_name_dropped: true, column });
        })?;
        Ok(rows)
    }

    fn each_latest(
        &mut self,
        selector: &Selector,
        grid: Grid,
        mut take: impl FnMut(
            hmsops_model::labels::Labels,
            &dyn Fn(&dyn Fn(&Samples, usize, i64) -> Cell) -> Column,
        ),
    ) -> Result<(), EvalError> {
        let sight = self.sight(selector.at, selector.offset.as_ref())?;
        let lookback = self.options.lookback;
        // Whether counters started again is told from the sample before.
        let is_latest_only = (grid.count == 1 || sight.at.is_some()) && !self.is_stats;
        let hints = Hints { step: grid.step, is_latest_only, ..Hints::default() };
        for series in self.series(selector, sight, grid, (lookback, 0), hints)? {
            let Series { labels, samples } = series;
            self.charge_column(grid)?;
            let column_of =
                |read: &dyn Fn(&Samples, usize, i64) -> Cell| latest(&samples, sight, grid, lookback, read);
            take(labels, &column_of);
        }
        Ok(())
    }
}

/// Each histogram of which nothing is known says whether its counters started again after the one before.
fn with_resets(series: Series) -> Series {
    let Values::Mixed(values) = series.samples.values() else { return series };
    let mut samples = Samples::default();
    let mut before: Option<Arc<Histogram>> = None;
    for (index, value) in values.iter().enumerate() {
        let value = match value {
            Value::Histogram(now) if !value.is_stale() => {
                let reset = match &before {
                    Some(before) if now.reset == ResetHint::Unknown => {
                        if is_reset(now, before) {
                            ResetHint::Reset
                        } else {
                            ResetHint::NotReset
                        }
                    }
                    _ => now.reset,
                };
                before = Some(now.clone());
                Value::Histogram(Histogram { reset, ..(**now).clone() }.into())
            }
            value => value.clone(),
        };
        samples.push(series.samples.times()[index], series.samples.start(index), value);
    }
    Series { samples, ..series }
}

/// Walks steps and samples together.
fn latest(
    samples: &Samples,
    sight: Sight,
    grid: Grid,
    lookback: i64,
    read: &dyn Fn(&Samples, usize, i64) -> Cell,
) -> Column {
    let times = samples.times();
    let mut column = Column::absent(grid.count);
    let mut next = 0;
    for (index, time) in grid.times().enumerate() {
        let moment = sight.moment(time);
        while next < times.len() && times[next] <= moment {
            next += 1;
        }
        let Some(found) = next.checked_sub(1) else { continue };
        if times[found] > moment.saturating_sub(lookback) && !is_stale(samples, found) {
            column.set(index, read(samples, found, time));
        }
    }
    column
}

pub(crate) fn is_stale(samples: &Samples, index: usize) -> bool {
    match samples.values() {
        Values::Floats(floats) => is_stale_nan(floats[index]),
        Values::Mixed(values) => values[index].is_stale(),
    }
}

/// The value of a sample by itself: a tally's is its last.
fn cell(samples: &Samples, index: usize) -> Cell {
    match samples.values() {
        Values::Floats(floats) => Cell::Float(floats[index]),
        Values::Mixed(values) => match &values[index] {
            Value::Float(value) => Cell::Float(*value),
            Value::Histogram(histogram) => Cell::Histogram(histogram.clone()),
            Value::Tally(tally) => Cell::Float(tally.last),
        },
    }
}

impl Evaluator<'_> {
    /// A smoothed instant selector: the value between the samples around each step.
    fn smoothed(&mut self, selector: &Selector, span: Span, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let sight = self.sight(selector.at, selector.offset.as_ref())?;
        let lookback = self.options.lookback;
        let hints = Hints { step: grid.step, ..Hints::default() };
        let mut rows = Vec::new();
        for series in self.series(selector, sight, grid, (lookback, lookback), hints)? {
            let samples = &series.samples;
            self.charge_column(grid)?;
            let kept: Vec<usize> = (0..samples.len()).filter(|index| !is_stale(samples, *index)).collect();
            let mut column = Column::absent(grid.count);
            for (index, time) in grid.times().enumerate() {
                let moment = sight.moment(time);
                let next = kept.partition_point(|at| samples.times()[*at] <= moment);
                let before = next.checked_sub(1).map(|at| kept[at]);
                let before = before.filter(|at| samples.times()[*at] > moment.saturating_sub(lookback));
                let after = kept.get(next).copied();
                let after = after.filter(|at| samples.times()[*at] <= moment.saturating_add(lookback));
                match between(samples, before, after, moment) {
                    Ok(cell) => column.set(index, cell),
                    Err(what) => {
                        let name = series.labels.name().unwrap_or_default();
                        self.notes.warn(span, format!("{what} for metric name {name:?}"));
                    }
                }
            }
            if !column.is_absent() {
                rows.push(Row { labels: series.labels, is_name_dropped: false, column });
            }
        }
        Ok(rows)
    }
}

/// The value between two samples; what is wrong when they do not go together.
fn between(
    samples: &Samples,
    before: Option<usize>,
    after: Option<usize>,
    moment: i64,
) -> Result<Cell, &'static str> {
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(before.map_or(Cell::Absent, |before| cell(samples, before)));
    };
    let (start, end) = (samples.times()[before], samples.times()[after]);
    let share = (moment - start) as f64 / (end - start) as f64;
    match (cell(samples, before), cell(samples, after)) {
        (Cell::Float(a), Cell::Float(b)) => Ok(Cell::Float(a + (b - a) * share)),
        (Cell::Histogram(a), Cell::Histogram(b)) => {
            let between = crate::histogram::between(&a, &b, share, a.reset != ResetHint::Gauge);
            between
                .map(|histogram| Cell::Histogram(histogram.into()))
                .ok_or("vector contains a mix of histograms with exponential and custom buckets schemas")
        }
        _ => Err("encountered a mix of histograms and floats"),
    }
}
