//! A policy's `when:` line: `> 5 % for 2 min`. As chapter 14 writes it, it is no valid YAML, because `>`
//! opens a text of several lines; it is read all the same.

use hmsops_model::Millis;
use hmsops_model::release::{Comparison, ComparisonOp};

use crate::diagnostic::{Findings, shown};
use crate::duration::parse_duration;
use crate::yaml::{Node, Value};

/// Stands for a leading `>` while YAML is read: one character too, so that columns stay right, and one
/// that means nothing to YAML (private use area).
const SHIELDED: char = '\u{e000}';

const EXAMPLE: &str = "write it like `when: > 5 % for 2 min`";

/// The text with each `when: >…` that was meant as a comparison shielded; `None` when there is none.
pub(crate) fn shield(text: &str) -> Option<String> {
    let mut changed = false;
    let lines: Vec<String> = text
        .split_inclusive(['\n', '\r'])
        .map(|line| {
            let shielded = shield_line(line);
            changed |= shielded.is_some();
            shielded.unwrap_or_else(|| line.to_owned())
        })
        .collect();
    changed.then(|| lines.concat())
}

fn shield_line(line: &str) -> Option<String> {
    let after_key = line.trim_start_matches([' ', '-']).strip_prefix("when:")?;
    let comparison = after_key.trim_start_matches(' ').strip_prefix('>')?;
    if after_key.starts_with('>') {
        return None; // `when:>` is one word to YAML; the reader will say so
    }
    // `>`, `>-` and `>+` alone do open a text of several lines.
    let header = comparison.split(" #").next().unwrap_or("").trim();
    if matches!(header, "" | "-" | "+") {
        return None;
    }
    let start = line.len() - comparison.len() - 1;
    Some(format!("{}{SHIELDED}{comparison}", line.get(..start)?))
}

/// Gives a scalar its `>` back.
pub(crate) fn unshield(text: String) -> String {
    match text.strip_prefix(SHIELDED) {
        Some(rest) => format!(">{rest}"),
        None => text,
    }
}

/// Reads `> 5 % for 2 min`: comparison, bound, how long it must hold.
pub(crate) fn read_when(node: &Node, out: &mut Findings) -> Option<(Comparison, Millis)> {
    let Value::Scalar { text, .. } = &node.value else { return None };
    let chars = |part: &str| part.chars().count();
    let offset_of =
        |part: &str| chars(text.get(..part.as_ptr() as usize - text.as_ptr() as usize).unwrap_or(""));
    let rest = text.trim_start();
    let Some((op, rest)) = operator(rest) else {
        let word: String = rest.chars().take_while(|c| *c != ' ' && !c.is_ascii_digit()).collect();
        let at = node.part(offset_of(rest), chars(&word), out);
        let message = match word.as_str() {
            "" => "`when` has no comparison".to_owned(),
            word => format!("`{}` is not a comparison", shown(word)),
        };
        out.error(at, message, "use `>`, `>=`, `<` or `<=`: `> 5 % for 2 min`");
        return None;
    };
    let rest = rest.trim_start();
    let number_end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(rest.len());
    let (number, tail) = rest.split_at(number_end);
    let bound = bound_of(number);
    let Some(mut bound) = bound else {
        let found: String = rest.split(' ').next().unwrap_or("").to_owned();
        let at = node.part(offset_of(rest), chars(&found), out);
        out.error(at, format!("`{}` is not a number to compare with", shown(&found)), EXAMPLE);
        return None;
    };
    let mut tail = tail.trim_start();
    if let Some(after) = tail.strip_prefix('%') {
        bound /= 100.0;
        tail = after.trim_start();
    }
    let Some(span) = tail.strip_prefix("for ") else {
        let unit: String = tail.split(' ').next().unwrap_or("").to_owned();
        let (at, message) = match unit.as_str() {
            "" => (node.at, "`when` does not say for how long".to_owned()),
            "for" => (node.at, "`for` is followed by nothing".to_owned()),
            unit => {
                let at = node.part(offset_of(tail), chars(unit), out);
                (at, format!("`{}` is not expected here: a bound is a plain number or per cent", shown(unit)))
            }
        };
        out.error(at, message, EXAMPLE);
        return None;
    };
    let hold = read_hold(node, span, offset_of(span), out)?;
    Some((Comparison { op, bound }, hold))
}

fn read_hold(node: &Node, span: &str, offset: usize, out: &mut Findings) -> Option<Millis> {
    match parse_duration(span) {
        Ok(hold) if hold <= Millis::from_mins(24 * 60) => Some(hold),
        Ok(hold) => {
            let at = node.part(offset, span.chars().count(), out);
            out.error(
                at,
                format!("{hold} is longer than a day"),
                "a rollback that waits a day is none: use minutes",
            );
            None
        }
        Err(error) => {
            out.error(node.part(offset + error.offset, error.width, out), error.message, error.hint);
            None
        }
    }
}

fn operator(text: &str) -> Option<(ComparisonOp, &str)> {
    [(">=", ComparisonOp::Ge), ("<=", ComparisonOp::Le), (">", ComparisonOp::Gt), ("<", ComparisonOp::Lt)]
        .into_iter()
        .find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (op, rest)))
        .filter(|(_, rest)| !rest.starts_with(['=', '>', '<']))
}

fn bound_of(number: &str) -> Option<f64> {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let plain = !digits.is_empty()
        && digits.len() <= 20
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { number.parse().ok().filter(|bound: &f64| bound.is_finite()) } else { None }
}
