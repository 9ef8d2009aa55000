//! Evaluation: every node is evaluated once, for all steps together.

mod aggregate;
mod answer;
mod binary;
pub(crate) mod column;
pub(crate) mod duration;
pub(crate) mod kahan;
mod scalar;
mod selector;
pub(crate) mod window;

use hmsops_model::series::{Budget, SeriesSource};

pub use answer::{Answer, Outcome, Point};
pub(crate) use column::{Cell, Column, Row};
pub(crate) use selector::Sight;
pub(crate) use window::{Scope, Window};

use crate::ast::{Expr, Kind, Type};
use crate::error::EvalError;
use crate::note::Notes;

/// How long after its sample a series still has its value, in milliseconds (Prometheus' default).
pub const LOOKBACK_DEFAULT: i64 = 5 * 60_000;

/// The most steps of one query (Prometheus' own limit).
pub const STEPS_MAX: i64 = 11_000;

/// What can be set for all queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long after its sample a series still has its value, in milliseconds.
    pub lookback: i64,
    /// The step of subqueries that name none, in milliseconds.
    pub subquery_step: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { lookback: LOOKBACK_DEFAULT, subquery_step: 60_000 }
    }
}

/// The moments at which something is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The first, in Unix milliseconds.
    pub(crate) from: i64,
    /// How far apart, in milliseconds; 0 for a single one.
    pub(crate) step: i64,
    /// How many.
    pub(crate) count: usize,
}

impl Grid {
    pub(crate) fn time(self, index: usize) -> i64 {
        self.from + self.step * index as i64
    }

    pub(crate) fn last(self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub(crate) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |index| self.time(index))
    }
}

/// What a whole query is asked for: `start()`, `end()`, `step()` and `range()` speak of it. Its end is the one that was
/// named, whether a step falls on it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// In Unix milliseconds.
    pub(crate) from: i64,
    /// In Unix milliseconds.
    pub(crate) to: i64,
    /// In milliseconds; 0 for a single moment.
    pub(crate) step: i64,
}

/// What a node evaluated to.
#[derive(Debug)]
pub(crate) enum Evaluated {
    /// One number per step.
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Row>),
}

/// One evaluation of one query.
pub(crate) struct Evaluator<'a> {
    pub(crate) source: &'a dyn SeriesSource,
    pub(crate) budget: &'a Budget,
    pub(crate) options: Options,
    pub(crate) asked: Asked,
    pub(crate) notes: Notes,
    /// Whether nothing but count and sum is asked of the histograms that are read: then each is told whether its
    /// counters started again, as Prometheus does where it leaves out the buckets.
    pub(crate) is_stats: bool,
}

/// Answers a query for one moment, in Unix milliseconds.
pub fn instant(
    source: &dyn SeriesSource,
    expr: &Expr,
    at: i64,
    options: Options,
    budget: &Budget,
) -> Result<Answer, EvalError> {
    let grid = Grid { from: at, step: 0, count: 1 };
    let asked = Asked { from: at, to: at, step: 0 };
    let mut evaluator =
        Evaluator { source, budget, options, asked, notes: Notes::default(), is_stats: false };
    let outcome = match expr.bare().kind {
        Kind::Range(_) | Kind::Subquery(_) => evaluator.matrix(expr.bare(), at)?,
        _ => answer::instant(evaluator.eval(expr, grid)?, at)?,
    };
    Ok(Answer { outcome, notes: evaluator.notes.into_vec() })
}

/// Answers a query for the moments from `from` to `to` that are multiples of `step` after `from`, all in
/// milliseconds.
pub fn range(
    source: &dyn SeriesSource,
    expr: &Expr,
    (from, to, step): (i64, i64, i64),
    options: Options,
    budget: &Budget,
) -> Result<Answer, EvalError> {
    if step <= 0 {
        return Err(EvalError::new("zero or negative query resolution step widths are not accepted"));
    }
    let count = to.checked_sub(from).filter(|span| *span >= 0).map(|span| span / step + 1);
    let Some(count) = count.filter(|count| *count <= STEPS_MAX) else {
        let message =
            format!("a range query needs an end not before its start, and at most {STEPS_MAX} steps");
        return Err(EvalError::new(message));
    };
    let found = expr.value_type();
    if !matches!(found, Type::Scalar | Type::Vector) {
        let message = "invalid expression type for range query, must be scalar or instant vector";
        return Err(EvalError::new(format!("{message}, got {:?}", found.name())));
    }
    let grid = Grid { from, step, count: count as usize };
    let asked = Asked { from, to, step };
    let mut evaluator =
        Evaluator { source, budget, options, asked, notes: Notes::default(), is_stats: false };
    let value = evaluator.eval(expr, grid)?;
    let outcome = answer::range(value, grid)?;
    Ok(Answer { outcome, notes: evaluator.notes.into_vec() })
}

impl Evaluator<'_> {
    /// Evaluates a node for all steps.
    pub(crate) fn eval(&mut self, expr: &Expr, grid: Grid) -> Result<Evaluated, EvalError> {
        match &expr.kind {
            Kind::Number { value, .. } => Ok(Evaluated::Scalar(vec![*value; grid.count])),
            Kind::Text(text) => Ok(Evaluated::Text(text.clone())),
            Kind::Paren(inner) => self.eval(inner, grid),
            Kind::Selector(selector) => self.selector(selector, expr.span, grid).map(Evaluated::Vector),
            Kind::Unary { is_minus, expr: inner } => self.unary(*is_minus, inner, grid),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span, grid).map(Evaluated::Vector),
            Kind::Binary(binary) => self.binary(binary, expr.span, grid),
            Kind::Call(call) => self.call(call, expr.span, grid),
            Kind::Range(_) | Kind::Subquery(_) => {
                Err(EvalError::new("a range vector stands where it cannot be evaluated"))
            }
        }
    }

    /// Evaluates a node that must be a vector.
    pub(crate) fn vector(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Row>, EvalError> {
        match self.eval(expr, grid)? {
            Evaluated::Vector(rows) => Ok(rows),
            _ => Err(EvalError::new("expected an instant vector")),
        }
    }

    /// Evaluates a node that must be a scalar.
    pub(crate) fn scalars(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, grid)? {
            Evaluated::Scalar(values) => Ok(values),
            _ => Err(EvalError::new("expected a scalar")),
        }
    }

    /// Evaluates a node that must be a text.
    pub(crate) fn text(&mut self, expr: &Expr, grid: Grid) -> Result<String, EvalError> {
        match self.eval(expr, grid)? {
            Evaluated::Text(text) => Ok(text),
            _ => Err(EvalError::new("expected a string")),
        }
    }

    /// A row of the answer costs memory at every step, whatever was read for it.
    pub(crate) fn charge_column(&self, grid: Grid) -> Result<(), EvalError> {
        Ok(self.budget.charge(0, 8 * grid.count as u64)?)
    }

    fn unary(&mut self, is_minus: bool, inner: &Expr, grid: Grid) -> Result<Evaluated, EvalError> {
        let mut value = self.eval(inner, grid)?;
        if !is_minus {
            return Ok(value);
        }
        match &mut value {
            Evaluated::Scalar(values) => values.iter_mut().for_each(|value| *value = -*value),
            Evaluated::Vector(rows) => {
                for row in rows {
                    row.is_name_dropped = true;
                    row.column.map(|value| -value);
                    row.column.map_histograms(|histogram| Some(crate::histogram::scale(histogram, -1.0)));
                }
            }
            Evaluated::Text(_) => {}
        }
        Ok(value)
    }
}
