//! A real nginx as stable and a broken one as canary.

use super::kit::{self, Said, Site, is, runs};
use super::load::Load;
use super::nginx::Build;

/// No GET of a user fails, the stable process is never touched, and the reasons can be read afterwards.
#[test]
fn a_broken_nginx_is_taken_back_and_no_user_notices() {
    let mut site = Site::shop();
    site.build("1.1", Build::BROKEN);
    let stable = site.stable_pid();
    let load = Load::start(site.gateway, 200);
    let file = site.release_file("1.1", "[{weight: 5}, {weight: 100}]", "1 s");

    let said: Said = site.deploy_and_wait(&file).wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(1), "{said:?}");
    let release = site.release("r-1", "its numbers are final", 20, |release| release["closed"] == true);
    assert!(is("rolled-back")(&release), "{release}");
    let why = site.done(&["release", "why", "r-1"]);
    assert!(
        why.starts_with("Rolled back: ") && why.contains(" failures hit 1.1, which had 5 % of "),
        "{why}"
    );
    assert!(site.log().contains("rollback shop: Rollback to shop:1.0 completed"), "{}", site.log());

    // What was found bad is not deployed again by mistake.
    let said = site.run(&["deploy", "-f", &file]);
    assert_eq!((said.code, said.out.as_str()), (Some(4), ""), "{said:?}");
    assert!(
        said.err.starts_with("error: `shop` 1.1 was taken back in r-1 and is denied\nhint: "),
        "{said:?}"
    );

    assert_eq!(site.stable_pid(), stable);
    let canary = release["instance"]["pid"].as_u64().unwrap();
    site.wait("the canary's process is gone", 20, |_| (!runs(canary)).then_some(()));
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert_eq!(tally.of("1.0"), tally.sent, "{tally:?}");
    assert_eq!(release["seen"], 0, "{release}");
    assert!(release["shielded"].as_u64() >= Some(3), "{release}");
    replays(&mut site);
}

/// The kept evidence leads to the verdict again, also for a tower that has nothing of it in memory; and no longer
/// once somebody has changed it.
#[expect(clippy::disallowed_methods, reason = "somebody changes evidence behind the tower's back")]
fn replays(site: &mut Site) {
    let words = site.done(&["release", "replay", "r-1"]);
    assert!(words.starts_with("replayed ") && words.contains(": same verdict at "), "{words}");
    let before = site.json(&["release", "show", "r-1", "--evidence"]);
    site.stop_tower();
    site.start();
    let again = site.done(&["release", "replay", "r-1"]);
    let found = |words: &str| words.split_once(": ").map(|(_, found)| found.to_owned());
    assert_eq!(found(&again), found(&words));
    let after = site.json(&["release", "show", "r-1", "--evidence"]);
    // Of quiet ticks up to a second may be lost to a stop; bad answers are kept as they come.
    let bad = |release: &serde_json::Value| -> u64 {
        let points = release["points"].as_array().cloned().unwrap_or_default();
        points.iter().filter_map(|point| point["canary_bad"].as_u64()).sum()
    };
    assert!(bad(&before) > 0, "{before}");
    assert_eq!(bad(&before), bad(&after), "{before} {after}");

    let log = site.path("data/evidence/r-1.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let said = site.run(&["release", "replay", "r-1"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("is not what the verdict was read from"), "{said:?}");
    std::fs::remove_file(&log).unwrap();
    assert_eq!(site.run(&["release", "replay", "r-1"]).code, Some(1));
}

/// nginx's first process is killed, and its workers would go on with the port: users of the canary get stable at
/// once, and nothing of the canary is left.
#[test]
fn a_canary_whose_process_is_killed_is_taken_back_whole() {
    let site = Site::shop();
    site.build("1.1", Build::GOOD);
    let stable = site.stable_pid();
    let load = Load::start(site.gateway, 200);
    let file = site.release_file("1.1", "[{weight: 25}, {weight: 100}]", "1 s");
    let id = site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned();
    let release = site.wait_for_weight(&id, 2500);
    site.wait("users have 1.1", 10, |_| (load.tally().of("1.1") > 5).then_some(()));
    let nginxes = |site: &Site| site.processes().iter().filter(|process| process.role == "nginx:").count();
    assert_eq!(nginxes(&site), 4, "a master and a worker of each version: {:?}", site.processes());

    kit::kill(release["instance"]["pid"].as_u64().unwrap().try_into().unwrap());
    let release = site.release(&id, "taken back", 10, is("rolled-back"));
    assert!(release["detector"] == "process" || release["detector"] == "probes", "{release}");
    site.release(&id, "its numbers are final", 20, |release| release["closed"] == true);
    site.wait("only stable's processes are left", 10, |site| (nginxes(site) == 2).then_some(()));
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert_eq!(site.stable_pid(), stable);
}

/// Stable itself is killed: it is started again, and a release file is not needed for it.
#[test]
fn a_stable_process_that_is_killed_is_started_again() {
    let site = Site::shop();
    let stable = site.stable_pid();
    kit::kill(stable.try_into().unwrap());
    site.wait("another stable process", 10, |site| {
        let service = site.api("/hms/v1/services/shop")?;
        service["stable"]["pid"].as_u64().filter(|pid| *pid != stable && runs(*pid))
    });
    site.wait("1.0 is served", 10, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
    let nginxes = |site: &Site| site.processes().iter().filter(|process| process.role == "nginx:").count();
    site.wait("nothing of the old one is left", 10, |site| (nginxes(site) == 2).then_some(()));
    // The public page tells of it.
    site.wait("it is over", 20, |site| {
        let page = super::http::get(site.at, "/status", &[]).ok()?;
        page.body.contains("Service Degradation Resolved").then_some(())
    });
}
