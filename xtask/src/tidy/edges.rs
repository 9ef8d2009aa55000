//! Which crate may use which, and what the pure crates may depend on.

use std::path::{Path, PathBuf};

use super::{Finding, TextFile};
use crate::json::Json;

/// Who may use whom inside the house; `model` is everybody's. From the architecture's list, plus `act → disk`:
/// a pinned image and a shim's state are files, and `disk` is the only way to one.
const EDGES: [(&str, &[&str]); 18] = [
    ("model", &[]),
    ("promql", &[]),
    ("config", &["promql"]),
    ("wire", &[]),
    ("control", &[]),
    ("disk", &[]),
    ("report", &[]),
    ("ledger", &["disk"]),
    ("tsdb", &["disk"]),
    ("logs", &["disk"]),
    ("tower", &["control", "promql", "config", "proxy", "ledger"]),
    ("proxy", &["disk", "wire"]),
    ("agent", &["disk", "wire"]),
    ("act", &["disk"]),
    ("pipeline", &["act"]),
    (
        "server",
        &[
            "tower", "control", "tsdb", "logs", "ledger", "disk", "act", "proxy", "pipeline", "report",
            "wire", "config", "promql",
        ],
    ),
    ("sim", &["tower", "control", "ledger", "disk", "proxy"]),
    ("fuzz", &["promql", "config", "wire", "disk", "ledger", "tsdb"]),
];

/// The binary's own edges, kept apart because its package has no prefix.
const BINARY_EDGES: &[&str] = &["server", "agent", "proxy", "act", "config", "wire"];

/// Edges that only tests have: a tower is tested on a disk that fails.
const TEST_EDGES: &[(&str, &str)] = &[("tower", "disk")];

/// What the crates that only think may take from outside. `jiff` for the calendar of freezes, with the time zones that
/// are compiled in: it reads no file and no clock there.
const PURE: [(&str, &[&str]); 7] = [
    ("model", &["serde"]),
    ("config", &["jiff", "regex", "saphyr-parser", "serde", "serde_json", "thiserror"]),
    ("wire", &["prost", "serde", "serde_json", "snap", "thiserror"]),
    ("promql", &["regex", "thiserror"]),
    ("control", &["jiff", "serde"]),
    ("tower", &["serde", "serde_json", "thiserror"]),
    ("report", &["serde", "thiserror"]),
];

/// A package of the workspace as `cargo metadata` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// Without the prefix `hmsops-`.
    name: String,
    /// Its `Cargo.toml`, from the root of the checkout.
    manifest: PathBuf,
    /// What it is built with: names, and whether only its tests use them.
    dependencies: Vec<(String, bool)>,
    /// How many integration-test binaries it links.
    test_binaries: usize,
}

/// The packages in what `cargo metadata` printed.
pub(crate) fn packages(metadata: &Json, root: &Path) -> Vec<Package> {
    let items = |value: &Json, key: &str| value.at(key).map(Json::items).unwrap_or_default().to_vec();
    let is_test = |target: &&Json| {
        target.at("kind").is_some_and(|kind| kind.items().first().and_then(Json::as_text) == Some("test"))
    };
    items(metadata, "packages")
        .iter()
        .map(|package| {
            let manifest = Path::new(package.text_at("manifest_path"));
            Package {
                name: short(package.text_at("name")).to_owned(),
                manifest: manifest.strip_prefix(root).unwrap_or(manifest).to_path_buf(),
                dependencies: items(package, "dependencies")
                    .iter()
                    .map(|dependency| {
                        (dependency.text_at("name").to_owned(), dependency.text_at("kind") == "dev")
                    })
                    .collect(),
                test_binaries: items(package, "targets").iter().filter(is_test).count(),
            }
        })
        .collect()
}

/// What the manifests break.
pub(crate) fn check(packages: &[Package], files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let manifest = files.iter().find(|file| file.path == package.manifest);
        let mut report = |key: &str, message: String| {
            let line = manifest.map_or(1, |file| line_of(&file.text, key));
            findings.push(Finding { file: package.manifest.clone(), line, message });
        };
        for (dependency, is_dev) in &package.dependencies {
            if let Some(message) = broken_edge(&package.name, dependency, *is_dev) {
                report(dependency, message);
            }
        }
        if package.test_binaries > 1 {
            let n = package.test_binaries;
            report(
                "[package]",
                format!(
                    "{n} integration-test binaries; make them modules of `tests/it.rs`, each link costs seconds"
                ),
            );
        }
    }
    findings
}

