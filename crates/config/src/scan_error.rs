//! Says in a user's words what the YAML scanner stumbled over, and where the cause stands (the scanner
//! often notices it later).

use saphyr_parser::ScanError;

use crate::diagnostic::{Findings, Span, shown};

/// What a text is not valid YAML for. `open`: the bracket that was still open.
pub(crate) fn report(error: &ScanError, open: Option<Span>, out: &mut Findings) {
    let marker = error.marker();
    let at = Span { line: marker.line() as u32, column: marker.col() as u32 + 1, width: 1 };
    // At the very end the marker may stand behind the last line.
    let at = if at.line > out.last_line() {
        Span { line: out.last_line(), column: u32::MAX, width: 1 }
    } else {
        at
    };
    if let Some(open) = open.filter(|open| open.line < at.line || error.info().contains("end of stream")) {
        let bracket = out.line(open.line).chars().nth(open.column as usize - 1).unwrap_or('[');
        let close = if bracket == '{' { '}' } else { ']' };
        let message = format!("`{bracket}` is not closed");
        return out.error(
            Span { width: 1, ..open },
            message,
            format!("add the `{close}` that belongs to it"),
        );
    }
    let (at, message, hint) = explain(error.info(), at, out);
    out.error(at, message, hint);
}

fn explain(info: &str, at: Span, out: &Findings) -> (Span, String, String) {
    let line = out.line(at.line);
    let indented = Span { column: (line.chars().take_while(|c| *c == ' ').count() + 1) as u32, ..at };
    if info.contains("mapping values are not allowed") {
        let before: String = line.chars().take(at.column as usize - 1).collect();
        if before.contains(": ") {
            let hint = "quote the value if the colon belongs to it: `key: \"a: b\"`";
            return (at, "a second `: ` stands in this line".to_owned(), hint.to_owned());
        }
        let key = before.trim().trim_start_matches("- ").to_owned();
        let at = Span { width: (at.column - indented.column).max(1), ..indented };
        let message = format!("`{}` does not belong under the line above", shown(&key));
        return (at, message, "is a line missing above it, or is it indented too far?".to_owned());
    }
    if info.contains("did not find expected key") || info.contains("did not find expected '-' indicator") {
        let message = "this line does not belong to the ones above".to_owned();
        return (indented, message, "is a line missing above it, or is it indented wrongly?".to_owned());
    }
    if info.contains("simple key") {
        return keyless(at, out);
    }
    if info.contains("tab") {
        let hint = "indent with spaces; YAML allows no tabs there".to_owned();
        return (at, "a tab stands where only spaces may".to_owned(), hint);
    }
    if info.contains("quoted scalar") {
        let message = "a quoted text is not closed, or goes on in the next line".to_owned();
        return (at, message, "close it with the same quote in the same line".to_owned());
    }
    if let Some(c) = info.strip_prefix("unexpected character: `") {
        let message = format!("`{}` cannot start a value", shown(c.trim_end_matches('\'')));
        return (at, message, "quote the value: `\"…\"`".to_owned());
    }
    if info.contains("block scalar") {
        let hint = "quote the value if it starts with `>` or `|`: `\"> 5 %\"`".to_owned();
        return (at, "`>` and `|` start a text of several lines".to_owned(), hint);
    }
    (
        at,
        format!("this is not valid YAML: {}", shown(info)),
        "write `key: value`, and indent with spaces".to_owned(),
    )
}

/// A line without a colon is noticed at the next one.
fn keyless(at: Span, out: &Findings) -> (Span, String, String) {
    let mut number = at.line;
    if out.line(number).chars().take(at.column as usize - 1).all(|c| c == ' ') {
        number = (1..number).rev().find(|n| !blank(out.line(*n))).unwrap_or(number);
    }
    let line = out.line(number);
    let text = line.trim();
    let column = line.chars().take_while(|c| c.is_whitespace()).count() as u32 + 1;
    let at = Span { line: number, column, width: text.chars().count() as u32 };
    (at, format!("`{}` has no colon", shown(text)), "write `key: value`, or `- value` in a list".to_owned())
}

fn blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}
