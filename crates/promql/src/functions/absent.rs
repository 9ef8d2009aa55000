//! One where there is nothing.

use hmsops_model::labels::{Labels, METRIC_NAME, MatchOp};

use crate::ast::{Call, Expr, Kind, Span};
use crate::error::EvalError;
use crate::eval::{Column, Evaluated, Evaluator, Grid, Row};

pub(super) fn absent(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    _: Span,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let mut is_there = vec![false; grid.count];
    for row in evaluator.vector(&call.args[0], grid)? {
        is_there.iter_mut().enumerate().for_each(|(index, flag)| *flag |= row.column.is_present(index));
    }
    Ok(gaps(&call.args[0], &is_there))
}

pub(super) fn absent_over_time(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    _: Span,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let ranged = evaluator.ranged(&call.args[0], grid, "absent_over_time")?;
    if ranged.extension.is_some() {
        return Err(EvalError::new("extended range selectors cannot be used with absent_over_time"));
    }
    let mut is_there = vec![false; grid.count];
    for lane in &ranged.lanes {
        ranged.each_window(lane, grid, |index, window| is_there[index] |= !window.is_empty());
    }
    Ok(gaps(&call.args[0], &is_there))
}

fn gaps(arg: &Expr, is_there: &[bool]) -> Evaluated {
    if is_there.iter().all(|flag| *flag) {
        return Evaluated::Vector(Vec::new());
    }
    let mut column = Column::absent(is_there.len());
    for (index, _) in is_there.iter().enumerate().filter(|(_, flag)| !**flag) {
        column.set_float(index, 1.0);
    }
    Evaluated::Vector(vec![Row { labels: known_labels(arg), is_name_dropped: false, column }])
}

/// The labels that the selector fixes: those with exactly one `=` condition.
fn known_labels(arg: &Expr) -> Labels {
    let selector = match &arg.bare().kind {
        Kind::Selector(selector) => selector,
        Kind::Range(range) => &range.selector,
        _ => return Labels::empty(),
    };
    let is_single = |name: &str| selector.matchers.iter().filter(|matcher| matcher.name == name).count() == 1;
    Labels::new(
        selector
            .matchers
            .iter()
            .filter(|matcher| {
                matcher.op == MatchOp::Eq && matcher.name != METRIC_NAME && is_single(&matcher.name)
            })
            .map(|matcher| (matcher.name.as_str(), matcher.value.as_str())),
    )
}
