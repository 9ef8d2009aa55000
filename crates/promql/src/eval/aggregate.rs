//! Aggregations over groups of series.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use hmsops_model::labels::{Labels, METRIC_NAME};
use hmsops_model::sample::{Histogram, ResetHint};

use super::kahan::{Mean, Sum, Variance};
use super::{Cell, Column, Evaluator, Grid, Row};
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::error::EvalError;
use crate::histogram;
use crate::note::Notes;
use crate::number;
use crate::quantile::quantile;

impl Evaluator<'_> {
    pub(crate) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        span: Span,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let op = aggregate.op;
        if let (AggregateOp::CountValues, Some(param)) = (op, &aggregate.param) {
            let label = self.text(param, grid)?;
            let rows = self.vector(&aggregate.expr, grid)?;
            return count_values(aggregate, &label, &rows, grid);
        }
        let params = match &aggregate.param {
            Some(param) => self.scalars(param, grid)?,
            None => Vec::new(),
        };
        let rows = self.vector(&aggregate.expr, grid)?;
        let groups = groups(aggregate, &rows);
        let param_span = aggregate.param.as_ref().map_or(span, |param| param.span);
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                pick(op, &params, &rows, &groups, grid, &mut self.notes, aggregate.expr.span)
            }
            AggregateOp::LimitRatio => ratio(&params, rows, grid, &mut self.notes, param_span),
            AggregateOp::Quantile => {
                warn_quantiles(&params, &mut self.notes, param_span);
                let mut result = Vec::new();
                for group in groups {
                    let mut column = Column::absent(grid.count);
                    for (index, q) in params.iter().enumerate() {
                        let floats = floats_at(&rows, &group, index);
                        if has_histogram(&rows, &group, index) {
                            self.notes.info(aggregate.expr.span, "ignored histogram in quantile aggregation");
                        }
                        if !floats.is_empty() {
                            column.set_float(index, quantile(*q, floats));
                        }
                    }
                    result.push(group.row(column));
                }
                Ok(retained(result))
            }
            _ => {
                let mut result = Vec::new();
                for group in groups {
                    let column = fold(op, &rows, &group, grid, &mut self.notes, aggregate.expr.span);
                    result.push(group.row(column));
                }
                Ok(retained(result))
            }
        }
    }
}

fn retained(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| !row.column.is_absent());
    rows
}

/// Series that are aggregated into one.
struct Group {
    labels: Labels,
    members: Vec<usize>,
    is_name_dropped: bool,
}

impl Group {
    fn row(&self, column: Column) -> Row {
        Row { labels: self.labels.clone(), is_name_dropped: self.is_name_dropped, column }
    }
}

fn group_labels(aggregate: &Aggregate, labels: &Labels) -> Labels {
    let is_listed = |name: &str| aggregate.grouping.iter().any(|label| label == name);
    if aggregate.is_without {
        labels.filter(|name| !is_listed(name) && name != METRIC_NAME)
    } else {
        labels.filter(is_listed)
    }
}

fn groups(aggregate: &Aggregate, rows: &[Row]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let labels = group_labels(aggregate, &row.labels);
        let at = *by_labels.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group { labels, members: Vec::new(), is_name_dropped: false });
            groups.len() - 1
        });
        groups[at].members.push(index);
        groups[at].is_name_dropped |= row.is_name_dropped;
    }
    groups
}

fn floats_at(rows: &[Row], group: &Group, index: usize) -> Vec<f64> {
    group.members.iter().filter_map(|member| rows[*member].column.float(index)).collect()
}

fn has_histogram(rows: &[Row], group: &Group, index: usize) -> bool {
    group.members.iter().any(|member| rows[*member].column.histogram(index).is_some())
}

pub(crate) fn warn_quantiles(values: &[f64], notes: &mut Notes, span: Span) {
    for value in values.iter().filter(|value| !(0.0..=1.0).contains(*value)) {
        let value = number::format_general(*value);
        notes.warn(span, format!("quantile value should be between 0 and 1, got {value}"));
    }
}

/// What one group holds at one step so far.
#[derive(Default, Clone)]
struct Tallied {
    count: f64,
    floats: usize,
    sum: Sum,
    mean: Mean,
    variance: Variance,
    extreme: f64,
    total: Option<histogram::Total>,
    histograms: usize,
    has_reset: (bool, bool),
    is_incompatible: bool,
}

