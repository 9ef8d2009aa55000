//! Patterns for file names, as Go's `filepath.Match` has them: `*`, `?`, `[a-z]`, `\x`; none of them is a `/`.

use std::io;
use std::path::{Path, PathBuf};

/// Files of one pattern.
const FILES_MAX: usize = 10_000;

/// The files and folders that a pattern finds below a folder, by name.
pub(crate) fn find(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let start = if pattern.starts_with('/') { PathBuf::from("/") } else { folder.to_path_buf() };
    let mut found = vec![start];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in found {
            if !part.contains(['*', '?', '[', '\\']) {
                let path = folder.join(part);
                if path.symlink_metadata().is_ok() {
                    next.push(path);
                }
                continue;
            }
            check(part)?;
            // As with Go, what cannot be listed holds nothing.
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let mut names: Vec<String> = names.filter(|name| is_match(part, name)).collect();
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
            if next.len() > FILES_MAX {
                return Err(io::Error::other(format!("more than {FILES_MAX} files")));
            }
        }
        found = next;
    }
    Ok(found)
}

/// Says what is wrong with a pattern.
fn check(pattern: &str) -> io::Result<()> {
    let mut rest: Vec<char> = pattern.chars().collect();
    while !rest.is_empty() {
        let taken = match rest[0] {
            '[' => class(&rest, '\0').map(|(_, taken)| taken),
            '\\' => (rest.len() > 1).then_some(2),
            _ => Some(1),
        };
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, "syntax error in pattern");
        rest.drain(..taken.ok_or_else(bad)?);
    }
    Ok(())
}

/// Whether a class holds a character, and how many characters it takes; `None`: it does not end.
fn class(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let mut at = 1;
    let is_negated = pattern.get(at) == Some(&'^');
    at += usize::from(is_negated);
    let mut is_in = false;
    let first = at;
    loop {
        let next = |at: &mut usize| {
            *at += usize::from(pattern.get(*at) == Some(&'\\'));
            let c = pattern.get(*at).copied();
            *at += 1;
            c
        };
        if at > first && pattern.get(at) == Some(&']') {
            return Some((is_in != is_negated, at + 1));
        }
        let low = next(&mut at)?;
        let mut high = low;
        if pattern.get(at) == Some(&'-') {
            at += 1;
            high = next(&mut at)?;
        }
        is_in |= (low..=high).contains(&c);
    }
}

/// Whether a pattern is all of a name. Remembers only the last `*`, so that no pattern takes more than length times
/// length.
fn is_match(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(&pattern[p..], name[n]).filter(|(is_in, _)| *is_in).map(|(_, taken)| taken),
            Some('\\') => pattern.get(p + 1).filter(|c| **c == name[n]).map(|_| 2),
            Some(c) if *c == name[n] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(step), _) => (p, n) = (p + step, n + 1),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_go_matches_them() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a*b*c", "a1b2b3c", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
        for bad in ["[a", "a\\", "[a-"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let slow = "*a".repeat(50);
        assert!(!is_match(&slow, &"a".repeat(49)));
    }
}
