//! Holds texts in the form of the OpenMetrics project's cases against its specification: `openmetrics DIR…` prints each
//! that is judged otherwise than its `test.json` says and, last, the counts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hmsops_wire::exposition::judge;

/// Samples of one text.
const SAMPLES_MAX: usize = 1_000_000;

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        eprintln!("usage: openmetrics DIR…");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed) = (0, 0);
    for folder in &folders {
        let cases = match cases(folder) {
            Ok(cases) => cases,
            Err(error) => {
                eprintln!("cannot read cases from `{}`: {error}", folder.display());
                return ExitCode::from(2);
            }
        };
        for case in cases {
            match try_case(&case) {
                Ok(()) => passed += 1,
                Err(why) => {
                    failed += 1;
                    println!("{}: {why}", case.display());
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a case is judged as it says; why not.
fn try_case(folder: &Path) -> Result<(), String> {
    let read = |name: &str| {
        std::fs::read(folder.join(name)).map_err(|error| format!("cannot read `{name}`: {error}"))
    };
    let case: serde_json::Value = serde_json::from_slice(&read("test.json")?)
        .map_err(|error| format!("cannot read `test.json`: {error}"))?;
    let wanted = case["shouldParse"].as_bool().ok_or("`test.json` has no `shouldParse`")?;
    let text = read(case["file"].as_str().unwrap_or("metrics"))?;
    match (judge(&text, SAMPLES_MAX), wanted) {
        (Ok(_), true) | (Err(_), false) => Ok(()),
        (Ok(_), false) => Err("was read, and should be refused".into()),
        (Err(error), true) => Err(format!("was refused, and should be read: {error}")),
    }
}

/// The cases of a folder, by name; one that is a case stands for itself.
fn cases(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let is_case = |path: &Path| path.join("test.json").is_file();
    if is_case(folder) {
        return Ok(vec![folder.to_path_buf()]);
    }
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if is_case(&path) {
            cases.push(path);
        }
    }
    cases.sort();
    Ok(cases)
}
