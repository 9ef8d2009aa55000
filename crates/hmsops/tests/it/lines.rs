//! The tower killed right after each kind of line that a release writes: what the line says is carried on, once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::kit::{Said, Site, is};
use super::load::Load;
use super::nginx::Build;

/// What the ledger holds of a release, by kind and outcome.
fn lines(site: &Site, id: &str) -> BTreeMap<String, usize> {
    let found = site.json(&["audit", "list", "--release", id, "--limit", "200"]);
    let mut lines = BTreeMap::new();
    for entry in found["entries"].as_array().unwrap() {
        *lines.entry(name(entry)).or_default() += 1;
    }
    lines
}

/// `release.weight intended`.
fn name(entry: &Value) -> String {
    format!("{} {}", entry["kind"].as_str().unwrap(), entry["outcome"].as_str().unwrap())
}

/// Kills the tower as soon as the ledger's newest lines show such a line that is newer than `seq`, and starts it.
fn kill_after(site: &mut Site, seq: u64, line: &str) {
    site.wait_closely(&format!("a line `{line}`"), 20, |site| {
        let found = site.api("/hms/v1/audit?limit=5")?;
        let mut entries = found["entries"].as_array()?.iter();
        entries.find(|entry| entry["seq"].as_u64() > Some(seq) && name(entry) == line).map(|_| ())
    });
    site.kill_tower();
    let back = site.start();
    assert!(back <= Duration::from_secs(2), "{back:?}\n{}", site.log());
}

/// The newest line's number.
fn newest(site: &Site) -> u64 {
    site.wait("the ledger", 10, |site| site.api("/hms/v1/audit?limit=1")?["entries"][0]["seq"].as_u64())
}

fn deploy(site: &Site, version: &str, steps: &str) -> String {
    site.build(version, Build::GOOD);
    let file = site.release_file(version, steps, "500 ms");
    site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned()
}

/// A healthy release goes out all the same, no request fails, and its lines are those of a tower that lives.
#[test]
fn a_release_goes_out_whatever_line_the_tower_dies_after() {
    let mut site = Site::shop();
    let load = Load::start(site.gateway, 50);
    let mut plain = None;
    for (number, line) in [
        "",
        "release.requested intended",
        "instance.start intended",
        "instance.started done",
        "instance.ready done",
        "release.weight intended",
        "release.weight done",
        "release.promoted done",
        "release.proven done",
        "instance.stop intended",
    ]
    .into_iter()
    .enumerate()
    {
        let version = format!("1.{}", number + 1);
        site.build(&version, Build::GOOD);
        let file = site.release_file(&version, "[{weight: 25, for: 500 ms}, {weight: 100}]", "500 ms");
        let seq = newest(&site);
        // It returns when the canary is started, and comes back to a tower that was killed.
        let deploy = site.deploy_and_wait(&file);
        if !line.is_empty() {
            kill_after(&mut site, seq, line);
        }
        let said: Said = deploy.wait_with_output().unwrap().into();
        let id = format!("r-{}", number + 1);
        let release = site.release(&id, "proven", 20, is("done"));
        // Unless it died before it could answer.
        assert!(
            said.code == Some(0) || (line.ends_with("intended") && said.code == Some(5)),
            "{line}: {said:?}"
        );
        site.wait("the version before is gone", 20, |site| {
            let left = site.processes().iter().filter(|process| process.role == "nginx:").count();
            (left == 2).then_some(())
        });
        let lines = lines(&site, &id);
        match &plain {
            None => plain = Some(lines),
            Some(plain) => assert_eq!(plain, &lines, "killed after `{line}`: {release}"),
        }
    }
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// A release that a person takes back is taken back once, and the canary gets no request after it.
#[test]
fn a_retreat_holds_whatever_line_the_tower_dies_after() {
    let mut site = Site::shop();
    let stable = site.stable_pid();
    let load = Load::start(site.gateway, 50);
    let mut plain = None;
    for (number, line) in [
        "",
        "release.taken-back intended",
        "release.rolled-back done",
        "release.closed done",
        "instance.stop intended",
    ]
    .into_iter()
    .enumerate()
    {
        let version = format!("1.{}", number + 1);
        let id = deploy(&site, &version, "[{weight: 25}, {weight: 100}]");
        site.wait_for_weight(&id, 2500);
        let seq = newest(&site);
        site.done(&["release", "abort", &id, "--reason", "a test"]);
        if !line.is_empty() {
            kill_after(&mut site, seq, line);
        }
        let release = site.release(&id, "closed", 30, |release| release["closed"] == true);
        assert!(is("aborted")(&release), "{release}");
        site.wait("the canary is gone", 20, |site| {
            let left = site.processes().iter().filter(|process| process.role == "nginx:").count();
            (left == 2).then_some(())
        });
        let before = load.tally();
        site.wait("users go on", 10, |_| (load.tally().sent > before.sent + 50).then_some(()));
        assert_eq!(load.tally().of(&version), before.of(&version), "{line}");
        let lines = lines(&site, &id);
        match &plain {
            None => plain = Some(lines),
            Some(plain) => assert_eq!(plain, &lines, "killed after `{line}`: {release}"),
        }
    }
    assert_eq!(site.stable_pid(), stable);
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}
