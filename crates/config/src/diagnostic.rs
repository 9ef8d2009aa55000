//! What is wrong with a text, and where: one [`Diagnostic`] per mistake, gathered by `Findings`.

use hmsops_model::limits::DIAGNOSTICS_MAX;

/// The longest part of a line that is shown beside a diagnostic, in characters.
const EXCERPT_CHARS_MAX: usize = 200;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The text is not used.
    Error,
    /// The text is used; a person should look.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake in a text, or one thing worth knowing about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters from there on are meant, at least 1, never past the line's end.
    pub width: u32,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The source line, or 200 characters of it when it is longer; control characters are replaced.
    pub excerpt: String,
    /// How many characters of the line were left off before `excerpt`.
    pub excerpt_from: u32,
}

/// A value, when nothing is wrong with its text, and everything there is to say about the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<T> {
    /// The value; there is one exactly when no diagnostic is an error.
    pub value: Option<T>,
    /// What is wrong, in the order of the text; warnings only when there is no error.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why one value is not what it should be, and which of its characters are to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TextError {
    /// What is wrong, in one sentence.
    pub message: String,
    /// What would be right.
    pub hint: String,
    /// The first character that is meant, from 0.
    pub offset: usize,
    /// How many characters are meant.
    pub width: usize,
}

/// A value was refused, and why has been said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused;

/// A place in the text: so many characters of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) width: u32,
}

impl Span {
    pub(crate) const START: Self = Self { line: 1, column: 1, width: 1 };
}

/// The diagnostics of one text while it is read.
pub(crate) struct Findings<'t> {
    lines: Vec<&'t str>,
    list: Vec<Diagnostic>,
    failed: bool,
    left_off: usize,
    /// Keys found where they are not known, and keys not found where they are needed, with their diagnostic.
    strange: Vec<(String, usize)>,
    missing: Vec<(String, usize)>,
    /// What no excerpt shows.
    hidden: Vec<Span>,
}

impl<'t> Findings<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            lines: lines(text),
            list: Vec::new(),
            failed: false,
            left_off: 0,
            strange: Vec::new(),
            missing: Vec::new(),
            hidden: Vec::new(),
        }
    }

    pub(crate) fn error(&mut self, at: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.failed = true;
        self.push(Severity::Error, at, &message.into(), &hint.into());
    }

    /// An error about a key that is not known where it stands.
    pub(crate) fn strange_key(&mut self, key: &str, at: Span, message: String, hint: String) {
        if self.list.len() < DIAGNOSTICS_MAX {
            self.strange.push((key.to_owned(), self.list.len()));
        }
        self.error(at, message, hint);
    }

    /// An error about a key that is needed; `at` is what it should stand in.
    pub(crate) fn missing_key(&mut self, key: &str, at: Span, message: String, hint: String) {
        if self.list.len() < DIAGNOSTICS_MAX {
            self.missing.push((key.to_owned(), self.list.len()));
        }
        self.error(at, message, hint);
    }

    pub(crate) fn warning(&mut self, at: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Warning, at, &message.into(), &hint.into());
    }

    /// No excerpt shows these characters: diagnostics are printed into logs, and secrets are not.
    pub(crate) fn hide(&mut self, at: Span) {
        self.hidden.push(at);
    }

    /// The line of that number, counted from 1; empty past the end.
    pub(crate) fn line(&self, number: u32) -> &'t str {
        (number as usize).checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or("")
    }

    pub(crate) fn last_line(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Ends the reading: the value stands only when nothing was wrong.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Checked<T> {
        if value.is_none() && !self.failed {
            self.error(Span::START, "this file cannot be used", "report this message: its reason was lost");
        }
        self.join_misplaced();
        if self.failed {
            // Advice about a file that works only hides what keeps this one from working.
            self.list.retain(|found| found.severity == Severity::Error);
        }
        self.list.sort_by_key(|found| (found.line, found.column));
        for found in &mut self.list {
            for at in &self.hidden {
                cover(found, *at);
            }
        }
        if self.left_off > 0 {
            let (line, column) = self.list.last().map_or((1, 1), |last| (last.line, last.column));
            let severity = if self.failed { Severity::Error } else { Severity::Warning };
            let message = format!("{} more are not shown", self.left_off);
            self.list.push(self.build(severity, Span { line, column, width: 1 }, &message, ""));
        }
        Checked { value: value.filter(|_| !self.failed), diagnostics: self.list }
    }

    /// A key strange in one place and missing in another stands in the wrong place: one mistake.
    fn join_misplaced(&mut self) {
        let mut joined: Vec<usize> = Vec::new();
        for (key, lack) in &self.missing {
            let Some((_, stranger)) = self.strange.iter().find(|(strange, _)| strange == key) else {
                continue;
            };
            let Some(line) = self.list.get(*lack).map(|found| found.line) else { continue };
            if let Some(found) = self.list.get_mut(*stranger) {
                found.hint = Some(format!(
                    "`{}` is missing in what starts in line {line}: is it indented wrongly?",
                    shown(key)
                ));
                joined.push(*lack);
            }
        }
        let mut index = 0;
        self.list.retain(|_| {
            index += 1;
            !joined.contains(&(index - 1))
        });
    }

    fn push(&mut self, severity: Severity, at: Span, message: &str, hint: &str) {
        if self.list.len() < DIAGNOSTICS_MAX {
            self.list.push(self.build(severity, at, message, hint));
        } else {
            self.left_off += 1;
        }
    }

    fn build(&self, severity: Severity, at: Span, message: &str, hint: &str) -> Diagnostic {
        // What is noticed behind the last line is shown at its end.
        let number = at.line.clamp(1, self.last_line());
        let line = self.line(number);
        let length = line.chars().count() as u32;
        let column = if at.line > number { length + 1 } else { at.column.clamp(1, length + 1) };
        let room = (length + 1).saturating_sub(column).max(1);
        let from = if length as usize <= EXCERPT_CHARS_MAX { 0 } else { column.saturating_sub(41) };
        Diagnostic {
            severity,
            line: number,
            column,
            width: at.width.clamp(1, room),
            // Names and words of the file stand in both.
            message: message.chars().map(visible).collect(),
            hint: Some(hint.chars().map(visible).collect()).filter(|hint: &String| !hint.is_empty()),
            excerpt: line.chars().skip(from as usize).take(EXCERPT_CHARS_MAX).map(visible).collect(),
            excerpt_from: from,
        }
    }
}

