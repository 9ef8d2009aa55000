//! The unit for systemd, checked by systemd's own tools.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::kit::Said;
use super::nginx;

/// Ten times what `systemd-analyze security` calls the exposure: below 25 few services are. What is left are networks,
/// which is what a gateway is for.
const EXPOSURE_MAX: &str = "25";

fn unit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd/hmsops.service"))
        .unwrap()
}

/// A restart of the tower ends nothing that users see, and takes nothing from under it.
#[test]
fn the_unit_ends_the_tower_alone() {
    let unit = unit();
    let lines: Vec<&str> = unit.lines().filter(|line| !line.starts_with('#')).collect();
    for needed in ["KillMode=process", "OOMPolicy=continue", "StateDirectoryMode=0700", "LimitCORE=0"] {
        assert!(lines.contains(&needed), "{needed}");
    }
    for harmful in
        ["PrivateTmp=", "RuntimeDirectory=", "MemoryDenyWriteExecute=", "OOMScoreAdjust=", "DynamicUser="]
    {
        assert!(!lines.iter().any(|line| line.starts_with(harmful)), "{harmful}");
    }
}

#[test]
fn the_unit_is_sound_and_hardened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hmsops.service");
    // Of a program and a user that are here.
    let text = unit().replace("/usr/local/bin/hmsops", env!("CARGO_BIN_EXE_hmsops"));
    nginx::put(&file, &text.replace("User=hmsops", "User=root").replace("Group=hmsops", "Group=root"));
    let analyze =
        |args: &[&str]| Command::new("systemd-analyze").args(args).arg(&file).output().map(Said::from);
    let Ok(verified) = analyze(&["verify", "--man=no"]) else {
        use std::io::Write as _;
        let _unheard = writeln!(std::io::stderr(), "skipped: systemd-analyze is not installed");
        return;
    };
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(!verified.err.contains("Unknown"), "{verified:?}");
    let rated = analyze(&["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX]).unwrap();
    assert_eq!(rated.code, Some(0), "{rated:?}");
}
