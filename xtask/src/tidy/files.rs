//! Names and lengths of files.

use super::source::lines_of;
use super::{Finding, TextFile};

/// Lines of code in a file, its tests left out: what one can keep in mind.
const CODE_LINES_MAX: usize = 500;
/// Lines of code with the tests.
const ALL_LINES_MAX: usize = 700;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 13] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "manager",
    "handler",
    "handlers",
    "processor",
    "base",
    "impl",
    "stuff",
];

/// What is wrong with one file's name or length.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stem = file.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let is_code = matches!(file.extension(), "rs" | "py" | "ts" | "tsx" | "sh");
    let is_in_http = file.path.components().any(|part| part.as_os_str() == "http");
    if is_code && EMPTY_NAMES.contains(&stem) && !(is_in_http && stem.starts_with("handler")) {
        findings.push(
            file.finding(1, format!("`{stem}` says nothing; name the file after the noun it is about")),
        );
    }
    if file.extension() == "rs" {
        findings.extend(check_length(file));
    }
    findings
}

fn check_length(file: &TextFile) -> Option<Finding> {
    let is_test_file = is_test_file(file);
    let lines = lines_of(&file.text);
    let code = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !(line.code.trim().is_empty() && line.literal.is_empty()));
    let (mut own, mut all) = (0, 0);
    for (index, line) in code {
        all += 1;
        own += usize::from(!line.is_test && !is_test_file);
        if own > CODE_LINES_MAX {
            return Some(file.finding(
                index + 1,
                format!("more than {CODE_LINES_MAX} lines of code; split the file by noun"),
            ));
        }
        if all > ALL_LINES_MAX {
            let message = format!(
                "more than {ALL_LINES_MAX} lines with tests; move the tests to a `tests.rs` of their own, or split"
            );
            return Some(file.finding(index + 1, message));
        }
    }
    None
}

/// Whether all of a file is test code.
pub(crate) fn is_test_file(file: &TextFile) -> bool {
    let is_named_so = file
        .path
        .file_stem()
        .is_some_and(|stem| stem == "tests" || stem.to_string_lossy().starts_with("test_"));
    is_named_so || file.path.components().any(|part| part.as_os_str() == "tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: String) -> Vec<String> {
        check(&TextFile { path: path.into(), text }).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn empty_names_are_found() {
        assert!(
            messages("crates/a/src/utils.rs", String::new())[0]
                .starts_with("crates/a/src/utils.rs:1: `utils`")
        );
        assert!(messages("lab/portal/helpers.py", String::new()).len() == 1);
        for path in ["crates/a/src/split.rs", "crates/server/src/http/handler.rs", "docs/common.md"] {
            assert_eq!(messages(path, String::new()), [""; 0], "{path}");
        }
    }

    #[test]
    fn long_files_are_found_and_comments_are_free() {
        let long = "fn f() {}\n".repeat(501);
        assert_eq!(
            messages("a.rs", long.clone()),
            ["a.rs:501: more than 500 lines of code; split the file by noun"]
        );
        assert_eq!(messages("a.rs", "// why\n\n".repeat(800)), [""; 0]);
        let tests = "fn f() {}\n".repeat(400) + "#[cfg(test)]\n" + &"fn t() {}\n".repeat(299);
        assert_eq!(messages("a.rs", tests.clone()), [""; 0]);
        assert!(messages("a.rs", tests + "fn t() {}\n")[0].starts_with("a.rs:701: more than 700"));
        assert_eq!(messages("crates/a/tests/it.rs", long), [""; 0]);
    }
}