/// What is wrong with one dependency, if anything.
fn broken_edge(name: &str, dependency: &str, is_dev: bool) -> Option<String> {
    let ours = dependency.strip_prefix("hmsops-");
    if name == "xtask" {
        return Some(format!(
            "xtask uses `{dependency}`; the chores are written with the standard library only"
        ));
    }
    let allowed = match name {
        "hmsops" => BINARY_EDGES,
        name => match EDGES.iter().find(|(from, _)| *from == name) {
            Some((_, allowed)) => allowed,
            None => {
                return Some(format!(
                    "`{name}` has no place in the house; add its edges to xtask/src/tidy/edges.rs"
                ));
            }
        },
    };
    if let Some(used) = ours {
        let is_allowed = (used == "model" && name != "model")
            || allowed.contains(&used)
            || (is_dev && TEST_EDGES.contains(&(name, used)));
        return (!is_allowed).then(|| {
            format!("`{name}` may not use `{used}`; move what it needs to `model`, or argue for the edge in docs/adr")
        });
    }
    let (_, outside) = PURE.iter().find(|(pure, _)| *pure == name)?;
    (!is_dev && !outside.contains(&dependency)).then(|| {
        format!(
            "`{name}` only thinks and may not depend on `{dependency}`; do that work in a crate at the edge"
        )
    })
}

/// Without the prefix that folders do not have.
fn short(name: &str) -> &str {
    name.strip_prefix("hmsops-").unwrap_or(name)
}

fn line_of(text: &str, key: &str) -> usize {
    text.lines().position(|line| line.starts_with(key)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)], test_binaries: usize) -> Package {
        Package {
            name: name.into(),
            manifest: "crates/x/Cargo.toml".into(),
            dependencies: dependencies.iter().map(|(name, is_dev)| ((*name).into(), *is_dev)).collect(),
            test_binaries,
        }
    }

    fn messages(package: Package) -> Vec<String> {
        check(&[package], &[]).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_houses_own_edges_pass() {
        for (name, dependency) in [
            ("control", "hmsops-model"),
            ("tower", "hmsops-ledger"),
            ("hmsops", "hmsops-server"),
            ("server", "axum"),
        ] {
            assert_eq!(messages(package(name, &[(dependency, false)], 1)), [""; 0], "{name} {dependency}");
        }
        assert_eq!(messages(package("control", &[("proptest", true)], 0)), [""; 0]);
        assert_eq!(messages(package("tower", &[("hmsops-disk", true)], 0)), [""; 0]);
    }

    #[test]
    fn an_edge_that_is_not_on_the_list_is_found() {
        for (name, dependency, is_dev, expected) in [
            ("control", "hmsops-disk", false, "`control` may not use `disk`"),
            ("tower", "hmsops-disk", false, "`tower` may not use `disk`"),
            ("ledger", "hmsops-control", true, "`ledger` may not use `control`"),
            ("model", "hmsops-model", true, "`model` may not use `model`"),
            ("model", "rand", false, "`model` only thinks and may not depend on `rand`"),
            ("config", "tokio", false, "`config` only thinks and may not depend on `tokio`"),
            ("misc", "serde", false, "`misc` has no place in the house"),
            ("xtask", "serde", false, "xtask uses `serde`"),
        ] {
            let found = messages(package(name, &[(dependency, is_dev)], 1));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn a_second_test_binary_is_found() {
        assert!(messages(package("disk", &[], 2))[0].starts_with("2 integration-test binaries"));
    }

    #[test]
    fn metadata_is_read_and_a_finding_points_at_the_line() {
        let metadata = Json::parse(
            r#"{"packages": [{"name": "hmsops-control", "manifest_path": "/r/crates/control/Cargo.toml",
                "dependencies": [{"name": "tokio", "kind": null}, {"name": "proptest", "kind": "dev"}],
                "targets": [{"kind": ["lib"]}, {"kind": ["test"]}]}]}"#,
        )
        .unwrap();
        let packages = packages(&metadata, Path::new("/r"));
        assert_eq!(packages[0].dependencies, [("tokio".to_owned(), false), ("proptest".to_owned(), true)]);
        assert_eq!(packages[0].test_binaries, 1);
        let manifest = TextFile {
            path: "crates/control/Cargo.toml".into(),
            text: "[package]\n[dependencies]\ntokio.workspace = true\n".into(),
        };
        let findings = check(&packages, &[manifest]);
        assert_eq!((findings.len(), findings[0].line), (1, 3));
    }
}