fn fold(op: AggregateOp, rows: &[Row], group: &Group, grid: Grid, notes: &mut Notes, span: Span) -> Column {
    let mut steps = vec![Tallied::default(); grid.count];
    for member in &group.members {
        let column = &rows[*member].column;
        for (index, step) in steps.iter_mut().enumerate() {
            if let Some(value) = column.float(index) {
                add_float(op, step, value);
            } else if let Some(histogram) = column.histogram(index) {
                add_histogram(op, step, histogram, notes, span);
            }
        }
    }
    let mut column = Column::absent(grid.count);
    for (index, step) in steps.into_iter().enumerate() {
        column.set(index, result(op, step, notes, span));
    }
    column
}

fn add_float(op: AggregateOp, step: &mut Tallied, value: f64) {
    let is_first = step.floats == 0;
    step.floats += 1;
    step.count += 1.0;
    match op {
        AggregateOp::Sum => step.sum.add(value),
        AggregateOp::Avg => step.mean.add(value),
        AggregateOp::Stddev | AggregateOp::Stdvar => step.variance.add(value),
        AggregateOp::Min if is_first || value < step.extreme || step.extreme.is_nan() => step.extreme = value,
        AggregateOp::Max if is_first || value > step.extreme || step.extreme.is_nan() => step.extreme = value,
        _ => {}
    }
}

fn add_histogram(op: AggregateOp, step: &mut Tallied, value: &Arc<Histogram>, notes: &mut Notes, span: Span) {
    match op {
        AggregateOp::Sum | AggregateOp::Avg => {
            step.histograms += 1;
            step.has_reset.0 |= value.reset == ResetHint::Reset;
            step.has_reset.1 |= value.reset == ResetHint::NotReset;
            match &mut step.total {
                None => step.total = Some(histogram::Total::new(value)),
                Some(total) => {
                    let is_added = total.add(value, op == AggregateOp::Avg).is_some();
                    step.is_incompatible |= !is_added;
                    if total.is_reconciled {
                        notes.info(span, "mismatched custom buckets were reconciled during aggregation");
                    }
                }
            }
        }
        AggregateOp::Count | AggregateOp::Group => step.count += 1.0,
        _ => notes.info(span, format!("ignored histogram in {} aggregation", op.as_str())),
    }
}

fn result(op: AggregateOp, step: Tallied, notes: &mut Notes, span: Span) -> Cell {
    if step.histograms > 0 {
        if step.floats > 0 {
            notes.warn(span, "encountered a mix of histograms and floats for aggregation");
            return Cell::Absent;
        }
        if step.is_incompatible {
            notes.warn(
                span,
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name \"\"",
            );
            return Cell::Absent;
        }
        if step.has_reset == (true, true) {
            notes.warn(span, "conflicting counter resets during histogram aggregation");
        }
        return step.total.map_or(Cell::Absent, |total| {
            let joined = if op == AggregateOp::Avg { total.mean() } else { total.sum() };
            Cell::Histogram(Arc::new(histogram::compact(&joined)))
        });
    }
    if step.count == 0.0 {
        return Cell::Absent;
    }
    Cell::Float(match op {
        AggregateOp::Sum => step.sum.value(),
        AggregateOp::Avg => step.mean.value(),
        AggregateOp::Count => step.count,
        AggregateOp::Group => 1.0,
        AggregateOp::Stddev => step.variance.value().sqrt(),
        AggregateOp::Stdvar => step.variance.value(),
        _ => step.extreme,
    })
}

/// By value, NaN last, and as the operator wants it.
fn rank(op: AggregateOp, a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if op == AggregateOp::Bottomk => a.total_cmp(&b),
        _ => b.total_cmp(&a),
    }
}

