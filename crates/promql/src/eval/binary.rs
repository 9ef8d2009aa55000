//! Operators between vectors and scalars.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hmsops_model::labels::{Labels, METRIC_NAME, is_plain_label};

use super::column::without_metadata;
use super::scalar::{arithmetic, holds};
use super::{Cell, Column, Evaluated, Evaluator, Grid, Row};
use crate::ast::{Binary, BinaryOp, Matching, Side, Span};
use crate::error::EvalError;
use crate::histogram;
use crate::note::Notes;
use crate::quote::quote;

impl Evaluator<'_> {
    pub(crate) fn binary(&mut self, binary: &Binary, span: Span, grid: Grid) -> Result<Evaluated, EvalError> {
        let left = self.eval(&binary.left, grid)?;
        let right = self.eval(&binary.right, grid)?;
        match (left, right) {
            (Evaluated::Scalar(left), Evaluated::Scalar(right)) => {
                let values = left.into_iter().zip(right).map(|(left, right)| {
                    if binary.op.is_comparison() {
                        f64::from(u8::from(holds(binary.op, left, right)))
                    } else {
                        arithmetic(binary.op, left, right)
                    }
                });
                Ok(Evaluated::Scalar(values.collect()))
            }
            (Evaluated::Vector(rows), Evaluated::Scalar(values)) => {
                Ok(Evaluated::Vector(with_scalar(binary, rows, &values, false, &mut self.notes, span)))
            }
            (Evaluated::Scalar(values), Evaluated::Vector(rows)) => {
                Ok(Evaluated::Vector(with_scalar(binary, rows, &values, true, &mut self.notes, span)))
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) => {
                let rows = if binary.op.is_set() {
                    set(binary.op, &binary.matching, left, right, grid)
                } else {
                    Join { binary, grid, span }.run(&left, &right, &mut self.notes)?
                };
                Ok(Evaluated::Vector(rows))
            }
            _ => Err(EvalError::new("binary expression must contain only scalar and instant vector types")),
        }
    }
}

/// One operation: its value, and whether a comparison keeps it. `None` when the operands do not go together.
fn apply(op: BinaryOp, left: &Cell, right: &Cell, notes: &mut Notes, span: Span) -> Option<(Cell, bool)> {
    match (left, right) {
        (Cell::Float(left), Cell::Float(right)) => match op {
            op if op.is_comparison() => Some((Cell::Float(*left), holds(op, *left, *right))),
            BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                incompatible(op, "float", "float", notes, span);
                None
            }
            op => Some((Cell::Float(arithmetic(op, *left, *right)), true)),
        },
        (Cell::Float(left), Cell::Histogram(right)) if op == BinaryOp::Mul => {
            Some((Cell::Histogram(Arc::new(histogram::scale(right, *left))), true))
        }
        (Cell::Float(_), Cell::Histogram(_)) => {
            incompatible(op, "float", "histogram", notes, span);
            None
        }
        (Cell::Histogram(left), Cell::Float(right)) => {
            let changed = match op {
                BinaryOp::Mul => histogram::scale(left, *right),
                BinaryOp::Div => histogram::divide(left, *right),
                BinaryOp::TrimUpper => histogram::trim(left, *right, true),
                BinaryOp::TrimLower => histogram::trim(left, *right, false),
                _ => {
                    incompatible(op, "histogram", "float", notes, span);
                    return None;
                }
            };
            Some((Cell::Histogram(Arc::new(changed)), true))
        }
        (Cell::Histogram(left), Cell::Histogram(right)) => match op {
            BinaryOp::Add | BinaryOp::Sub => {
                let joined = histogram::join(left, right, op == BinaryOp::Sub);
                let what = if op == BinaryOp::Sub { "subtraction" } else { "addition" };
                let Some(joined) = joined else {
                    let name = op.as_str();
                    notes.warn(
                        span,
                        format!("incompatible bucket layout encountered for binary operator {name}"),
                    );
                    return None;
                };
                joined.note(what, notes, span);
                Some((Cell::Histogram(Arc::new(joined.histogram)), true))
            }
            BinaryOp::Eq => Some((Cell::Histogram(left.clone()), histogram::is_equal(left, right))),
            BinaryOp::Ne => Some((Cell::Histogram(left.clone()), !histogram::is_equal(left, right))),
            _ => {
                incompatible(op, "histogram", "histogram", notes, span);
                None
            }
        },
        _ => None,
    }
}

fn incompatible(op: BinaryOp, left: &str, right: &str, notes: &mut Notes, span: Span) {
    let name = op.as_str();
    notes.info(
        span,
        format!("incompatible sample types encountered for binary operator {name:?}: {left} {name} {right}"),
    );
}

