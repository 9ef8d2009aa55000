//! Expressions as text, as Prometheus prints them; what is printed reads back as the same expression.

use std::fmt;

use hmsops_model::labels::{Matcher, is_plain_label};

use crate::ast::{
    Aggregate, At, Binary, Duration, DurationExpr, DurationKind, DurationOp, Expr, Extension, Kind, Matching,
    RangeSelector, Selector, Side, Subquery,
};
use crate::quote::quote;
use crate::{duration, number};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number { value, is_duration } => write_number(f, *value, *is_duration),
            Kind::Text(text) => f.write_str(&quote(text)),
            Kind::Selector(selector) => {
                write_series(f, selector)?;
                write_at(f, selector.at)?;
                write_extension(f, selector.extension)?;
                write_offset(f, selector.offset.as_ref())
            }
            Kind::Range(range) => range.fmt(f),
            Kind::Subquery(subquery) => subquery.fmt(f),
            Kind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_list(f, call.args.iter())?;
                f.write_str(")")
            }
            Kind::Aggregate(aggregate) => aggregate.fmt(f),
            Kind::Binary(binary) => binary.fmt(f),
            Kind::Unary { is_minus, expr } => write!(f, "{}{expr}", if *is_minus { "-" } else { "+" }),
            Kind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

fn write_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
    }
    Ok(())
}

fn write_number(f: &mut fmt::Formatter<'_>, value: f64, is_duration: bool) -> fmt::Result {
    if is_duration {
        f.write_str(&duration::format((value * 1000.0).round() as i64))
    } else {
        f.write_str(&number::format(value))
    }
}

fn write_series(f: &mut fmt::Formatter<'_>, selector: &Selector) -> fmt::Result {
    f.write_str(selector.name.as_deref().unwrap_or_default())?;
    if selector.matchers.is_empty() {
        return if selector.name.is_none() { f.write_str("{}") } else { Ok(()) };
    }
    let mut shown: Vec<String> = selector.matchers.iter().map(matcher).collect();
    shown.sort();
    write!(f, "{{{}}}", shown.join(","))
}

/// One condition as text.
pub(crate) fn matcher(matcher: &Matcher) -> String {
    format!("{}{}{}", label(&matcher.name), matcher.op.as_str(), quote(&matcher.value))
}

fn label(name: &str) -> String {
    if is_plain_label(name) { name.to_owned() } else { quote(name) }
}

fn write_at(f: &mut fmt::Formatter<'_>, at: Option<At>) -> fmt::Result {
    match at {
        Some(At::Time(millis)) => {
            let sign = if millis < 0 { "-" } else { "" };
            let size = millis.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", size / 1000, size % 1000)
        }
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        None => Ok(()),
    }
}

fn write_extension(f: &mut fmt::Formatter<'_>, extension: Option<Extension>) -> fmt::Result {
    f.write_str(match extension {
        Some(Extension::Anchored) => " anchored",
        Some(Extension::Smoothed) => " smoothed",
        None => "",
    })
}

fn write_offset(f: &mut fmt::Formatter<'_>, offset: Option<&Duration>) -> fmt::Result {
    offset.map_or(Ok(()), |offset| write!(f, " offset {offset}"))
}

impl fmt::Display for RangeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_series(f, &self.selector)?;
        write!(f, "[{}]", self.range)?;
        write_extension(f, self.selector.extension)?;
        write_at(f, self.selector.at)?;
        write_offset(f, self.selector.offset.as_ref())
    }
}

impl fmt::Display for Subquery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}:", self.expr, self.range)?;
        if let Some(step) = &self.step {
            write!(f, "{step}")?;
        }
        f.write_str("]")?;
        write_at(f, self.at)?;
        write_offset(f, self.offset.as_ref())
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.is_without || !self.grouping.is_empty() {
            f.write_str(if self.is_without { " without (" } else { " by (" })?;
            write_list(f, self.grouping.iter().map(|name| label(name)))?;
            f.write_str(") ")?;
        }
        f.write_str("(")?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bool = if self.is_bool { " bool" } else { "" };
        write!(f, "{} {}{bool}{} {}", self.left, self.op.as_str(), self.matching, self.right)
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_on || !self.labels.is_empty() || self.group.is_some() {
            f.write_str(if self.is_on { " on (" } else { " ignoring (" })?;
            write_list(f, self.labels.iter().map(|name| label(name)))?;
            f.write_str(")")?;
        }
        if let Some((side, include)) = &self.group {
            f.write_str(if *side == Side::Left { " group_left (" } else { " group_right (" })?;
            write_list(f, include.iter().map(|name| label(name)))?;
            f.write_str(")")?;
        }
        let bits = |fill: Option<f64>| fill.map(f64::to_bits);
        if self.fill_left.is_some() && bits(self.fill_left) == bits(self.fill_right) {
            return write!(f, " fill ({})", number::format_general(self.fill_left.unwrap_or_default()));
        }
        if let Some(fill) = self.fill_left {
            write!(f, " fill_left ({})", number::format_general(fill))?;
        }
        if let Some(fill) = self.fill_right {
            write!(f, " fill_right ({})", number::format_general(fill))?;
        }
        Ok(())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(millis) => f.write_str(&duration::format(*millis)),
            Self::Computed(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_wrapped {
            f.write_str("(")?;
        }
        match &self.kind {
            DurationKind::Number { value, is_duration } => write_number(f, *value, *is_duration)?,
            DurationKind::Step => f.write_str("step()")?,
            DurationKind::Range => f.write_str("range()")?,
            DurationKind::Sign { is_minus, expr } => {
                write!(f, "{}{expr}", if *is_minus { "-" } else { "" })?;
            }
            DurationKind::Binary { op: DurationOp::Min, left, right } => {
                write!(f, "min_of({left}, {right})")?;
            }
            DurationKind::Binary { op: DurationOp::Max, left, right } => {
                write!(f, "max_of({left}, {right})")?;
            }
            DurationKind::Binary { op, left, right } => write!(f, "{left} {} {right}", op.as_str())?,
        }
        f.write_str(if self.is_wrapped { ")" } else { "" })
    }
}

impl DurationOp {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Min => "min_of",
            Self::Max => "max_of",
        }
    }
}
