//! The controls that entries name are those of the published catalog.

use std::path::PathBuf;

use hmsops_tower::controls::ROWS;

/// NIST SP 800-53 revision 5, beside the checkout, or where `HMSOPS_CONFORMANCE` says.
fn catalog() -> serde_json::Value {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let root = std::env::var_os("HMSOPS_CONFORMANCE").map_or_else(beside, PathBuf::from);
    let path = root.join("nist/nist-800-53-rev5-controls.json");
    let text = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("no catalog of controls at `{}`: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn every_control_is_in_the_catalog_and_in_force() {
    let catalog = catalog();
    let known = catalog["controls"].as_array().unwrap();
    for row in ROWS {
        for label in row.controls {
            let control = known.iter().find(|control| control["label"] == *label);
            let control = control.unwrap_or_else(|| panic!("{}: there is no control {label}", row.kind));
            assert_eq!(control["withdrawn"], false, "{}: {label} was withdrawn", row.kind);
        }
    }
}
