//! Says in a user's words what the YAML scanner stumbled over, and where the cause stands (the scanner
//! often notices it later).

use hmsops_model::limits::CONFIG_DEPTH_MAX;
use saphyr_parser::ScanError;

use crate::diagnostic::{Findings, Span, shown};

/// Says why a text is not valid YAML. `open`: the bracket that was still open; `block`: where the innermost
/// list or map starts.
pub(crate) fn report(error: &ScanError, open: Option<Span>, block: Option<Span>, out: &mut Findings) {
    let marker = error.marker();
    let at = Span { line: marker.line() as u32, column: marker.col() as u32 + 1, width: 1 };
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
    let (at, message, hint) = explain(error.info(), at, block, out);
    out.error(at, message, hint);
}

fn explain(info: &str, at: Span, block: Option<Span>, out: &Findings) -> (Span, String, String) {
    let line = out.line(at.line);
    let indented = Span { column: (line.chars().take_while(|c| *c == ' ').count() + 1) as u32, ..at };
    if info.contains("mapping values are not allowed") {
        let before: String = line.chars().take(at.column as usize - 1).collect();
        if before.contains(": ") {
            let hint = "quote the value if the colon belongs to it: `key: \"a: b\"`";
            return (at, "a second `: ` stands in this line".to_owned(), hint.to_owned());
        }
        if let Some(number) = line_above(at.line, out).filter(|n| colonless(out.line(*n))) {
            return no_colon(number, out);
        }
        let key = before.trim().trim_start_matches("- ").to_owned();
        let at = Span { width: (at.column - indented.column).max(1), ..indented };
        let message = format!("`{}` does not belong under the line above", shown(&key));
        return (at, message, "is a line missing above it, or is it indented too far?".to_owned());
    }
    if info.contains("did not find expected key") || info.contains("did not find expected '-' indicator") {
        let message = "this line does not belong to the ones above".to_owned();
        let hint = match block.filter(|block| block.line < at.line) {
            Some(block) => {
                format!("is a line missing above it or above line {}, or is it indented wrongly?", block.line)
            }
            None => "is it indented wrongly, or is a value followed by something else?".to_owned(),
        };
        return (indented, message, hint);
    }
    if info.contains("document start") {
        return outside(indented, out);
    }
    if info.contains("simple key") {
        return keyless(at, out);
    }
    if info.contains("recursion limit") {
        let message = format!("lists and maps are nested deeper than {CONFIG_DEPTH_MAX}");
        return (at, message, "no file of ours goes deeper than eight".to_owned());
    }
    if info.contains("unknown anchor") {
        let message = "anchors and aliases (`&name`, `*name`) are not read here".to_owned();
        return (at, message, "write the value out; quote it if it starts with `*`".to_owned());
    }
    if info.contains("tab") {
        let hint = "indent with spaces; YAML allows no tabs there".to_owned();
        return (at, "a tab stands where only spaces may".to_owned(), hint);
    }
    if info.contains("trailing content") {
        let message = "something stands behind a quoted text".to_owned();
        return (at, message, "quote all of the value, or begin a comment with ` #`".to_owned());
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
    let starts_line = out.line(at.line).chars().take(at.column as usize - 1).all(|c| c == ' ');
    let above = line_above(at.line, out).filter(|_| starts_line);
    no_colon(above.unwrap_or(at.line), out)
}

fn no_colon(number: u32, out: &Findings) -> (Span, String, String) {
    let text = out.line(number).trim();
    let message = format!("`{}` has no colon", shown(text));
    (whole(number, out), message, "write `key: value`, or `- value` in a list".to_owned())
}

/// Something stands outside of the document, mostly because its first line is indented and a later one is not.
fn outside(at: Span, out: &Findings) -> (Span, String, String) {
    let first = (1..=out.last_line()).find(|number| !blank(out.line(*number))).unwrap_or(at.line);
    let line = out.line(first);
    if line.starts_with('\t') {
        let hint = "indent with spaces; YAML allows no tabs there".to_owned();
        return (
            Span { line: first, column: 1, width: 1 },
            "a tab stands where only spaces may".to_owned(),
            hint,
        );
    }
    if line.starts_with(' ') && first < at.line {
        let message = format!("the first line is indented, but line {} is not", at.line);
        return (whole(first, out), message, "is a line missing above it?".to_owned());
    }
    let message = "this line does not belong to the ones above".to_owned();
    (at, message, "one file holds one map: `key: value` in each line".to_owned())
}

/// All of a line but its indentation.
fn whole(number: u32, out: &Findings) -> Span {
    let line = out.line(number);
    let column = line.chars().take_while(|c| c.is_whitespace()).count() as u32 + 1;
    Span { line: number, column, width: line.trim().chars().count() as u32 }
}

fn line_above(number: u32, out: &Findings) -> Option<u32> {
    (1..number).rev().find(|number| !blank(out.line(*number)))
}

fn colonless(line: &str) -> bool {
    let text = line.split(" #").next().unwrap_or("").trim();
    !text.contains(':') && !text.starts_with('-') && !text.ends_with(['"', '\'', ']', '}'])
}

fn blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}
