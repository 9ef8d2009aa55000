//! The wall clock set forth and back by an hour in the middle of a release.

use std::time::Duration;

use super::kit::{SHOP, Site, is, now};
use super::load::Load;
use super::nginx::Build;

const HOUR: i64 = 3600;

/// Steps last as long as they should, a bad version is taken back, and the record stays whole.
#[test]
fn a_wall_clock_that_jumps_changes_no_release() {
    let mut site = Site::lay_out(SHOP);
    site.set_clock(0);
    site.open_shop();
    let load = Load::start(site.gateway, 100);
    site.build("1.1", Build::GOOD);
    let begun = now();
    let steps = "[{weight: 25, for: 4s}, {weight: 50, for: 4s}, {weight: 100}]";
    site.done(&["deploy", "-f", &site.release_file("1.1", steps, "2s")]);
    site.wait_for_weight("r-1", 2500);
    site.set_clock(-HOUR);
    site.wait_for_weight("r-1", 5000);
    assert!(begun.elapsed() >= Duration::from_secs(4), "a step of 4 s was over after {:?}", begun.elapsed());
    site.set_clock(HOUR);
    site.release("r-1", "proven", 40, is("done"));
    assert!(begun.elapsed() >= Duration::from_secs(8), "two steps were over after {:?}", begun.elapsed());
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);

    site.build("1.2", Build::BROKEN);
    let load = Load::start(site.gateway, 100);
    site.done(&["deploy", "-f", &site.release_file("1.2", "[{weight: 5}, {weight: 100}]", "2s")]);
    site.wait_for_weight("r-2", 500);
    site.set_clock(-HOUR);
    let release = site.release("r-2", "taken back", 20, is("rolled-back"));
    assert_eq!(release["detector"], "errors", "{release}");
    let at = |key: &str| release[key].as_str().unwrap().to_owned();
    assert!(at("verdict_at") < at("requested_at"), "the clock was set back in between: {release}");
    site.release("r-2", "its numbers are final", 20, |release| release["closed"] == true);
    assert_eq!(load.stop().failed, 0, "what the bad version spoiled was made good");
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));

    // A tower that starts with its clock an hour back goes on from its record.
    site.kill_tower();
    site.start();
    let release = site.json(&["release", "show", "r-2"]);
    assert!(is("rolled-back")(&release), "{release}");
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}
