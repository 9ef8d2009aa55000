//! What an alert rule means that compares the rate of a tally with a share.
//!
//! `rate(photo.upload.ok[1m]) < 0.7` over values that are all 0 or 1 can mean two things: fewer than 0.7 successes a
//! second, or less than 70 % successes. In alert rules, and only there, a bare `rate` of such a tally compared with a
//! constant in (0, 1] is read as the share. Both readings can be shown, and the author may insist on the literal one.

use crate::ast::{Call, Expr, Kind, Selector};
use crate::functions;

/// Both readings of a rule. They are equal when there is nothing to choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Readings {
    /// As written: what was emitted, by second.
    pub per_second: Expr,
    /// The mean of the values emitted: the share of ones.
    pub share: Expr,
    /// The series that decide whether `share` applies: it does when the values of all of them are all 0 or 1.
    pub selectors: Vec<Selector>,
}

/// Which reading is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As written.
    PerSecond,
    /// As the share.
    Share,
}

impl Readings {
    /// Whether the rule can be read in two ways at all.
    pub fn is_ambiguous(&self) -> bool {
        !self.selectors.is_empty()
    }

    /// The expression of a reading.
    pub fn expr(&self, reading: Reading) -> &Expr {
        match reading {
            Reading::PerSecond => &self.per_second,
            Reading::Share => &self.share,
        }
    }

    /// A reading as text for people: what it says, then the query that says it.
    pub fn text(&self, reading: Reading) -> String {
        let says = match reading {
            Reading::PerSecond => "per-second: the sum of the values emitted, by second",
            Reading::Share => "share: the mean of the values emitted, between 0 and 1",
        };
        format!("{says}: {}", self.expr(reading))
    }
}

/// The reading of an alert rule's expression. `is_share` answers whether the values of all tallies that a selector
/// picks are all 0 or 1 (false when it picks anything else); `is_literal` is the author's `reading: per-second`.
pub fn reading(expr: &Expr, is_literal: bool, is_share: impl Fn(&Selector) -> bool) -> (Reading, Readings) {
    let readings = readings(expr);
    let applies = readings.is_ambiguous() && !is_literal && readings.selectors.iter().all(is_share);
    (if applies { Reading::Share } else { Reading::PerSecond }, readings)
}

/// Both readings of an expression.
pub fn readings(expr: &Expr) -> Readings {
    let mut share = expr.clone();
    let mut selectors = Vec::new();
    rewrite(&mut share, &mut selectors);
    Readings { per_second: expr.clone(), share, selectors }
}

/// Rewrites comparisons that stand alone or are joined by `and`, `or`, `unless`.
fn rewrite(expr: &mut Expr, selectors: &mut Vec<Selector>) {
    match &mut expr.kind {
        Kind::Paren(inner) => rewrite(inner, selectors),
        Kind::Binary(binary) if binary.op.is_set() => {
            rewrite(&mut binary.left, selectors);
            rewrite(&mut binary.right, selectors);
        }
        Kind::Binary(binary) if binary.op.is_comparison() => {
            if is_share_constant(&binary.right) {
                rewrite_rate(&mut binary.left, selectors);
            } else if is_share_constant(&binary.left) {
                rewrite_rate(&mut binary.right, selectors);
            }
        }
        _ => {}
    }
}

fn is_share_constant(expr: &Expr) -> bool {
    matches!(expr.bare().kind, Kind::Number { value, .. } if value > 0.0 && value <= 1.0)
}

fn rewrite_rate(expr: &mut Expr, selectors: &mut Vec<Selector>) {
    match &mut expr.kind {
        Kind::Paren(inner) => rewrite_rate(inner, selectors),
        Kind::Call(Call { function, args }) if function.name == "rate" => {
            if let (Some(Kind::Range(range)), Some(mean)) =
                (args.first().map(|arg| &arg.bare().kind), functions::find("avg_over_time"))
                && range.selector.extension.is_none()
            {
                selectors.push(range.selector.clone());
                *function = mean;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn a_bare_rate_compared_with_a_share_has_two_readings() {
        for (text, share) in [
            ("rate(photo.upload.ok[1m]) < 0.7", "avg_over_time(photo.upload.ok[1m]) < 0.7"),
            ("0.7 > rate(x[1m])", "0.7 > avg_over_time(x[1m])"),
            ("(rate(x[1m])) <= 1", "(avg_over_time(x[1m])) <= 1"),
            ("rate(x[1m]) < 0.7 and y > 5", "avg_over_time(x[1m]) < 0.7 and y > 5"),
        ] {
            let expr = parse(text).unwrap();
            let (chosen, readings) = reading(&expr, false, |_| true);
            assert_eq!((chosen, readings.share.to_string().as_str()), (Reading::Share, share));
            assert_eq!(readings.per_second.to_string(), text);
            assert_eq!(reading(&expr, true, |_| true).0, Reading::PerSecond);
            assert_eq!(reading(&expr, false, |_| false).0, Reading::PerSecond);
        }
    }

    #[test]
    fn everything_else_is_read_as_written() {
        for text in [
            "rate(x[1m]) < 1.5",
            "rate(x[1m]) < 0",
            "sum(rate(x[1m])) < 0.7",
            "rate(x[1m]) * 2 < 0.7",
            "increase(x[1m]) < 0.7",
            "rate(x[1m])",
            "rate(x[1m]) < y",
            "rate(x[5m:1m]) < 0.7",
        ] {
            assert_eq!(reading(&parse(text).unwrap(), false, |_| true).0, Reading::PerSecond, "{text}");
        }
    }

    #[test]
    fn both_readings_are_told() {
        let readings = readings(&parse("rate(photo.upload.ok[1m]) < 0.7").unwrap());
        assert_eq!(
            readings.text(Reading::Share),
            "share: the mean of the values emitted, between 0 and 1: avg_over_time(photo.upload.ok[1m]) < 0.7"
        );
        assert!(readings.text(Reading::PerSecond).ends_with("rate(photo.upload.ok[1m]) < 0.7"));
    }
}
