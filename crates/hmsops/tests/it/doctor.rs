//! What `hmsops doctor` finds, with the tower up and down.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::kit::{SHOPLESS, Said, Site};
use super::nginx;

fn found(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap()
}

fn has(found: &Value, check: &str, what: &str) -> bool {
    let findings = found["findings"].as_array().unwrap();
    findings
        .iter()
        .any(|finding| finding["check"] == check && finding["what"].as_str().unwrap().contains(what))
}

#[test]
fn a_healthy_tower_has_no_problems_and_each_finding_says_what_to_do() {
    let mut site = Site::lay_out(SHOPLESS);
    site.start();
    site.gateway_pid();
    let well = site.wait("the gateway is heard", 20, |site| {
        let said = site.run(&["doctor", "--json"]);
        (said.code == Some(0)).then(|| found(&said))
    });
    assert_eq!(well["by"], "tower");
    let looks =
        ["permissions", "disk", "ledger", "clock", "leftovers", "recording", "open files", "listeners"];
    for look in looks.into_iter().chain(["settings", "tokens", "gateways", "declarations", "contexts"]) {
        assert!(well["checked"].as_array().unwrap().contains(&Value::from(look)), "{look}: {well}");
    }
    let text = site.run(&["doctor"]);
    assert!(text.out.contains("looked at by the tower: data folder, permissions"), "{text:?}");

    // A token that may everything, a key that others can read, and a file with a mistake.
    let reason = ["--scope", "tokens:admin", "--reason", "a test"];
    site.done(&[["token", "create"].as_slice(), &reason].concat());
    fs::set_permissions(site.path("data/admin.token"), fs::Permissions::from_mode(0o644)).unwrap();
    site.configure("gateway: {}\n");
    nginx::put(&site.path("repo/ops/alerts/bad.yaml"), "groups: [{name: a, rules: [{alert: x}]}]\n");
    let ill = site.wait("the file is read", 20, |site| {
        let said = site.run(&["doctor", "--json"]);
        let ill = found(&said);
        (said.code == Some(1) && has(&ill, "declarations", "bad.yaml")).then_some(ill)
    });
    assert!(has(&ill, "permissions", "admin.token` has mode 0644"), "{ill}");
    assert!(has(&ill, "tokens", "can make tokens"), "{ill}");
    assert!(has(&ill, "settings", "hmsops.yaml:"), "{ill}");
    for finding in ill["findings"].as_array().unwrap() {
        let filled = |key: &str| finding[key].as_str().is_some_and(|text| text.len() > 5);
        assert!(filled("what") && filled("why") && filled("remedy"), "{finding}");
    }
    assert!(!ill.to_string().contains(&site.token()));
}

#[test]
fn without_a_tower_the_folder_is_looked_at_and_nothing_is_changed() {
    let mut site = Site::lay_out(SHOPLESS);
    site.start();
    site.json(&["token", "create", "--scope", "state:read", "--reason", "a line in the ledger"]);
    site.kill_tower();
    let said = site.run(&["doctor", "--json"]);
    let down = found(&said);
    assert_eq!((said.code, &down["by"]), (Some(1), &Value::from("folder")), "{down}");
    assert!(has(&down, "tower", ""), "{down}");
    let data = site.path("data").display().to_string();
    let whole = site.run(&["doctor", "--data", &data]);
    assert_eq!(whole.code, Some(0), "{whole:?}");

    // One byte of the ledger is another.
    let log = site.path("data/ledger/entries.log");
    let mut bytes = fs::read(&log).unwrap();
    // There is room after the last line.
    let at = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[at] ^= 1;
    put(&log, &bytes);
    let ill = found(&site.run(&["doctor", "--data", &data, "--json"]));
    assert!(has(&ill, "ledger", "not whole") || has(&ill, "ledger", "cannot be read"), "{ill}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "a look changes nothing");

    let missing = site.run(&["doctor", "--data", "no-such-folder"]);
    assert_eq!(missing.code, Some(3));
    assert!(
        missing.err.contains("there is no data folder") && !site.path("no-such-folder").exists(),
        "{missing:?}"
    );
}

/// The tokens that a user keeps are looked at wherever the tower is, and settings wherever they are named.
#[test]
fn kept_tokens_and_settings_are_looked_at_without_a_tower() {
    let site = Site::lay_out(SHOPLESS);
    fs::create_dir_all(site.path("data")).unwrap();
    fs::set_permissions(site.path("data"), fs::Permissions::from_mode(0o700)).unwrap();
    nginx::put(&site.path(".config/hmsops/config.yaml"), "current: a\ncontexts:\n");
    fs::set_permissions(site.path(".config/hmsops/config.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    site.configure("tls: {cert: tower.crt, key: \"file:tower.key\"}\n");
    let look = ["doctor", "--data", "data", "--config", "hmsops.yaml", "--json"];
    let said = site.run(&look);
    let ill = found(&said);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(has(&ill, "contexts", "config.yaml` has mode 0640"), "{ill}");
    assert!(has(&ill, "settings", "tower.key` cannot be looked at"), "{ill}");
    assert!(has(&ill, "certificates", "tower.crt` is no certificate"), "{ill}");
    site.configure("gateway: {}\n");
    let ill = found(&site.run(&look));
    assert!(has(&ill, "settings", "cannot be used"), "{ill}");
}

/// A disk on which neither bytes nor files are left to speak of.
#[test]
fn a_disk_that_is_nearly_full_is_found() {
    if !rustix::process::geteuid().is_root() {
        use std::io::Write as _;
        let _unheard = writeln!(std::io::stderr(), "skipped: only root can mount a file system");
        return;
    }
    let site = Site::lay_out(SHOPLESS);
    let data = site.path("data");
    fs::create_dir_all(&data).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=8m,nr_inodes=40,mode=0700", "none"];
    let mounted = Command::new("mount").args(mount).arg(&data).status().unwrap();
    let said = site.run(&["doctor", "--data", "data", "--json"]);
    let gone = Command::new("umount").arg(&data).status().unwrap();
    assert!(mounted.success() && gone.success(), "{mounted} {gone}");
    let ill = found(&said);
    assert_eq!(said.code, Some(1));
    assert!(has(&ill, "disk", "MiB are free") && has(&ill, "disk", "more files can be made"), "{ill}");
}

#[expect(clippy::disallowed_methods, reason = "a test damages what it looks at")]
fn put(path: &std::path::Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

/// An entry that is later than now: the clock was set back since.
#[test]
fn a_clock_that_is_behind_the_ledger_is_found() {
    let mut site = Site::lay_out(SHOPLESS);
    site.set_clock(3600);
    site.start();
    site.json(&["token", "create", "--scope", "state:read", "--reason", "a line in the ledger"]);
    site.kill_tower();
    let data = site.path("data").display().to_string();
    let ill = site.run(&["doctor", "--data", &data, "--json"]);
    assert_eq!(ill.code, Some(1));
    assert!(has(&found(&ill), "clock", "behind the ledger's last entry"), "{ill:?}");
}