/// `topk`, `bottomk` and `limitk`: series as they are, where they are among the chosen.
fn pick(
    op: AggregateOp,
    params: &[f64],
    rows: &[Row],
    groups: &[Group],
    grid: Grid,
    notes: &mut Notes,
    span: Span,
) -> Result<Vec<Row>, EvalError> {
    if params.iter().any(|k| k.is_nan()) {
        return Err(EvalError::new("Parameter value is NaN"));
    }
    if let Some(k) = params.iter().find(|k| !(-9.2e18..=9.2e18).contains(*k)) {
        let bound = if *k > 0.0 { "overflows" } else { "underflows" };
        return Err(EvalError::new(format!("Scalar value {} {bound} int64", number::format(*k))));
    }
    let mut kept: Vec<Row> =
        rows.iter().map(|row| Row { column: Column::absent(grid.count), ..row.clone() }).collect();
    let mut order: Vec<usize> = Vec::new();
    for (index, k) in params.iter().enumerate() {
        let k = if *k < 1.0 { 0 } else { *k as usize };
        for group in groups {
            let mut members: Vec<usize> = group.members.clone();
            members.retain(|member| rows[*member].column.is_present(index));
            if op != AggregateOp::Limitk {
                if members.iter().any(|member| rows[*member].column.histogram(index).is_some()) {
                    notes.info(span, format!("ignored histogram in {} aggregation", op.as_str()));
                }
                members.retain(|member| rows[*member].column.float(index).is_some());
                let value = |member: usize| rows[member].column.float(index).unwrap_or(f64::NAN);
                members.sort_by(|a, b| rank(op, value(*a), value(*b)));
            }
            members.truncate(k);
            for member in members {
                kept[member].column.set(index, rows[member].column.cell(index));
                if grid.count == 1 {
                    order.push(member);
                }
            }
        }
    }
    if grid.count == 1 {
        let mut slots: Vec<Option<Row>> = kept.into_iter().map(Some).collect();
        return Ok(order.into_iter().filter_map(|member| slots[member].take()).collect());
    }
    Ok(retained(kept))
}

/// `limit_ratio`: the same share of series wherever it is asked, chosen by a hash of their labels; a negative
/// ratio chooses the others.
fn ratio(
    params: &[f64],
    mut rows: Vec<Row>,
    grid: Grid,
    notes: &mut Notes,
    span: Span,
) -> Result<Vec<Row>, EvalError> {
    let mut limits = params.to_vec();
    for limit in &mut limits {
        if limit.is_nan() {
            return Err(EvalError::new("Ratio value is NaN"));
        }
        let capped = limit.clamp(-1.0, 1.0);
        if capped.to_bits() != limit.to_bits() {
            let (got, to) = (number::format_general(*limit), number::format_general(capped));
            notes.warn(span, format!("ratio value should be between -1 and 1, got {got}, capping to {to}"));
        }
        *limit = capped;
    }
    for row in &mut rows {
        let offset = hash_offset(&row.labels);
        for (index, limit) in limits.iter().enumerate().take(grid.count) {
            let is_kept = if *limit >= 0.0 { offset < *limit } else { offset >= 1.0 + limit };
            if !is_kept {
                row.column.clear(index);
            }
        }
    }
    Ok(retained(rows))
}

/// A number from 0 to 1 that depends on the labels only (FNV-1a with a final mix, spread over 64 bits).
fn hash_offset(labels: &Labels) -> f64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in labels.iter() {
        for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xfe]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    hash as f64 / u64::MAX as f64
}

fn count_values(aggregate: &Aggregate, label: &str, rows: &[Row], grid: Grid) -> Result<Vec<Row>, EvalError> {
    if label.is_empty() || !crate::quote::is_utf8(label) {
        return Err(EvalError::new(format!("invalid label name {}", crate::quote::quote(label))));
    }
    let mut counted: Vec<Row> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for row in rows {
        let group = group_labels(aggregate, &row.labels);
        for index in 0..grid.count {
            let value = match row.column.cell(index) {
                Cell::Absent => continue,
                Cell::Float(value) => number::format(value),
                Cell::Histogram(histogram) => histogram::show(&histogram),
            };
            let labels = group.with(label, &value);
            let at = *by_labels.entry(labels.clone()).or_insert_with(|| {
                let column = Column::absent(grid.count);
                counted.push(Row { labels, is_name_dropped: false, column });
                counted.len() - 1
            });
            let counted = &mut counted[at];
            let is_kept = label == METRIC_NAME || !aggregate.grouping.iter().any(|name| name == METRIC_NAME);
            counted.is_name_dropped |= row.is_name_dropped && !is_kept;
            let before = counted.column.float(index).unwrap_or(0.0);
            counted.column.set_float(index, before + 1.0);
        }
    }
    Ok(counted)
}
