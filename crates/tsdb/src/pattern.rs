//! Matchers ready to be run: expressions as Prometheus runs them (RE2 syntax, over the whole value, a dot matches
//! every character), with short cuts for what most of them are.

use std::collections::BTreeSet;

use hmsops_model::labels::{MatchOp, Matcher};
use hmsops_model::series::SourceError;
use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::Extractor;

/// The longest expression, in bytes; that of the query language.
const LENGTH_MAX: usize = 64 * 1024;

/// The largest compiled form, in bytes.
const SIZE_MAX: usize = 4 << 20;

/// Groups within groups.
const NEST_MAX: u32 = 200;

/// What a value must be.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// One of these.
    Words(BTreeSet<String>),
    /// Begins so; the rest has at least so many characters (0 or 1).
    Prefix(String, usize),
    /// Begins as one of these, sorted and none a beginning of another, and is what the expression says.
    Prefixes(Vec<String>, Regex),
    /// Anything else.
    Regex(Regex),
}

/// One condition on one label.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) pattern: Pattern,
    /// Whether the value must not match.
    pub(crate) is_negative: bool,
}

impl Test {
    pub(crate) fn compile(matcher: &Matcher) -> Result<Self, SourceError> {
        let word = || Pattern::Words(BTreeSet::from([matcher.value.clone()]));
        let (pattern, is_negative) = match matcher.op {
            MatchOp::Eq => (word(), false),
            MatchOp::Ne => (word(), true),
            MatchOp::Re => (Pattern::compile(&matcher.value)?, false),
            MatchOp::NotRe => (Pattern::compile(&matcher.value)?, true),
        };
        Ok(Self { name: matcher.name.clone(), pattern, is_negative })
    }

    /// Whether a value fulfils the condition; a missing label has the empty one.
    pub(crate) fn holds(&self, value: &str) -> bool {
        self.pattern.is_match(value) != self.is_negative
    }
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, SourceError> {
        let refuse =
            |why: String| SourceError::Failed(format!("cannot compile the expression `{text:.80}`: {why}"));
        if text.len() > LENGTH_MAX {
            return Err(refuse(format!("it is longer than {LENGTH_MAX} bytes")));
        }
        let is_literal = |text: &str| !text.contains(|c: char| r"\.+*?()|[]{}^$".contains(c));
        if text.split('|').all(is_literal) {
            return Ok(Self::Words(text.split('|').map(str::to_owned).collect()));
        }
        for (ending, rest_min) in [(".*", 0), (".+", 1)] {
            if let Some(prefix) = text.strip_suffix(ending).filter(|prefix| is_literal(prefix)) {
                return Ok(Self::Prefix(prefix.to_owned(), rest_min));
            }
        }
        let build = |source: &str| {
            RegexBuilder::new(source)
                .size_limit(SIZE_MAX)
                .dfa_size_limit(SIZE_MAX)
                .nest_limit(NEST_MAX)
                .build()
        };
        // Alone first, so that an unbalanced parenthesis cannot close the group around it.
        let built = build(text).and_then(|_| build(&format!("^(?s:{text})$")));
        built.map(|regex| Self::narrowed(text, regex)).map_err(|error| {
            let text = error.to_string();
            refuse(text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
        })
    }

    /// As few words or beginnings as the expression leaves.
    fn narrowed(text: &str, regex: Regex) -> Self {
        let parser = ParserBuilder::new().dot_matches_new_line(true).nest_limit(NEST_MAX).build().parse(text);
        // What looks at its neighbourhood is no mere text.
        let Some(form) = parser.ok().filter(|form| form.properties().look_set().is_empty()) else {
            return Self::Regex(regex);
        };
        let found = Extractor::new().extract(&form);
        let Some(literals) = found.literals() else { return Self::Regex(regex) };
        let words: Option<BTreeSet<String>> =
            literals.iter().map(|literal| String::from_utf8(literal.as_bytes().to_vec()).ok()).collect();
        match words {
            Some(words) if found.is_exact() => Self::Words(words),
            Some(words) if !words.is_empty() && !words.contains("") => {
                let mut prefixes: Vec<String> = Vec::new();
                for word in words {
                    // Sorted: what it begins with is the one before, if any.
                    if prefixes.last().is_none_or(|last| !word.starts_with(last.as_str())) {
                        prefixes.push(word);
                    }
                }
                Self::Prefixes(prefixes, regex)
            }
            _ => Self::Regex(regex),
        }
    }

    pub(crate) fn is_match(&self, value: &str) -> bool {
        match self {
            Self::Words(words) => words.contains(value),
            Self::Prefix(prefix, rest_min) => {
                value.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.len() >= *rest_min)
            }
            Self::Prefixes(_, regex) | Self::Regex(regex) => regex.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_cuts_answer_as_the_expression_would() {
        let texts = ["", "a", "a|b", "a|", ".*", ".+", "ab.*", "ab.+", "a.b", "(a|b)c?", "a\\.b", "é.*"];
        let more = [
            "(?i)AB?",
            "a[bc]",
            "(a|ab).*",
            "(ab|a)c?.?",
            "^a$",
            "a^b",
            "(?:a|b)(?:b|c)?",
            "a{2}",
            "[^a]",
            "a.*c",
            "\\bab",
            "é|a.+",
            "(a|é)b*",
        ];
        for text in texts.into_iter().chain(more) {
            let pattern = Pattern::compile(text).unwrap();
            let regex = Regex::new(&format!("^(?s:{text})$")).unwrap();
            for value in [
                "", "a", "b", "ab", "ab\n", "abc", "a.b", "ac", "é", "éa", "A", "AB", "aa", "bc", "éb",
                "abb", "a\nc",
            ] {
                assert_eq!(pattern.is_match(value), regex.is_match(value), "{text} {value:?}");
            }
        }
        assert!(matches!(Pattern::compile("a|b"), Ok(Pattern::Words(_))));
        assert!(matches!(Pattern::compile("ab.+"), Ok(Pattern::Prefix(..))));
        let words = |text: &str| match Pattern::compile(text) {
            Ok(Pattern::Words(words)) => words.into_iter().collect::<Vec<_>>().join(" "),
            _ => "no words".to_owned(),
        };
        assert_eq!(words("host-(1|2|3)"), "host-1 host-2 host-3");
        assert_eq!(words("5(0[0-3])"), "500 501 502 503");
        assert_eq!(words("(?i)on"), "ON On oN on");
        assert_eq!((words("a^b").as_str(), words("a+").as_str()), ("no words", "no words"));
        let prefixes = |text: &str| match Pattern::compile(text) {
            Ok(Pattern::Prefixes(prefixes, _)) => prefixes.join(" "),
            _ => "none".to_owned(),
        };
        assert_eq!(prefixes("(api|app)-.*x"), "api- app-");
        assert_eq!((prefixes("(a|ab).*c").as_str(), prefixes(".*a").as_str()), ("a", "none"));
    }

    #[test]
    fn bombs_are_refused() {
        for text in ["(a{1000}){1000}", "(", ")(", "a**b(?=x)", &"a".repeat(LENGTH_MAX + 1)] {
            assert!(Pattern::compile(text).is_err(), "{text:.20}");
        }
    }
}
