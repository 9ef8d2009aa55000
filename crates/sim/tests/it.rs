//! A few stories with every commit; `cargo xtask sim` tells thousands.

use hmsops_control::state::release::Phase;
use hmsops_sim::instance::Fault;
use hmsops_sim::story::{Kind, Timed, run};

/// Seeds that once showed something, and a few that never did. A seed that fails is added here.
const KEPT: [u64; 11] = [1, 4, 28, 31, 63, 70, 86, 105, 1000, 2024, 101_642];

#[test]
fn kept_seeds_violate_nothing() {
    for seed in KEPT {
        let ending = run(seed, Kind::Rough);
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

#[test]
fn broken_releases_are_taken_back_and_healthy_ones_are_not() {
    for (fault, phase) in [
        (Fault::Errors(1.0), Phase::RolledBack),
        (Fault::Hang, Phase::RolledBack),
        (Fault::Dead, Phase::RolledBack),
        (Fault::None, Phase::Done),
    ] {
        let timed = Timed { fault, weight_bp: 100, rate: 100.0, base_errors: 0.005 };
        let ending = run(7, Kind::Timed(timed));
        assert_eq!((ending.phase, &ending.violations[..]), (Some(phase), &[][..]), "{fault:?}");
    }
}
