//! Tells code, comments and literals of a Rust file apart, well enough for rules about words.

/// One line of a Rust file, split by kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    /// What the compiler runs, literals left out.
    pub(crate) code: String,
    /// What stands in comments.
    pub(crate) comment: String,
    /// What stands in text literals.
    pub(crate) literal: String,
    /// Whether it belongs to a test: below a file's `#[cfg(test)]`.
    pub(crate) is_test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    /// With the depth of nesting.
    BlockComment(u32),
    Text,
    /// With the number of `#`.
    RawText(usize),
}

/// Splits a file. Tests are taken to stand at its end, as rustfmt's and our own order has it.
pub(crate) fn lines_of(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut inside = Inside::Code;
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let rest = &chars[at..];
        if c == '\n' {
            if inside == Inside::LineComment {
                inside = Inside::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("there is always a line");
        let (next, taken) = step(inside, rest, line);
        inside = next;
        at += taken;
    }
    let mut is_test = false;
    for line in &mut lines {
        is_test |= line.code.trim() == "#[cfg(test)]";
        line.is_test = is_test;
    }
    lines
}

/// Takes the next characters; says where that leaves us and how many were taken.
fn step(inside: Inside, rest: &[char], line: &mut Line) -> (Inside, usize) {
    let c = rest[0];
    let starts = |text: &str| text.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c));
    match inside {
        Inside::Code if starts("//") => (Inside::LineComment, 2),
        Inside::Code if starts("/*") => (Inside::BlockComment(1), 2),
        Inside::Code if c == '"' => (Inside::Text, 1),
        Inside::Code if c == 'r' && !ends_in_word(&line.code) => match raw_hashes(&rest[1..]) {
            Some(hashes) => (Inside::RawText(hashes), hashes + 2),
            None => plain(line, c),
        },
        Inside::Code if c == '\'' => match char_literal(rest) {
            Some(length) => (Inside::Code, length),
            None => plain(line, c),
        },
        Inside::Code => plain(line, c),
        Inside::BlockComment(depth) if starts("*/") => {
            (if depth == 1 { Inside::Code } else { Inside::BlockComment(depth - 1) }, 2)
        }
        Inside::BlockComment(depth) if starts("/*") => (Inside::BlockComment(depth + 1), 2),
        Inside::LineComment | Inside::BlockComment(_) => {
            line.comment.push(c);
            (inside, 1)
        }
        Inside::Text if c == '"' => (Inside::Code, 1),
        Inside::Text if c == '\\' && rest.get(1) != Some(&'\n') => {
            line.literal.extend(rest.get(1));
            (inside, 2)
        }
        Inside::RawText(hashes)
            if c == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes =>
        {
            (Inside::Code, hashes + 1)
        }
        Inside::Text | Inside::RawText(_) => {
            line.literal.push(c);
            (inside, 1)
        }
    }
}

fn plain(line: &mut Line, c: char) -> (Inside, usize) {
    line.code.push(c);
    (Inside::Code, 1)
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !code.ends_with('b')
}

/// The `#`s between an `r` and its `"`, if a raw text begins here.
fn raw_hashes(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    (rest.get(hashes) == Some(&'"')).then_some(hashes)
}

/// The length of a character literal, `None` for a lifetime.
fn char_literal(rest: &[char]) -> Option<usize> {
    match rest.get(1)? {
        '\\' => rest.iter().skip(3).position(|c| *c == '\'').map(|end| end + 4),
        _ => (rest.get(2) == Some(&'\'')).then_some(3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (String, String, String) {
        let lines = lines_of(text);
        let join = |part: fn(&Line) -> &String| lines.iter().map(part).cloned().collect::<Vec<_>>().join("|");
        (join(|line| &line.code), join(|line| &line.comment), join(|line| &line.literal))
    }

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        for (text, code, comment, literal) in [
            ("let a = \"x // y\"; // z", "let a = ; ", " z", "x // y"),
            ("a /* b /* c */ d */ e", "a  e", " b  c  d ", ""),
            ("r#\"a\"b\"#; br\"c\"", "; b", "", "a\"bc"),
            ("\"a\\\"b\" c", " c", "", "a\"b"),
            ("fn f<'a>(c: char) { c == '\"' || c == '\\'' }", "fn f<'a>(c: char) { c ==  || c ==  }", "", ""),
            ("\"a\nb\" c", "| c", "|", "a|b"),
            ("for x in \"r\"", "for x in ", "", "r"),
            ("\"open", "", "", "open"),
        ] {
            assert_eq!(split(text), (code.into(), comment.into(), literal.into()), "{text}");
        }
    }

    #[test]
    fn lines_below_cfg_test_are_tests() {
        let lines = lines_of("fn a() {}\n#[cfg(test)]\nmod tests {}\n");
        assert_eq!(lines.iter().map(|line| line.is_test).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(!lines_of("\"\n#[cfg(test)]\n\"").iter().any(|line| line.is_test));
    }
}
