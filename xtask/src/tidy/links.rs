//! Paths that documents name must exist: a guide that points nowhere is worse than none.

use super::{Finding, TextFile};

/// What a path of ours begins with.
const PLACES: [&str; 7] = ["crates/", "xtask/", "lab/", "docs/", ".ci/", "sdk/", "ui/"];

/// What is wrong with the paths one document names; `exists` answers for a path from the checkout's root.
/// Decisions under `docs/adr` stay as they were written and are left out.
pub(crate) fn check(file: &TextFile, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    if file.extension() != "md" || file.path.starts_with("docs/adr") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for path in paths_in(line).filter(|path| !exists(path)) {
            let message = format!("`{path}` does not exist; name the path as it is now");
            findings.push(file.finding(index + 1, message));
        }
    }
    findings
}

/// Paths between backticks or in a Markdown link; such with a placeholder or a pattern are none.
fn paths_in(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    quoted
        .chain(linked)
        .filter(|path| PLACES.iter().any(|place| path.starts_with(place)))
        .filter(|path| {
            !path.contains(['<', '*', '…', '{', ' ', '$'])
                && !path.contains("NAME")
                && !path.contains(".state")
        })
        .map(|path| path.split(':').next().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let exists = |path: &str| path == "crates/act/src/lib.rs";
        check(&TextFile { path: path.into(), text: text.into() }, &exists)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_path_that_is_not_there_is_found() {
        assert_eq!(
            found("docs/howto/add-a-driver.md", "\nSee `crates/act/src/gone.rs`."),
            [
                "docs/howto/add-a-driver.md:2: `crates/act/src/gone.rs` does not exist; name the path as it is now"
            ]
        );
        assert_eq!(found("README.md", "[how](docs/howto/gone.md#top)").len(), 1);
    }

    #[test]
    fn what_exists_and_what_is_no_path_pass() {
        for text in [
            "`crates/act/src/lib.rs:12`",
            "`crates/act/src/driver/<name>.rs`",
            "`crates/*`",
            "`serve`, `/srv/x`, `dev/cd/canary.yaml`",
            "[site](https://example.org/docs/)",
        ] {
            assert_eq!(found("README.md", text), [""; 0], "{text}");
        }
        assert_eq!(found("docs/adr/0001-x.md", "`crates/gone`"), [""; 0]);
        assert_eq!(found("a.rs", "`crates/gone`"), [""; 0]);
    }
}
