//! The shared scripts.

use std::path::PathBuf;

/// So many evals there are at least in the shared scripts.
const EVALS: usize = 1935;

/// Beside the checkout, or where `HMSOPS_CONFORMANCE` says.
fn folder() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let root = std::env::var_os("HMSOPS_CONFORMANCE").map_or_else(beside, PathBuf::from);
    let folder = root.join("promqltest");
    assert!(
        folder.is_dir(),
        "no conformance scripts at `{}`: put them at `../shared/conformance` beside the checkout or set HMSOPS_CONFORMANCE",
        folder.display()
    );
    folder
}

#[test]
fn every_shared_script_passes_whole() {
    let mut passed = 0;
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for verdict in hmsops_promql::script::run(&std::fs::read_to_string(&path).unwrap()) {
            match verdict.failure {
                None => passed += 1,
                Some(why) => failures.push(format!("{name}:{}: {}\n  {why}", verdict.line, verdict.command)),
            }
        }
    }
    assert!(
        failures.is_empty() && passed >= EVALS,
        "{passed} passed, {} failed\n{}",
        failures.len(),
        failures.join("\n")
    );
}
