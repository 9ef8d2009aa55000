//! The functions of the language: one table, one file per family.

mod absent;
mod date;
mod histogram;
mod info;
mod label;
mod math;
mod over_time;
mod plain;
mod rate;
mod table;
mod trend;

use std::fmt;

use crate::ast::{Call, Span, Type};
use crate::error::EvalError;
use crate::eval::{Cell, Evaluated, Evaluator, Grid, Scope, Window};

/// A function: how it is called and what it answers.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub args: &'static [Type],
    /// How many more there may be than all but the last, which may then be missing: 0 for exactly `args`, −1 for
    /// any number.
    pub variadic: i8,
    /// What it answers.
    pub returns: Type,
    /// How it is evaluated.
    pub(crate) body: Body,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}()", self.name)
    }
}

/// How a function is evaluated.
pub(crate) enum Body {
    /// Each float by itself; histograms are dropped.
    Math(fn(f64) -> f64),
    /// Each window by itself.
    Window(WindowBody),
    /// By its own rules.
    Special(fn(&mut Evaluator<'_>, &Call, Span, Grid) -> Result<Evaluated, EvalError>),
}

/// A function from a window and the scalar arguments to a value.
pub(crate) struct WindowBody {
    pub(crate) compute: fn(&Window<'_>, &[f64], &mut Scope<'_>) -> Cell,
    /// The same over tallies, where these mean something else than their last values.
    pub(crate) tally: Option<fn(&Window<'_>) -> Option<f64>>,
    /// Whether the result is still the metric.
    pub(crate) keeps_name: bool,
}

/// All functions, by name.
pub fn all() -> &'static [Function] {
    table::TABLE
}

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    table::TABLE.iter().find(|function| function.name == name)
}

/// The function whose name is at most two keystrokes away.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let distances = table::TABLE.iter().map(|function| (distance(name, function.name), function.name));
    distances.min().filter(|(distance, _)| *distance <= 2).map(|(_, name)| name)
}

/// Keystrokes between two short words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    const WORD_MAX: usize = 64;
    if a.len() > WORD_MAX {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