fn with_scalar(
    binary: &Binary,
    mut rows: Vec<Row>,
    scalars: &[f64],
    is_scalar_left: bool,
    notes: &mut Notes,
    span: Span,
) -> Vec<Row> {
    let op = binary.op;
    let drops_name = !op.is_comparison() && !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
    for row in &mut rows {
        row.is_name_dropped |= drops_name || binary.is_bool;
        for (index, scalar) in scalars.iter().enumerate() {
            let element = row.column.cell(index);
            if element == Cell::Absent {
                continue;
            }
            let scalar = Cell::Float(*scalar);
            let applied = if is_scalar_left {
                apply(op, &scalar, &element, notes, span)
            } else {
                apply(op, &element, &scalar, notes, span)
            };
            let cell = match applied {
                Some((_, is_kept)) if binary.is_bool => Cell::Float(f64::from(u8::from(is_kept))),
                None | Some((_, false)) => Cell::Absent,
                // A comparison keeps the vector's element, on whichever side it stands.
                Some(_) if op.is_comparison() => element,
                Some((cell, true)) => cell,
            };
            row.column.set(index, cell);
        }
    }
    rows.retain(|row| !row.column.is_absent());
    rows
}

/// The labels by which series of both sides find each other.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    labels.filter(|name| {
        let is_listed = matching.labels.iter().any(|label| label == name);
        if matching.is_on { is_listed } else { !is_listed && name != METRIC_NAME }
    })
}

/// `and`, `or`, `unless`.
fn set(op: BinaryOp, matching: &Matching, left: Vec<Row>, right: Vec<Row>, grid: Grid) -> Vec<Row> {
    let present = |rows: &[Row]| {
        let mut by_signature: HashMap<Labels, Vec<bool>> = HashMap::new();
        for row in rows {
            let flags = by_signature
                .entry(signature(&row.labels, matching))
                .or_insert_with(|| vec![false; grid.count]);
            flags.iter_mut().enumerate().for_each(|(index, flag)| *flag |= row.column.is_present(index));
        }
        by_signature
    };
    let clear_where = |row: &mut Row, flags: Option<&Vec<bool>>, wanted: bool| {
        for index in 0..grid.count {
            if flags.is_some_and(|flags| flags[index]) == wanted {
                row.column.clear(index);
            }
        }
    };
    let mut rows = left;
    if op == BinaryOp::Or {
        let flags = present(&rows);
        let mut index_of: HashMap<Labels, usize> =
            rows.iter().enumerate().map(|(index, row)| (row.labels.clone(), index)).collect();
        for mut row in right {
            let signature = signature(&row.labels, matching);
            clear_where(&mut row, flags.get(&signature), true);
            if row.column.is_absent() {
                continue;
            }
            if let Some(&index) = index_of.get(&row.labels) {
                merge(&mut rows[index], &row);
            } else {
                index_of.insert(row.labels.clone(), rows.len());
                rows.push(row);
            }
        }
    } else {
        let flags = present(&right);
        for row in &mut rows {
            let flags = flags.get(&signature(&row.labels, matching));
            clear_where(row, flags, op == BinaryOp::Unless);
        }
    }
    rows.retain(|row| !row.column.is_absent());
    rows
}

/// Takes over what `other` has where `row` has nothing.
fn merge(row: &mut Row, other: &Row) {
    row.is_name_dropped |= other.is_name_dropped;
    for index in 0..row.column.len() {
        if !row.column.is_present(index) {
            row.column.set(index, other.column.cell(index));
        }
    }
}

/// An operator between vectors whose series are matched.
struct Join<'a> {
    binary: &'a Binary,
    grid: Grid,
    span: Span,
}

/// Rows of both sides that share a signature.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// The result of a join as it grows.
#[derive(Default)]
struct Output {
    rows: Vec<Row>,
    by_labels: HashMap<Labels, usize>,
    /// Result rows by the pair of rows they come from; `usize::MAX` stands for a filled side.
    by_pair: HashMap<(usize, usize), usize>,
}

/// Stands for a side that a fill value replaces.
const FILLED: usize = usize::MAX;

