//! Words that must not stay: leftovers, sleeping tests, paths of one machine.

use super::files::is_test_file;
use super::source::lines_of;
use super::{Finding, TextFile};

/// Calls that belong to work in progress.
const LEFTOVER_CALLS: [&str; 3] = ["todo!", "dbg!", "unimplemented!"];
/// Folders that exist on somebody's machine.
const MACHINE_FOLDERS: [&str; 4] = ["home", "root", "tmp", "Users"];
/// Files that are text for people or shells, searched as a whole.
const PLAIN: [&str; 9] = ["md", "py", "sh", "yaml", "yml", "toml", "json", "html", ""];

/// What is wrong with the words of one file.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    match file.extension() {
        "rs" => check_rust(file),
        extension if PLAIN.contains(&extension) => check_plain(file),
        _ => Vec::new(),
    }
}

fn check_rust(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_test_file = is_test_file(file);
    for (index, line) in lines_of(&file.text).iter().enumerate() {
        let is_test = is_test_file || line.is_test;
        let mut report = |message: String| findings.push(file.finding(index + 1, message));
        for call in LEFTOVER_CALLS {
            if has_word(&line.code, call) {
                report(format!("`{call}` is left over; finish it or take it out"));
            }
        }
        if let Some(marker) = leftover_marker(&line.comment) {
            report(marker);
        }
        if is_test && has_word(&line.code, "sleep(") {
            report("a test sleeps; wait for the event itself, with a deadline".into());
        }
        if !is_test
            && let Some(folder) = machine_folder(&line.literal).or_else(|| machine_folder(&line.comment))
        {
            report(format!("`/{folder}/` exists on one machine; take the path from the caller"));
        }
    }
    findings
}

fn check_plain(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut report = |message: String| findings.push(file.finding(index + 1, message));
        if file.extension() == "py" && is_test_file(file) && has_word(line, "sleep(") {
            report("a test sleeps; wait for the event itself, with a deadline".into());
        }
        if let Some(marker) = leftover_marker(line) {
            report(marker);
        }
        if let Some(folder) = machine_folder(line) {
            report(format!("`/{folder}/` exists on one machine; take the path from the caller"));
        }
    }
    findings
}

/// What to do about a marker of unfinished work, if there is one. One kind may stay: with an issue's number.
fn leftover_marker(text: &str) -> Option<String> {
    let unfinished = [["FIX", "ME"].concat(), ["XX", "X"].concat(), ["HA", "CK"].concat()];
    if let Some(marker) = unfinished.iter().find(|marker| has_word(text, marker)) {
        return Some(format!("`{marker}` is left over; finish it or file an issue"));
    }
    let promise = ["TO", "DO"].concat();
    let after = text.split(promise.as_str()).nth(1).filter(|_| has_word(text, &promise))?;
    let has_number =
        after.strip_prefix("(#").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (!has_number).then(|| format!("`{promise}` without an issue; write `{promise}(#N)` or finish it"))
}

/// A folder of one machine that a text names by its absolute path.
fn machine_folder(text: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.into_iter().find(|folder| {
        let path = format!("/{folder}/");
        text.match_indices(&path).any(|(at, _)| {
            // `a/tmp/b` and `…/home/` are relative, `$HOME/tmp/` is somebody's own.
            !text[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-}/>)…".contains(c))
        })
    })
}

/// Whether `word` stands in `text` with no letter or digit before it, and, if it ends in one, none after it.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        let is_whole = !(word.ends_with(is_part) && after.starts_with(is_part));
        is_whole && !before.ends_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&TextFile { path: path.into(), text: text.into() })
            .into_iter()
            .map(|finding| (finding.line, finding.message.split(';').next().unwrap_or_default().to_owned()))
            .collect()
    }

    #[test]
    fn leftovers_are_found_in_code_and_comments() {
        let marker = ["FIX", "ME"].concat();
        let promise = ["TO", "DO"].concat();
        assert_eq!(found("a.rs", "fn f() {\n    todo!()\n}"), [(2, "`todo!` is left over".into())]);
        assert_eq!(found("a.rs", &format!("// {marker} later")), [(1, format!("`{marker}` is left over"))]);
        assert_eq!(
            found("a.md", &format!("\n{promise}: text")),
            [(2, format!("`{promise}` without an issue"))]
        );
        for fine in [
            format!("// {promise}(#12): text"),
            "let s = \"todo!\"; my_todo!()".into(),
            "// a prefixme".into(),
        ] {
            assert_eq!(found("a.rs", &fine), [], "{fine}");
        }
    }

    #[test]
    fn sleeping_tests_are_found_and_other_sleeps_are_clippys() {
        let asleep = "std::thread::sleep(d);";
        assert_eq!(found("a.rs", asleep), []);
        assert_eq!(found("crates/a/tests/it.rs", asleep), [(1, "a test sleeps".into())]);
        assert_eq!(
            found("a.rs", &format!("#[cfg(test)]\nmod tests {{ {asleep} }}")),
            [(2, "a test sleeps".into())]
        );
        assert_eq!(found("lab/test_a.py", "time.sleep(1)"), [(1, "a test sleeps".into())]);
        assert_eq!(found("lab/a.py", "time.sleep(1)"), []);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let path = ["/ho", "me/someone"].concat();
        let message = "`/home/` exists on one machine".to_owned();
        assert_eq!(found("a.rs", &format!("let p = \"{path}\";")), [(1, message.clone())]);
        assert_eq!(found("a.rs", &format!("/// See {path}.")), [(1, message.clone())]);
        assert_eq!(found("a.sh", &format!("cd {path}")), [(1, message)]);
        for fine in ["let p = \"a/home/b\";", "let ratio = a /home/ b;"] {
            assert_eq!(found("a.rs", fine), [], "{fine}");
        }
        assert_eq!(found("a.rs", &format!("#[cfg(test)]\nconst P: &str = \"{path}\";")), []);
    }
}
