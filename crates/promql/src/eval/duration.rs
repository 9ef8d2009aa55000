//! Lengths of time, once the query's step and range are known.

use crate::ast::{Duration, DurationExpr, DurationKind, DurationOp};
use crate::error::EvalError;
use crate::eval::Asked;

/// In milliseconds; must be positive.
pub(crate) fn positive(duration: &Duration, asked: Asked) -> Result<i64, EvalError> {
    let millis = signed(duration, asked)?;
    let is_positive = match duration {
        Duration::Millis(_) => true,
        Duration::Computed(_) => millis > 0,
    };
    if is_positive { Ok(millis.max(1)) } else { Err(EvalError::new("duration must be greater than 0")) }
}

/// In milliseconds.
pub(crate) fn signed(duration: &Duration, asked: Asked) -> Result<i64, EvalError> {
    match duration {
        Duration::Millis(millis) => Ok(*millis),
        Duration::Computed(expr) => {
            let seconds = value(expr, asked)?;
            // 292 years: what Prometheus can hold.
            if !seconds.is_finite() {
                return Err(EvalError::new("duration is NaN or infinite"));
            }
            if seconds.abs() > 9_223_372_036.0 {
                return Err(EvalError::new("duration is out of range"));
            }
            Ok((seconds * 1000.0) as i64)
        }
    }
}

fn value(expr: &DurationExpr, asked: Asked) -> Result<f64, EvalError> {
    Ok(match &expr.kind {
        DurationKind::Number { value, .. } => *value,
        DurationKind::Step => asked.step as f64 / 1000.0,
        DurationKind::Range => (asked.to - asked.from) as f64 / 1000.0,
        DurationKind::Sign { is_minus, expr } => {
            let inner = value(expr, asked)?;
            if *is_minus { -inner } else { inner }
        }
        DurationKind::Binary { op, left, right } => {
            let (left, right) = (value(left, asked)?, value(right, asked)?);
            match op {
                DurationOp::Add => left + right,
                DurationOp::Sub => left - right,
                DurationOp::Mul => left * right,
                DurationOp::Div if right == 0.0 => return Err(EvalError::new("division by zero")),
                DurationOp::Mod if right == 0.0 => return Err(EvalError::new("modulo by zero")),
                DurationOp::Div => left / right,
                DurationOp::Mod => left % right,
                DurationOp::Pow => left.powf(right),
                DurationOp::Min => left.min(right),
                DurationOp::Max => left.max(right),
            }
        }
    })
}
