//! A few stories with every commit; `cargo xtask sim` tells thousands.

use hmsops_control::state::release::Phase;
use hmsops_model::Millis;
use hmsops_sim::instance::Fault;
use hmsops_sim::kills::{PLOTS, Plot, kills, tell, try_kill};
use hmsops_sim::pair;
use hmsops_sim::report::{Scope, survey};
use hmsops_sim::story::{Kind, Timed, run};
use hmsops_sim::table;

/// Seeds that once showed something, and a few that never did. A seed that fails is added here.
const KEPT: [u64; 11] = [1, 4, 28, 31, 63, 70, 86, 105, 1000, 2024, 101_642];

#[test]
fn kept_seeds_violate_nothing() {
    for seed in KEPT {
        let ending = run(seed, Kind::Rough);
        assert_eq!(ending.violations, [], "seed {seed}");
    }
}

/// Healthy releases that were once taken back: by errors common to both while one arm stood still, by time-outs of a
/// fresh canary, by runs of pauses.
const ONCE_TAKEN_BACK: [u64; 5] = [485, 1124, 12_390, 12_467, 12_989];

#[test]
fn healthy_releases_stay_out() {
    for seed in ONCE_TAKEN_BACK {
        let ending = run(seed, Kind::Healthy);
        assert!(!ending.false_rollback(), "seed {seed} by {:?}", ending.detector);
        assert_eq!(ending.violations, [], "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [1, 31, 1000] {
        let (once, again) = (run(seed, Kind::Rough), run(seed, Kind::Rough));
        assert_eq!(once.fingerprint, again.fingerprint, "seed {seed}");
        assert_ne!(once.fingerprint, run(seed + 1, Kind::Rough).fingerprint, "seed {seed} and the next");
    }
}

fn timed(fault: Fault, blind: bool) -> Kind {
    let delay = Millis::from_secs(20);
    Kind::Timed(Timed { fault, weight_bp: 100, rate: 100.0, base_errors: 0.005, delay, blind })
}

#[test]
fn broken_releases_are_taken_back() {
    for fault in [Fault::Errors(1.0), Fault::Hang, Fault::Dead, Fault::Probe] {
        let ending = run(7, timed(fault, false));
        assert_eq!((ending.phase, &ending.violations[..]), (Some(Phase::RolledBack), &[][..]), "{fault:?}");
        assert!(ending.detected_ms.is_some_and(|ms| ms < 20_000), "{fault:?}: {:?}", ending.detected_ms);
    }
}

/// The models of others see the fault to its end, because the tower of that twin sees none.
#[test]
fn a_blind_twin_takes_nothing_back() {
    let ending = run(7, timed(Fault::Errors(1.0), true));
    assert_eq!((ending.detected_ms, ending.detector), (None, None));
    assert!(ending.peers_ms.iter().filter(|ms| ms.is_some()).count() >= 3, "{:?}", ending.peers_ms);
}

/// Every plot has kills in each of its states, and some of each kind hold. All of them: `cargo xtask sim --kills`.
#[test]
fn kills_of_ours_change_no_end() {
    for plot in PLOTS {
        let without = tell(plot, None);
        assert_eq!(without.violations, [], "{plot:?}");
        let kills = kills(plot);
        assert!(kills.len() > 50, "{plot:?}: {}", kills.len());
        for kill in kills.iter().step_by(41) {
            assert_eq!(try_kill(kill, &without), [], "{kill:?}");
        }
    }
    assert_eq!(tell(Plot::Healthy, None).end, "1.8.0 done; stable 1.8.0; 0 denied");
    assert_eq!(tell(Plot::HangsBaking, None).end, "1.8.0 rolled back; stable 1.7.3; 1 denied");
}

/// Two services in one release, and a freeze on their way: bad in one, both go back; what is denied is only the bad one.
#[test]
fn what_goes_out_together_goes_back_together_and_waits_for_a_freeze() {
    for plot in pair::PLOTS {
        let (phase, denied) =
            if plot == pair::Plot::Healthy { (Phase::Done, 0) } else { (Phase::RolledBack, 1) };
        for seed in 0..3 {
            let ending = pair::run(seed, plot, false);
            assert_eq!(ending.violations, [], "{plot:?} {seed}");
            assert_eq!((&ending.phases[..], ending.denied), (&[phase; 2][..], denied), "{plot:?} {seed}");
            assert_eq!(ending.frozen_steps > 300, plot == pair::Plot::Healthy, "{plot:?} {seed}");
        }
        for seed in 10..14 {
            let ending = pair::run(seed, plot, true);
            assert_eq!(ending.violations, [], "{plot:?} {seed}");
        }
    }
    assert_eq!(pair::run(12, pair::Plot::SecondErrs, true), pair::run(12, pair::Plot::SecondErrs, true));
}

#[test]
fn a_report_is_the_same_on_one_thread_and_on_three() {
    let told = |threads| {
        let scope = Scope { rough: 3, healthy: 3, timed: 0, slight: 2, kills: false, seed: 5, threads };
        table::text(&survey(scope, |_, _| {}))
    };
    let one = told(1);
    assert_eq!(one, told(3));
    assert!(one.contains("3 rollouts") && one.contains("99 % upper bound"), "{one}");
}