/// Puts `*` where a secret stands in an excerpt.
fn cover(found: &mut Diagnostic, at: Span) {
    if at.line != found.line {
        return;
    }
    let first = at.column.saturating_sub(1);
    let covered = first..first.saturating_add(at.width);
    let shown = |(c, column): (char, u32)| if covered.contains(&column) { '*' } else { c };
    found.excerpt = found.excerpt.chars().zip(found.excerpt_from..).map(shown).collect();
}

/// Lines as YAML counts them: ended by LF, CR LF or CR.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        let (line, tail) = rest.split_at(end);
        lines.push(line);
        rest = tail.strip_prefix("\r\n").or_else(|| tail.get(1..)).unwrap_or("");
    }
    lines.push(rest);
    lines
}

/// What a terminal would act on (or what would turn the reading direction) is shown as `�`.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A text from the file as messages quote it: at most 60 characters, nothing a terminal acts on.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(visible).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_every_break_of_yaml() {
        assert_eq!(lines("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
        assert_eq!(lines(""), [""]);
    }

    #[test]
    fn long_lines_and_control_characters_are_shown_safely() {
        let text = format!("{}\u{202e}x", "y".repeat(500));
        let mut out = Findings::new(&text);
        out.error(Span { line: 1, column: 502, width: 9 }, "m", "");
        let found = out.finish::<()>(None).diagnostics.remove(0);
        assert_eq!((found.column, found.width, found.excerpt_from), (502, 1, 461));
        assert!(found.excerpt.ends_with("y\u{fffd}x"), "{}", found.excerpt);
        assert_eq!(found.hint, None);
    }

    #[test]
    fn a_flood_of_mistakes_is_cut_and_says_so() {
        let mut out = Findings::new("a");
        for _ in 0..DIAGNOSTICS_MAX + 7 {
            out.error(Span::START, "wrong", "fix it");
        }
        let found = out.finish::<()>(None).diagnostics;
        assert_eq!(found.len(), DIAGNOSTICS_MAX + 1);
        assert_eq!(found.last().unwrap().message, "7 more are not shown");
    }
}
