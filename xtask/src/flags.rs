//! Options of a chore: `--name VALUE`, `--name=VALUE` and `--name` alone.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::chore;
use crate::failure::Failure;

/// What was typed, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: BTreeMap<String, String>,
    /// What stands alone, in order.
    pub(crate) words: Vec<String>,
}

impl Flags {
    /// Reads `args`. `switches` take no value, `options` take one; anything else that starts with `--` is a
    /// usage failure that names the nearest known one. At most `words_max` words may stand alone.
    pub(crate) fn read(
        args: &[String],
        switches: &[&str],
        options: &[&str],
        words_max: usize,
    ) -> Result<Self, Failure> {
        let mut flags = Self::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let value = if !name.starts_with("--") {
                flags.words.push(arg.clone());
                continue;
            } else if switches.contains(&name) {
                if value.is_some() {
                    return Err(Failure::usage(format!("`{name}` takes no value")));
                }
                String::new()
            } else if options.contains(&name) {
                value
                    .or_else(|| rest.next().cloned())
                    .ok_or_else(|| Failure::usage(format!("`{name}` needs a value")))?
            } else {
                return Err(unknown(name, switches, options));
            };
            if flags.values.insert(name.to_owned(), value).is_some() {
                return Err(Failure::usage(format!("`{name}` is given twice")));
            }
        }
        match flags.words.get(words_max) {
            Some(word) => Err(Failure::usage(format!("unexpected argument `{word}`"))),
            None => Ok(flags),
        }
    }

    /// Whether it was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Its text, if it was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Its number, or `default`; a usage failure unless it lies in `range`.
    pub(crate) fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        default: T,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, Failure> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            Failure::usage(format!(
                "`{name} {text}` is not a number from {} to {}",
                range.start(),
                range.end()
            ))
        })
    }
}

fn unknown(name: &str, switches: &[&str], options: &[&str]) -> Failure {
    let failure = Failure::usage(format!("unknown option `{name}`"));
    match chore::nearest(name, switches.iter().chain(options).copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Flags, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Flags::read(&args, &["--check"], &["--runs", "--fault"], 1).map_err(|failure| failure.to_string())
    }

    #[test]
    fn options_are_read_in_both_forms() {
        let flags = read("down --check --runs 3 --fault=dead").unwrap();
        assert_eq!(flags.words, ["down"]);
        assert!(flags.has("--check"));
        assert_eq!(flags.number("--runs", 1_u32, 1..=100), Ok(3));
        assert_eq!(flags.text("--fault"), Some("dead"));
    }

    #[test]
    fn each_mistake_is_named() {
        for (line, message) in [
            ("--chek", "error: unknown option `--chek`\nhint: did you mean `--check`?"),
            ("--runs", "error: `--runs` needs a value"),
            ("--check=yes", "error: `--check` takes no value"),
            ("--runs 1 --runs 2", "error: `--runs` is given twice"),
            ("up down", "error: unexpected argument `down`"),
        ] {
            assert_eq!(read(line).unwrap_err(), message);
        }
        let flags = read("--runs many").unwrap();
        let failure = flags.number("--runs", 1_u32, 1..=100).unwrap_err();
        assert_eq!(failure.to_string(), "error: `--runs many` is not a number from 1 to 100");
    }
}
