//! Tower, gateway and shims killed in each state of a release: it ends as it should, and nothing is done twice. Each
//! state meets one of them here and all of them in the long run.

use std::fs;

use super::http;
use super::kit::{self, Site, is, kill};
use super::load::Load;
use super::nginx::{self, Build};

/// Two steps of five minutes each: only what a test does moves it on.
const STEPS: &str = "[{weight: 25}, {weight: 50}, {weight: 100}]";

/// Where a release stands when something is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its health check does not pass yet.
    Starting,
    /// At its first step.
    First,
    /// At its second step.
    Second,
    /// Held by a person.
    Held,
    /// It has all users, the version before is warm.
    Baking,
    /// Taken back, and answering its last requests.
    Draining,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Tower,
    Gateway,
    ShimOfCanary,
    ShimOfStable,
}

const TARGETS: [Target; 4] = [Target::Tower, Target::Gateway, Target::ShimOfCanary, Target::ShimOfStable];

/// This target, or all of them in the long run.
fn each(standing: Standing, target: Target) {
    let long = std::env::var_os("HMSOPS_LONG").is_some();
    for target in TARGETS.into_iter().filter(|known| long || *known == target) {
        story(standing, target);
    }
}

fn story(standing: Standing, target: Target) {
    let mut site = Site::shop();
    let stable = site.stable_pid();
    let load = Load::start(site.gateway, 50);
    let open = bring(&site, standing);
    let canary = pid(&site);
    strike(&mut site, target, stable, canary);
    let gone = standing == Standing::Draining;
    if gone {
        site.release("r-1", "its numbers are final", 40, |release| release["closed"] == true);
        site.wait("the canary is gone", 40, |_| (!kit::runs(canary)).then_some(()));
        drop(open);
    } else {
        assert_eq!(pid(&site), canary, "{standing:?}, {target:?}: the canary is the process it was");
        finish(&site, standing);
        site.wait("the version before is gone", 40, |_| (!kit::runs(stable)).then_some(()));
    }
    let kept = if gone { stable } else { canary };
    assert_eq!(site.stable_pid(), kept, "{standing:?}, {target:?}");
    let version = if gone { "1.0" } else { "1.1" };
    site.wait("only one version serves", 10, |site| {
        (0..20).all(|_| site.get("/").is_some_and(|answer| answer.version() == Some(version))).then_some(())
    });
    let tally = load.stop();
    // While no gateway listens, nobody can be served: only then requests may fail.
    assert!(tally.failed == 0 || target == Target::Gateway, "{standing:?}, {target:?}: {:?}", tally.failures);
    once(&site, standing);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

fn pid(site: &Site) -> u64 {
    let pid = |site: &Site| site.api("/hms/v1/releases/r-1")?["instance"]["pid"].as_u64();
    site.wait("the canary's process", 20, pid)
}

/// Brings a release to where it is to stand; answers requests that the canary still answers.
fn bring(site: &Site, standing: Standing) -> Vec<std::net::TcpStream> {
    site.build("1.1", if standing == Standing::Starting { Build::WAITS } else { Build::GOOD });
    let bake = if standing == Standing::Baking { "6s" } else { "1s" };
    site.json(&["deploy", "-f", &site.release_file("1.1", STEPS, bake)]);
    if standing == Standing::Starting {
        return Vec::new();
    }
    site.wait_for_weight("r-1", 2500);
    match standing {
        Standing::Second => promote(site, 5000),
        Standing::Held => drop(site.done(&["release", "pause", "r-1", "--reason", "a test"])),
        Standing::Baking => {
            promote(site, 5000);
            site.done(&["release", "promote", "r-1", "--reason", "a test"]);
            site.release("r-1", "all users", 20, is("baking"));
        }
        Standing::Draining => {
            nginx::put(&site.path("work/slow"), &"x".repeat(400_000));
            let open: Vec<_> = (0..20).map(|_| http::open(site.gateway, "/slow", &[]).unwrap()).collect();
            assert!(open.iter().all(|stream| stream.peek(&mut [0]).unwrap() == 1), "each has begun");
            site.done(&["release", "abort", "r-1", "--reason", "a test"]);
            return open;
        }
        Standing::Starting | Standing::First => {}
    }
    Vec::new()
}

fn promote(site: &Site, weight_bp: u64) {
    site.done(&["release", "promote", "r-1", "--reason", "a test"]);
    site.wait_for_weight("r-1", weight_bp);
}

/// Kills it, and waits until it is back or known to be gone for good.
fn strike(site: &mut Site, target: Target, stable: u64, canary: u64) {
    match target {
        Target::Tower => {
            site.kill_tower();
            site.start();
        }
        Target::Gateway => {
            let before = site.gateway_pid();
            kill(before);
            site.wait("another gateway serves", 10, |site| {
                site.get("/").filter(|answer| answer.status == 200 && site.gateway_pid() != before)
            });
        }
        Target::ShimOfCanary => kill(parent(canary)),
        Target::ShimOfStable => kill(parent(stable)),
    }
}

/// The process that started another one: its shim.
fn parent(pid: u64) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

/// Lets a release go to its good end.
fn finish(site: &Site, standing: Standing) {
    if standing == Standing::Starting {
        nginx::put(&site.path("work/ready"), "");
        site.wait_for_weight("r-1", 2500);
    }
    // A gateway that came back has its canary's share by its tower's word.
    let share = if standing == Standing::Second { 5000 } else { 2500 };
    if standing == Standing::Held {
        let held = site.release("r-1", "held", 10, |release| release["hold"] == "paused");
        assert_eq!(held["weight_bp"], 2500, "{held}");
        site.done(&["release", "resume", "r-1", "--reason", "a test"]);
    }
    if standing != Standing::Baking {
        site.wait_for_weight("r-1", share);
        if share == 2500 {
            promote(site, 5000);
        }
        site.done(&["release", "promote", "r-1", "--reason", "a test"]);
    }
    site.release("r-1", "proven", 40, is("done"));
}

/// Each step stands in the ledger once.
fn once(site: &Site, standing: Standing) {
    let gone = standing == Standing::Draining;
    for (kind, times) in [
        ("release.requested", 1),
        // Intended and applied, of each step below 100 %.
        ("release.weight", if gone { 2 } else { 4 }),
        ("release.promoted", usize::from(!gone)),
        ("release.proven", usize::from(!gone)),
        ("release.taken-back", usize::from(gone)),
        // The first stable and the canary.
        ("instance.start", 2),
        ("instance.stop", 1),
    ] {
        let found = site.json(&["audit", "list", "--kind", kind]);
        let entries = found["entries"].as_array().unwrap();
        let found: Vec<_> = entries.iter().filter(|entry| entry["kind"] == kind).collect();
        assert_eq!(found.len(), times, "{standing:?}, {kind}: {found:?}");
    }
}

#[test]
fn killed_while_it_starts() {
    each(Standing::Starting, Target::ShimOfCanary);
}

#[test]
fn killed_at_the_first_step() {
    each(Standing::First, Target::ShimOfStable);
}

#[test]
fn killed_at_the_second_step() {
    each(Standing::Second, Target::Gateway);
}

#[test]
fn killed_while_it_is_held() {
    each(Standing::Held, Target::Tower);
}

#[test]
fn killed_while_the_old_version_is_warm() {
    each(Standing::Baking, Target::Gateway);
}

#[test]
fn killed_while_it_drains() {
    each(Standing::Draining, Target::ShimOfCanary);
}
