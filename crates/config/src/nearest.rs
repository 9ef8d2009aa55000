//! The known word that a misspelt one was meant to be.

/// Words longer than this are nobody's slip of the finger, and would cost time to compare.
const WORD_CHARS_MAX: usize = 64;

/// The word of `known` nearest to `word`: the same but for case, `-` and `_`, or at most a third of its
/// letters away (at least one; an exchange of neighbours counts as one). The first of equals.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = letters(word);
    if word.is_empty() || word.len() > WORD_CHARS_MAX {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &letters(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> Vec<char> {
    let kept = word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase);
    kept.take(WORD_CHARS_MAX + 1).collect()
}

/// Optimal string alignment distance: insertions, deletions, substitutions and exchanges of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let at = |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best =
                (at(&last, j) + usize::from(from != to)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let crossed = i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from);
            if crossed {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_word_and_strangers_do_not() {
        let known = ["service", "image", "strategy", "healthChecks", "for", "of"];
        for (word, expected) in [
            ("servce", Some("service")),
            ("iamge", Some("image")),
            ("Strategy", Some("strategy")),
            ("health-checks", Some("healthChecks")),
            ("healthCheck", Some("healthChecks")),
            ("fro", Some("for")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"s".repeat(100_000), known), None);
    }
}
