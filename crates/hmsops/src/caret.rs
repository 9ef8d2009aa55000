//! Points at the place in a text that a message means.

use crate::failure::Failure;

/// A line longer than this is cut, so that the caret stands in the same line of a terminal.
const LINE_CHARS_MAX: usize = 160;

/// The first `LINE:COLUMN: ` of a message, both from 1.
pub(crate) fn place(message: &str) -> Option<(usize, usize)> {
    message.split_inclusive(": ").find_map(|part| {
        let words = part.strip_suffix(": ")?.rsplit(' ').next()?;
        let mut numbers = words.rsplitn(3, ':');
        let (column, line) = (numbers.next()?, numbers.next()?);
        let number = |text: &str| text.parse().ok().filter(|number: &usize| *number > 0);
        Some((number(line)?, number(column)?))
    })
}

/// The line of the text, and a caret under the column; both from 1.
pub(crate) fn under(text: &str, line: usize, column: usize) -> Option<String> {
    let shown = text.lines().nth(line.checked_sub(1)?)?;
    let before = column.checked_sub(1)?;
    if before > shown.chars().count() || before >= LINE_CHARS_MAX {
        return None;
    }
    let shown: String = shown.chars().take(LINE_CHARS_MAX).collect();
    Some(format!("  {}\n  {}^", crate::print::plain(&shown), " ".repeat(before)))
}

/// A failure about a text, with the place shown that its message or its mistakes mean.
pub(crate) fn show(failure: Failure, text: &str) -> Failure {
    let Failure::Said { exit, mut message, hint, mut mistakes } = failure else { return failure };
    if mistakes.is_empty()
        && let Some(picture) = place(&message).and_then(|(line, column)| under(text, line, column))
    {
        message = format!("{message}\n{picture}");
    }
    for mistake in &mut mistakes {
        if let Some(picture) = under(text, mistake.line as usize, mistake.column as usize) {
            mistake.message = format!("{}\n{picture}", mistake.message);
        }
    }
    Failure::Said { exit, message, hint, mistakes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_a_message() {
        for (message, found) in [
            ("invalid parameter \"query\": 1:5: parse error: unexpected", Some((1, 5))),
            ("2:17: parse error: unclosed", Some((2, 17))),
            ("expr:1:3: no such function", Some((1, 3))),
            ("took 1:5 minutes", None),
            ("0:5: wrong", None),
            ("no place: at all", None),
        ] {
            assert_eq!(place(message), found, "{message}");
        }
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        assert_eq!(under("sum(a\nrate(b)", 2, 6).as_deref(), Some("  rate(b)\n       ^"));
        assert_eq!(under("ä b", 1, 3).as_deref(), Some("  ä b\n    ^"));
        assert_eq!(under("a", 1, 2).as_deref(), Some("  a\n   ^"), "the end is a place, too");
        for (line, column) in [(0, 1), (1, 0), (2, 1), (1, 3)] {
            assert_eq!(under("a", line, column), None);
        }
    }

    #[test]
    fn a_failure_shows_its_place() {
        let failure = show(Failure::usage("1:3: parse error: unexpected `)`"), "a()");
        let Failure::Said { message, .. } = failure else { panic!("said") };
        assert_eq!(message, "1:3: parse error: unexpected `)`\n  a()\n    ^");
    }
}
