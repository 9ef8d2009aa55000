//! A healthy release goes through its steps.

use super::kit::{Said, Site, has_weight, is, runs};
use super::load::{Load, Tally};
use super::nginx::Build;

/// Each step's share is what it says, the last one retires the version before, and no request fails.
#[test]
fn a_healthy_release_has_the_share_of_each_step_and_retires_the_old_version() {
    let site = Site::shop();
    site.build("1.1", Build::GOOD);
    let former = site.stable_pid();
    let load = Load::start(site.gateway, 300);
    let steps = "[{weight: 5, for: 4s}, {weight: 25, for: 4s}, {weight: 100}]";
    let file = site.release_file("1.1", steps, "1s");
    let deploy = site.deploy_and_wait(&file);

    for weight_bp in [500, 2500] {
        let (from, until) = measure(&site, &load, weight_bp);
        let canary = until.of("1.1") - from.of("1.1");
        let all = canary + until.of("1.0") - from.of("1.0");
        assert!(all >= 300, "this machine is too busy to tell: {all} requests in a step of 4 s");
        assert!(
            is_likely(all, canary, weight_bp as f64 / 10_000.0),
            "{canary} of {all} requests at {weight_bp} basis points"
        );
    }
    let said: Said = deploy.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(0), "{said:?}");
    site.release("r-1", "proven", 20, is("done"));
    site.wait("the old version is gone", 20, |_| (!runs(former)).then_some(()));
    let served = load.tally();
    site.wait("more users", 10, |_| (load.tally().sent > served.sent + 100).then_some(()));
    let tally = load.stop();
    assert!(tally.of("1.0") == served.of("1.0"), "{tally:?}");
    assert!(!site.log().contains("rollback"), "nothing was rolled back: {}", site.log());
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
}

/// What users had at the beginning of a step and shortly before its end.
fn measure(site: &Site, load: &Load, weight_bp: u64) -> (Tally, Tally) {
    site.wait_for_weight("r-1", weight_bp);
    let from = load.tally();
    let mut until = from.clone();
    site.wait("the step ends", 20, |site| {
        // Taken before it is known that the step goes on.
        let tally = load.tally();
        let release = site.api("/hms/v1/releases/r-1")?;
        if !has_weight(&release, weight_bp) {
            return Some(());
        }
        until = tally;
        None
    });
    (from, until)
}

/// Whether `hits` lies in the 99.95 % interval of a binomial distribution, so that two steps lie in theirs with
/// 99.9 %.
fn is_likely(n: u64, hits: u64, p: f64) -> bool {
    let mut mass = (1.0 - p).powi(i32::try_from(n).unwrap());
    let mut up_to = 0.0;
    for k in 0..hits {
        up_to += mass;
        mass *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
    }
    let (at_least, at_most) = (1.0 - up_to, up_to + mass);
    at_least > 2.5e-4 && at_most > 2.5e-4
}

#[test]
fn an_interval_is_one() {
    // Binomial(1000, 0.05): P(X ≤ 27) = 2.1e-4, P(X ≤ 28) = 3.9e-4, P(X ≥ 76) = 2.6e-4, P(X ≥ 77) = 1.6e-4.
    let likely: Vec<u64> = (0..=1000).filter(|hits| is_likely(1000, *hits, 0.05)).collect();
    assert_eq!((likely.first(), likely.last()), (Some(&28), Some(&76)));
}

/// A newer release takes the place of the one that is out; a release that bakes is swapped back with the warm old
/// version; a proven one is left by starting the last proven version again. No request fails in any of them.
#[test]
fn a_release_is_superseded_taken_back_while_it_bakes_and_left_when_proven() {
    let site = Site::shop();
    let stable = site.stable_pid();
    let load = Load::start(site.gateway, 100);
    let deploy = |version: &str, steps: &str, bake: &str| {
        site.build(version, Build::GOOD);
        let file = site.release_file(version, steps, bake);
        site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned()
    };
    let serves = |version: &str| {
        site.wait(&format!("only {version} serves"), 20, |site| {
            let answers: Vec<_> = (0..20).filter_map(|_| site.get("/")).collect();
            answers.iter().all(|answer| answer.version() == Some(version)).then_some(())
        });
    };

    let first = deploy("1.1", "[{weight: 25}, {weight: 100}]", "1s");
    site.wait_for_weight(&first, 2500);
    let second = deploy("1.2", "[{weight: 25}, {weight: 100}]", "10 min");
    let release = site.release(&first, "superseded", 10, is("superseded"));
    assert!(release["why"].as_str().unwrap().starts_with("Superseded: "), "{release}");
    site.release(&first, "its numbers are final", 20, |release| release["closed"] == true);
    site.wait_for_weight(&second, 2500);
    site.done(&["release", "promote", &second, "--reason", "a test"]);
    site.release(&second, "all traffic", 10, is("baking"));
    serves("1.2");

    site.heals(&["rollback", "shop", "--to=prev", "--reason=a test"]);
    let release = site.json(&["release", "show", &second]);
    assert!(release["phase"] == "aborted" && release["rolled_back_at"].is_string(), "{release}");
    serves("1.0");
    assert_eq!(site.stable_pid(), stable, "the warm process, not another");

    let third = deploy("1.3", "[{weight: 100}]", "500 ms");
    site.release(&third, "proven", 20, is("done"));
    site.wait("the old version is gone", 20, |_| (!runs(stable)).then_some(()));
    site.heals(&["rollback", "shop", "--to=1.0", "--reason=a test"]);
    let service = site.json(&["service", "show", "shop"]);
    assert!(service["stable"]["version"] == "1.0" && service["in_force"] == true, "{service}");
    serves("1.0");
    let said = site.run(&["rollback", "shop", "--to=1.0", "--reason=again"]);
    assert_eq!(said.code, Some(4), "what is refused is no success: {said:?}");
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}
