//! What `hmsops doctor` finds, with the tower up and down.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

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
    for look in looks.into_iter().chain(["tokens", "gateways", "declarations"]) {
        assert!(well["checked"].as_array().unwrap().contains(&Value::from(look)), "{look}: {well}");
    }
    let text = site.run(&["doctor"]);
    assert!(text.out.contains("looked at by the tower: data folder, permissions"), "{text:?}");

    // A token that may everything, a key that others can read, and a file with a mistake.
    let reason = ["--scope", "tokens:admin", "--reason", "a test"];
    site.done(&[["token", "create"].as_slice(), &reason].concat());
    fs::set_permissions(site.path("data/admin.token"), fs::Permissions::from_mode(0o644)).unwrap();
    nginx::put(&site.path("repo/ops/alerts/bad.yaml"), "groups: [{name: a, rules: [{alert: x}]}]\n");
    let ill = site.wait("the file is read", 20, |site| {
        let said = site.run(&["doctor", "--json"]);
        let ill = found(&said);
        (said.code == Some(1) && has(&ill, "declarations", "bad.yaml")).then_some(ill)
    });
    assert!(has(&ill, "permissions", "admin.token` has mode 0644"), "{ill}");
    assert!(has(&ill, "tokens", "can make tokens"), "{ill}");
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
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    put(&log, &bytes);
    let ill = found(&site.run(&["doctor", "--data", &data, "--json"]));
    assert!(has(&ill, "ledger", "not whole") || has(&ill, "ledger", "cannot be read"), "{ill}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "a look changes nothing");

    let missing = site.run(&["doctor", "--data", "no-such-folder"]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.out.contains("there is no folder") && !site.path("no-such-folder").exists(),
        "{missing:?}"
    );
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
    site.kill_tower();
    let data = site.path("data").display().to_string();
    let ill = site.run(&["doctor", "--data", &data, "--json"]);
    assert_eq!(ill.code, Some(1));
    assert!(has(&found(&ill), "clock", "behind the ledger's last entry"), "{ill:?}");
}
