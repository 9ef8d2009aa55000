//! Functions that read and write labels.

use std::cmp::Ordering;
use std::collections::HashMap;

use hmsops_model::labels::{Labels, METRIC_NAME};

use crate::ast::{Call, Span};
use crate::error::EvalError;
use crate::eval::{Evaluated, Evaluator, Grid, Row};
use crate::pattern::Pattern;
use crate::quote::{is_utf8, quote};

pub(super) fn replace(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    _: Span,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let mut texts = Vec::new();
    for arg in &call.args[1..] {
        texts.push(evaluator.text(arg, grid)?);
    }
    let [target, template, source, pattern] = texts.as_slice() else {
        return Err(EvalError::new("label_replace takes four texts"));
    };
    let compiled = Pattern::new(pattern)
        .map_err(|_| EvalError::new(format!("invalid regular expression in label_replace(): {pattern}")))?;
    if target.is_empty() || !is_utf8(target) {
        return Err(EvalError::new(format!("invalid destination label name in label_replace(): {target}")));
    }
    let mut rows = evaluator.vector(&call.args[0], grid)?;
    for row in &mut rows {
        let value = row.labels.get(source).unwrap_or_default();
        if let Some(expanded) = compiled.expand(value, template) {
            write(row, target, &expanded);
        }
    }
    distinct(rows)
}

pub(super) fn join(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    _: Span,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let mut texts = Vec::new();
    for arg in &call.args[1..] {
        texts.push(evaluator.text(arg, grid)?);
    }
    let [target, separator, sources @ ..] = texts.as_slice() else {
        return Err(EvalError::new("label_join takes a label and a separator"));
    };
    if target.is_empty() || !is_utf8(target) {
        return Err(EvalError::new(format!("invalid destination label name in label_join(): {target}")));
    }
    if sources.iter().any(String::is_empty) {
        return Err(EvalError::new("invalid source label name in label_join(): "));
    }
    let mut rows = evaluator.vector(&call.args[0], grid)?;
    for row in &mut rows {
        let values: Vec<&str> =
            sources.iter().map(|source| row.labels.get(source).unwrap_or_default()).collect();
        let joined = values.join(separator);
        write(row, target, &joined);
    }
    distinct(rows)
}

/// A name that was written stays.
fn write(row: &mut Row, label: &str, value: &str) {
    row.labels = row.labels.with(label, value);
    if label == METRIC_NAME {
        row.is_name_dropped = false;
    }
}

/// The rows, if no two of the same labels have a value at the same step.
pub(super) fn distinct(rows: Vec<Row>) -> Result<Evaluated, EvalError> {
    let mut seen: HashMap<Labels, Vec<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let same = seen.entry(row.labels.clone()).or_default();
        for other in same.iter() {
            let other = &rows[*other].column;
            if (0..row.column.len()).any(|index| row.column.is_present(index) && other.is_present(index)) {
                return Err(EvalError::new("vector cannot contain metrics with the same labelset"));
            }
        }
        same.push(at);
    }
    Ok(Evaluated::Vector(rows))
}

pub(super) fn sort(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    span: Span,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    sorted(evaluator, call, span, grid, false)
}

pub(super) fn sort_desc(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    span: Span,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    sorted(evaluator, call, span, grid, true)
}

fn sorted(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    span: Span,
    grid: Grid,
    is_descending: bool,
) -> Result<Evaluated, EvalError> {
    let mut labels = Vec::new();
    for arg in &call.args[1..] {
        let label = evaluator.text(arg, grid)?;
        if label.is_empty() {
            let name = call.function.name;
            return Err(EvalError::new(format!("invalid label name {} in {name}()", quote(&label))));
        }
        labels.push(label);
    }
    super::plain::warn_unsorted(evaluator, grid, span);
    let mut rows = evaluator.vector(&call.args[0], grid)?;
    rows.sort_by(|a, b| {
        let by_labels = labels
            .iter()
            .map(|label| {
                natural(a.labels.get(label).unwrap_or_default(), b.labels.get(label).unwrap_or_default())
            })
            .find(|order| *order != Ordering::Equal);
        let order = by_labels.unwrap_or_else(|| a.labels.cmp(&b.labels));
        if is_descending { order.reverse() } else { order }
    });
    Ok(Evaluated::Vector(rows))
}

/// As people count: runs of digits by their number, the rest by its characters.
fn natural(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() && !b.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (a_digits, b_digits) = (digits(a), digits(b));
        let order = if a_digits > 0 && b_digits > 0 {
            let (x, y) = (a[..a_digits].trim_start_matches('0'), b[..b_digits].trim_start_matches('0'));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            (a, b) = (&a[a_digits..], &b[b_digits..]);
            order
        } else {
            let (x, y) = (a.chars().next(), b.chars().next());
            a = &a[x.map_or(0, char::len_utf8)..];
            b = &b[y.map_or(0, char::len_utf8)..];
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_are_counted() {
        let mut labels = ["canary2", "canary10", "1", "canary", "02"];
        labels.sort_by(|a, b| natural(a, b));
        assert_eq!(labels, ["1", "02", "canary", "canary2", "canary10"]);
    }
}
