//! `cargo xtask tidy`: the rules of the house that a compiler does not know.

mod edges;
mod files;
mod links;
mod source;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::checkout;
use crate::chore::Chore;
use crate::failure::{Failure, Trying as _};

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "tidy",
    summary: "checks the rules of the house that a compiler does not know",
    help: "\
usage: cargo xtask tidy

Checks which crate may use which, what the pure crates may depend on, lengths and names of files, leftovers,
sleeping tests, paths of one machine, and that paths named in documents exist. Prints each finding as
FILE:LINE and what to do about it; exits 1 when there is one.

example: cargo xtask tidy
",
    run,
};

/// Folders that are ours; everything else at the root is checked by name only.
const FOLDERS: [&str; 6] = ["crates", "xtask", "lab", "docs", ".ci", "sdk"];
/// What a build or a lab leaves behind.
const SKIPPED: [&str; 6] = ["target", ".state", "__pycache__", ".git", "node_modules", "dist"];

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// From the root of the checkout.
    file: PathBuf,
    /// From 1.
    line: usize,
    /// What is wrong and what to do about it.
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// A text file of the checkout.
#[derive(Debug)]
struct TextFile {
    /// From the root of the checkout.
    path: PathBuf,
    /// All of it.
    text: String,
}

impl TextFile {
    fn extension(&self) -> &str {
        self.path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }

    fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { file: self.path.clone(), line, message: message.into() }
    }
}

fn run(args: &[String]) -> Result<(), Failure> {
    crate::flags::Flags::read(args, &[], &[], 0)?;
    check()
}

/// Checks everything and prints what was found; a failure counts it.
pub(crate) fn check() -> Result<(), Failure> {
    let root = checkout::root();
    let files = read_files(&root)?;
    let packages = edges::packages(&checkout::metadata()?, &root);
    let mut findings = edges::check(&packages, &files);
    findings.extend(files.iter().flat_map(files::check));
    findings.extend(files.iter().flat_map(words::check));
    findings.extend(files.iter().flat_map(|file| links::check(file, &|path| root.join(path).exists())));
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{} files are tidy", files.len());
            Ok(())
        }
        1 => Err(Failure::new("1 rule is broken")),
        n => Err(Failure::new(format!("{n} rules are broken"))),
    }
}

/// Every text file of ours, in the order of their paths.
fn read_files(root: &Path) -> Result<Vec<TextFile>, Failure> {
    let mut paths: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    let entries = std::fs::read_dir(root).trying(format!("list `{}`", root.display()))?;
    paths.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).trying(format!("list `{}`", path.display()))?;
            paths.extend(entries.flatten().map(|entry| entry.path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            files.push(TextFile { path, text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_checkout_is_read_and_nothing_built() {
        let files = read_files(&checkout::root()).unwrap();
        let has = |path: &str| files.iter().any(|file| file.path == Path::new(path));
        assert!(has("xtask/src/tidy.rs") && has("Cargo.toml") && has("lab/portal/portal.py"));
        assert!(
            !files.iter().any(|file| file.path.starts_with("target") || file.path.starts_with("lab/.state"))
        );
    }
}
