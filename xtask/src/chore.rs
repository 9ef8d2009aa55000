//! What a chore is, and how it is found by name.

use crate::failure::Failure;

/// One chore of `cargo xtask`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chore {
    /// What it is called by.
    pub(crate) name: &'static str,
    /// One line for the overview.
    pub(crate) summary: &'static str,
    /// The whole help text, with an example.
    pub(crate) help: &'static str,
    /// Runs it with the arguments after its name.
    pub(crate) run: fn(&[String]) -> Result<(), Failure>,
}

/// The list that `cargo xtask help` prints.
pub(crate) fn overview(chores: &[Chore]) -> String {
    let lines: Vec<String> =
        chores.iter().map(|chore| format!("  {:<12}{}", chore.name, chore.summary)).collect();
    format!(
        "usage: cargo xtask CHORE [OPTION…]\n\n{}\n\nMore about one: cargo xtask help CHORE\n",
        lines.join("\n")
    )
}

/// The chore of that name; a usage failure that names the nearest one when there is none.
pub(crate) fn named<'a>(chores: &'a [Chore], name: &str) -> Result<&'a Chore, Failure> {
    chores.iter().find(|chore| chore.name == name).ok_or_else(|| {
        let failure = Failure::usage(format!("unknown chore `{name}`"));
        match nearest(name, chores.iter().map(|chore| chore.name)) {
            Some(near) => failure.hint(format!("did you mean `cargo xtask {near}`?")),
            None => failure.hint("`cargo xtask help` lists all of them"),
        }
    })
}

/// The candidate that is fewest keystrokes away, if it is near at all.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near_enough = (word.chars().count() / 2).clamp(1, 3);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(keystrokes, _)| *keystrokes <= near_enough)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: insertions, deletions and replacements of characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_chore_names_the_nearest() {
        let failure = named(crate::CHORES, "tst").unwrap_err();
        assert_eq!(failure.code, 2);
        assert_eq!(failure.to_string(), "error: unknown chore `tst`\nhint: did you mean `cargo xtask test`?");
        assert!(named(crate::CHORES, "frobnicate").unwrap_err().to_string().contains("cargo xtask help"));
    }

    #[test]
    fn every_chore_explains_itself_with_an_example() {
        for chore in crate::CHORES {
            assert!(chore.help.contains("example"), "`{}` has no example", chore.name);
            assert!(chore.help.starts_with("usage: cargo xtask "), "`{}` has no usage", chore.name);
        }
    }

    #[test]
    fn distance_counts_keystrokes() {
        for (a, b, keystrokes) in
            [("", "", 0), ("lab", "lab", 0), ("lb", "lab", 1), ("test", "tidy", 3), ("", "sim", 3)]
        {
            assert_eq!(distance(a, b), keystrokes, "{a} {b}");
        }
    }
}
