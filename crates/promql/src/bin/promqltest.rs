//! Runs scripts in Prometheus' test language: `promqltest DIR…` prints each failure and, last, the counts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        eprintln!("usage: promqltest DIR…");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed) = (0, 0);
    for folder in &folders {
        let scripts = match scripts(folder) {
            Ok(scripts) => scripts,
            Err(error) => {
                eprintln!("cannot read scripts from `{}`: {error}", folder.display());
                return ExitCode::from(2);
            }
        };
        for path in scripts {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    eprintln!("cannot read `{}`: {error}", path.display());
                    return ExitCode::from(2);
                }
            };
            for verdict in hmsops_promql::script::run(&text) {
                match verdict.failure {
                    None => passed += 1,
                    Some(why) => {
                        failed += 1;
                        println!("{}:{}: {}\n  {why}", path.display(), verdict.line, verdict.command);
                    }
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scripts of a folder, by name; a file stands for itself.
fn scripts(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(vec![folder.to_path_buf()]);
    }
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "test") {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}
