//! What a query answers.

use std::collections::{HashMap, HashSet};

use hmsops_model::labels::Labels;
use hmsops_model::sample::Value;
use hmsops_model::series::{Samples, Series};

use super::column::without_metadata;
use super::{Cell, Evaluated, Grid, Row};
use crate::error::EvalError;
use crate::note::Note;

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What was asked for.
    pub outcome: Outcome,
    /// What it should be read with, each note once.
    pub notes: Vec<Note>,
}

/// A value of a query's type.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// Of an instant query: in the order of `sort`, `topk` and the like, else in no promised order.
    Vector(Vec<Point>),
    /// Of a range query, or of a range vector in an instant one: by labels. A scalar is a series without labels.
    Matrix(Vec<Series>),
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its labels.
    pub labels: Labels,
    /// When, in Unix milliseconds.
    pub time: i64,
    /// A float or a histogram.
    pub value: Value,
}

const DUPLICATE: &str = "vector cannot contain metrics with the same labelset";

fn final_labels(row: &Row) -> Labels {
    if row.is_name_dropped { without_metadata(&row.labels) } else { row.labels.clone() }
}

fn value(cell: Cell) -> Option<Value> {
    match cell {
        Cell::Absent => None,
        Cell::Float(value) => Some(Value::Float(value)),
        Cell::Histogram(histogram) => Some(Value::Histogram(histogram)),
    }
}

pub(crate) fn instant(evaluated: Evaluated, time: i64) -> Result<Outcome, EvalError> {
    let rows = match evaluated {
        Evaluated::Scalar(values) => return Ok(Outcome::Scalar(values[0])),
        Evaluated::Text(text) => return Ok(Outcome::Text(text)),
        Evaluated::Vector(rows) => rows,
    };
    let mut seen = HashSet::new();
    let mut points = Vec::new();
    for row in &rows {
        let Some(value) = value(row.column.cell(0)) else { continue };
        let labels = final_labels(row);
        if !seen.insert(labels.clone()) {
            return Err(EvalError::new(DUPLICATE));
        }
        points.push(Point { labels, time, value });
    }
    Ok(Outcome::Vector(points))
}

pub(crate) fn range(evaluated: Evaluated, grid: Grid) -> Result<Outcome, EvalError> {
    let rows = match evaluated {
        Evaluated::Scalar(values) => {
            let samples = Samples::from_floats(grid.times().collect(), values);
            return Ok(Outcome::Matrix(vec![Series { labels: Labels::empty(), samples }]));
        }
        Evaluated::Text(text) => return Ok(Outcome::Text(text)),
        Evaluated::Vector(rows) => rows,
    };
    // Series that differed in their names only are one, as long as they never meet.
    let mut merged: HashMap<Labels, Vec<(usize, Cell)>> = HashMap::new();
    for row in &rows {
        let cells = merged.entry(final_labels(row)).or_default();
        let is_first = cells.is_empty();
        for index in 0..grid.count {
            if row.column.is_present(index) {
                cells.push((index, row.column.cell(index)));
            }
        }
        if !is_first {
            cells.sort_by_key(|(index, _)| *index);
            if cells.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(EvalError::new(DUPLICATE));
            }
        }
    }
    let mut series: Vec<Series> = merged
        .into_iter()
        .filter(|(_, cells)| !cells.is_empty())
        .map(|(labels, cells)| {
            let mut samples = Samples::default();
            for (index, cell) in cells {
                if let Some(value) = value(cell) {
                    samples.push(grid.time(index), 0, value);
                }
            }
            Series { labels, samples }
        })
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Outcome::Matrix(series))
}