impl Join<'_> {
    fn is_swapped(&self) -> bool {
        matches!(self.binary.matching.group, Some((Side::Right, _)))
    }

    fn run(&self, left: &[Row], right: &[Row], notes: &mut Notes) -> Result<Vec<Row>, EvalError> {
        let matching = &self.binary.matching;
        let (many, one) = if self.is_swapped() { (right, left) } else { (left, right) };
        let mut groups: Vec<(Labels, Group)> = Vec::new();
        let mut by_signature: HashMap<Labels, usize> = HashMap::new();
        for (rows, is_one) in [(many, false), (one, true)] {
            for (index, row) in rows.iter().enumerate() {
                let signature = signature(&row.labels, matching);
                let at = *by_signature.entry(signature.clone()).or_insert_with(|| {
                    groups.push((signature, Group::default()));
                    groups.len() - 1
                });
                let group = &mut groups[at].1;
                if is_one { group.one.push(index) } else { group.many.push(index) }
            }
        }
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        let mut output = Output::default();
        for index in 0..self.grid.count {
            let any = |rows: &[Row]| rows.iter().any(|row| row.column.is_present(index));
            let is_joined = has_fill || (any(many) && any(one));
            if !is_joined {
                continue;
            }
            for (signature, group) in &groups {
                self.step(index, signature, group, (many, one), &mut output, notes)?;
            }
        }
        output.rows.retain(|row| !row.column.is_absent());
        Ok(output.rows)
    }

    fn step(
        &self,
        index: usize,
        signature: &Labels,
        group: &Group,
        (many, one): (&[Row], &[Row]),
        output: &mut Output,
        notes: &mut Notes,
    ) -> Result<(), EvalError> {
        let matching = &self.binary.matching;
        let is_present = |row: &Row| row.column.is_present(index);
        let mut ones = group.one.iter().copied().filter(|at| is_present(&one[*at]));
        let single = ones.next();
        if let (Some(first), Some(second)) = (single, ones.next()) {
            return Err(self.duplicate(signature, &one[first], &one[second]));
        }
        // As in Prometheus: the left fill stands for missing series of the many side, the right one for the one side.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let mut matched = 0;
        let mut made = HashSet::new();
        for at in group.many.iter().copied().filter(|at| is_present(&many[*at])) {
            let many_cell = many[at].column.cell(index);
            let (one_at, one_cell) = match (single, fill_one) {
                (Some(single), _) => (single, one[single].column.cell(index)),
                (None, Some(fill)) => (FILLED, Cell::Float(fill)),
                (None, None) => continue,
            };
            let Some((cell, is_kept)) = self.apply(&many_cell, &one_cell, notes) else { continue };
            matched += 1;
            if matched > 1 && matching.group.is_none() {
                let message = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                return Err(EvalError::new(message));
            }
            let one_labels = if one_at == FILLED { signature } else { &one[one_at].labels };
            let at_row =
                output.row((at, one_at), self, (&many[at].labels, one_labels), many[at].is_name_dropped);
            if matching.group.is_some() && !made.insert(at_row) {
                let message = "multiple matches for labels: grouping labels must ensure unique matches";
                return Err(EvalError::new(message));
            }
            if is_kept {
                put(output, at_row, index, cell)?;
            }
        }
        if let (0, Some(fill), Some(single)) = (matched, fill_many, single) {
            let one_cell = one[single].column.cell(index);
            if let Some((cell, true)) = self.apply(&Cell::Float(fill), &one_cell, notes) {
                let at_row = output.row(
                    (FILLED, single),
                    self,
                    (signature, &one[single].labels),
                    one[single].is_name_dropped,
                );
                put(output, at_row, index, cell)?;
            }
        }
        Ok(())
    }

    /// The value, and whether it is kept; sides as the query has them.
    fn apply(&self, many: &Cell, one: &Cell, notes: &mut Notes) -> Option<(Cell, bool)> {
        let (left, right) = if self.is_swapped() { (one, many) } else { (many, one) };
        let (cell, is_kept) = apply(self.binary.op, left, right, notes, self.span)?;
        if self.binary.is_bool {
            return Some((Cell::Float(f64::from(u8::from(is_kept))), true));
        }
        Some((cell, is_kept))
    }

    /// The labels of a result.
    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let Binary { op, matching, .. } = self.binary;
        let changes = !op.is_comparison() && !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        let base = if changes { without_metadata(many) } else { many.clone() };
        match &matching.group {
            None => base.filter(|name| matching.labels.iter().any(|label| label == name) == matching.is_on),
            Some((_, include)) => {
                let kept = base.filter(|name| !include.iter().any(|label| label == name));
                let taken = include.iter().map(|name| (name.as_str(), one.get(name).unwrap_or_default()));
                Labels::new(kept.iter().chain(taken))
            }
        }
    }

    fn duplicate(&self, signature: &Labels, first: &Row, second: &Row) -> EvalError {
        let side = if self.is_swapped() { "left" } else { "right" };
        let (mut a, mut b) = (as_set(&first.labels), as_set(&second.labels));
        if a > b {
            std::mem::swap(&mut a, &mut b);
        }
        EvalError::new(format!(
            "found duplicate series for the match group {signature} on the {side} hand-side of the operation: \
             [{a}, {b}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }
}

/// With the name among the labels, as Go's Prometheus prints a set.
fn as_set(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let name = if is_plain_label(name) { name.to_owned() } else { quote(name) };
            format!("{name}={}", quote(value))
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

impl Output {
    fn row(
        &mut self,
        pair: (usize, usize),
        join: &Join<'_>,
        (many, one): (&Labels, &Labels),
        is_name_dropped: bool,
    ) -> usize {
        if let Some(row) = self.by_pair.get(&pair) {
            return *row;
        }
        let labels = join.labels(many, one);
        let row = *self.by_labels.entry(labels.clone()).or_insert_with(|| {
            let column = Column::absent(join.grid.count);
            let is_name_dropped = is_name_dropped || join.binary.is_bool;
            self.rows.push(Row { labels, is_name_dropped, column });
            self.rows.len() - 1
        });
        self.by_pair.insert(pair, row);
        row
    }
}

fn put(output: &mut Output, row: usize, index: usize, cell: Cell) -> Result<(), EvalError> {
    let column = &mut output.rows[row].column;
    if column.is_present(index) {
        return Err(EvalError::new(
            "multiple matches for labels: grouping labels must ensure unique matches",
        ));
    }
    column.set(index, cell);
    Ok(())
}
