//! What the grammar allows but makes no sense: wrong types, wrong counts, selectors that pick everything.

use hmsops_model::labels::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{Aggregate, Binary, Call, Expr, Kind, Selector, Span, Type};
use crate::error::ParseError;
use crate::pattern::Pattern;

/// Refuses the first node that cannot be evaluated whatever the data.
pub(super) fn check(expr: &Expr) -> Result<(), ParseError> {
    match &expr.kind {
        Kind::Number { .. } | Kind::Text(_) => Ok(()),
        Kind::Selector(selector) => selects_something(selector, expr.span),
        Kind::Range(range) => selects_something(&range.selector, range.selector_span),
        Kind::Paren(inner) => check(inner),
        Kind::Subquery(subquery) => {
            check(&subquery.expr)?;
            let found = subquery.expr.value_type();
            if found == Type::Vector {
                return Ok(());
            }
            refuse(
                expr.span,
                format!("subquery is only allowed on instant vector, got {} instead", found.name()),
            )
        }
        Kind::Unary { expr: inner, .. } => {
            check(inner)?;
            let found = inner.value_type();
            if matches!(found, Type::Scalar | Type::Vector) {
                return Ok(());
            }
            let message = "unary expression only allowed on expressions of type scalar or instant vector";
            refuse(expr.span, format!("{message}, got {:?}", found.name()))
        }
        Kind::Aggregate(aggregate) => check_aggregate(aggregate),
        Kind::Binary(binary) => check_binary(binary, expr.span),
        Kind::Call(call) => check_call(call, expr.span),
    }
}

fn refuse<T>(span: Span, message: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::new(span, message))
}

fn expect_type(expr: &Expr, wanted: Type, context: &str) -> Result<(), ParseError> {
    check(expr)?;
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    refuse(expr.span, format!("expected type {} in {context}, got {}", wanted.name(), found.name()))
}

fn selects_something(selector: &Selector, span: Span) -> Result<(), ParseError> {
    if let Some(name) = &selector.name {
        let again = selector.matchers.iter().find(|matcher| matcher.name == METRIC_NAME);
        return match again {
            Some(matcher) => {
                refuse(span, format!("metric name must not be set twice: {name:?} or {:?}", matcher.value))
            }
            None => Ok(()),
        };
    }
    if selector.matchers.iter().all(matches_empty) {
        return refuse(span, "vector selector must contain at least one non-empty matcher");
    }
    Ok(())
}

/// Whether a series without the label fulfils the condition.
fn matches_empty(matcher: &Matcher) -> bool {
    let is_match = || Pattern::new(&matcher.value).is_ok_and(|pattern| pattern.is_match(""));
    match matcher.op {
        MatchOp::Eq => matcher.value.is_empty(),
        MatchOp::Ne => !matcher.value.is_empty(),
        MatchOp::Re => is_match(),
        MatchOp::NotRe => !is_match(),
    }
}

fn check_aggregate(aggregate: &Aggregate) -> Result<(), ParseError> {
    expect_type(&aggregate.expr, Type::Vector, "aggregation expression")?;
    match (&aggregate.param, aggregate.op.param()) {
        (Some(param), Some(wanted)) => expect_type(param, wanted, "aggregation parameter"),
        _ => Ok(()),
    }
}

fn check_binary(binary: &Binary, span: Span) -> Result<(), ParseError> {
    check(&binary.left)?;
    check(&binary.right)?;
    let Binary { op, left, right, matching, .. } = binary;
    let (left_type, right_type) = (left.value_type(), right.value_type());
    let op_span = Span { start: left.span.end, end: right.span.start };
    for side in [left, right] {
        if !matches!(side.value_type(), Type::Scalar | Type::Vector) {
            return refuse(side.span, "binary expression must contain only scalar and instant vector types");
        }
    }
    if binary.is_bool && !op.is_comparison() {
        return refuse(op_span, "bool modifier can only be used on comparison operators");
    }
    let are_scalars = left_type == Type::Scalar && right_type == Type::Scalar;
    if op.is_comparison() && !binary.is_bool && are_scalars {
        return refuse(op_span, "comparisons between scalars must use BOOL modifier");
    }
    let include = matching.group.as_ref().map_or(&[][..], |(_, include)| include);
    if let Some(label) = matching.labels.iter().find(|label| matching.is_on && include.contains(label)) {
        return refuse(op_span, format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
    if left_type != Type::Vector || right_type != Type::Vector {
        if op.is_set() {
            let message = format!("set operator {:?} not allowed in binary scalar expression", op.as_str());
            return refuse(span, message);
        }
        if !matching.labels.is_empty() || matching.is_on {
            return refuse(span, "vector matching only allowed between instant vectors");
        }
        if has_fill {
            return refuse(span, "filling in missing series only allowed between instant vectors");
        }
    } else if op.is_set() {
        if matching.group.is_some() {
            return refuse(span, format!("no grouping allowed for {:?} operation", op.as_str()));
        }
        if has_fill {
            return refuse(span, "filling in missing series not allowed for set operators");
        }
    }
    Ok(())
}

fn check_call(call: &Call, span: Span) -> Result<(), ParseError> {
    let function = call.function;
    let (known, given) = (function.args.len(), call.args.len());
    let complain = |expected: String| {
        refuse(span, format!("expected {expected} argument(s) in call to {:?}, got {given}", function.name))
    };
    if function.variadic == 0 {
        if known != given {
            return complain(known.to_string());
        }
    } else {
        let least = known - 1;
        if given < least {
            return complain(format!("at least {least}"));
        }
        let most = least + usize::from(function.variadic.unsigned_abs());
        if function.variadic > 0 && given > most {
            return complain(format!("at most {most}"));
        }
    }
    for (index, arg) in call.args.iter().enumerate() {
        let wanted = function.args[index.min(known - 1)];
        if function.name == "info" && index == 1 {
            // Its second argument may pick any labels of the info series.
            match &arg.kind {
                Kind::Selector(selector) if selector.name.is_none() => continue,
                Kind::Selector(_) => {
                    return refuse(arg.span, "expected label selectors only, got vector selector instead");
                }
                _ => return refuse(arg.span, "expected label selectors only"),
            }
        }
        expect_type(arg, wanted, &format!("call to function {:?}", function.name))?;
    }
    Ok(())
}
