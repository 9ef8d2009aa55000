//! Regular expressions as Prometheus runs them: RE2 syntax, over the whole value, a dot matches every character.

use regex::{Regex, RegexBuilder};

/// The longest expression, in bytes.
const LENGTH_MAX: usize = 64 * 1024;

/// The largest compiled form, in bytes.
const SIZE_MAX: usize = 4 << 20;

/// An expression that does not compile, or is too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct PatternError(String);

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Compiles.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > LENGTH_MAX {
            return Err(PatternError(format!("longer than {LENGTH_MAX} bytes")));
        }
        let build = |source: &str| {
            RegexBuilder::new(source).size_limit(SIZE_MAX).dfa_size_limit(SIZE_MAX).nest_limit(200).build()
        };
        // Alone first, so that an unbalanced parenthesis cannot close the group around it.
        let checked = build(text).and_then(|_| build(&format!("^(?s:{text})$")));
        checked.map(|regex| Self { regex }).map_err(|error| {
            let line = error.to_string();
            PatternError(line.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
        })
    }

    /// Whether the whole text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// `template` with `$1`, `${1}` and `$name` taken from the match; `None` when the text does not match.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let captures = self.regex.captures(text)?;
        let mut expanded = String::new();
        captures.expand(template, &mut expanded);
        Some(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_must_match_and_a_dot_is_any_character() {
        let pattern = Pattern::new("a.b|c").unwrap();
        assert!(pattern.is_match("a\nb") && pattern.is_match("c"));
        assert!(!pattern.is_match("xc") && !pattern.is_match("cx"));
    }

    #[test]
    fn bombs_are_refused() {
        for text in ["(a{1000}){1000}", "(", ")(", "a**b(?=x)"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
        assert!(Pattern::new(&"a".repeat(LENGTH_MAX + 1)).is_err());
    }
}
