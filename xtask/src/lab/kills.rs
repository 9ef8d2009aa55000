//! The tower killed at random moments of a running rollout: users notice nothing, nothing moves, it is back at once.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::processes;
use super::release::Cli;
use super::running::{Lab, STABLE, Stopped, stopped};
use super::settings::Settings;
use super::stop::{Stop, Waited};
use crate::checkout;
use crate::failure::Failure;
use crate::load::arrivals::Random;
use crate::load::tally::Tally;

/// A killed tower is ready again this soon after its next start.
const BACK: Duration = Duration::from_secs(2);
/// A new version has its first share this soon after it was deployed.
const OUT: Duration = Duration::from_secs(30);
/// What the release file gives the canary at its first step, for five minutes.
const WEIGHT_BP: f64 = 2500.0;
/// Users are hashed to a version, so with 2 000 of them the measured share strays by a hundredth; this is five.
const SHARE_SPREAD: f64 = 0.05;

/// Tells the story with so many kills; a failure says what did not hold.
pub(super) fn tell(settings: &Settings, kills: u32, stop: &Stop) -> Result<(), Failure> {
    let mut lab = Lab::start(settings, stop)?;
    let cli = Cli::new(&lab, settings.tower)?;
    eprintln!("     releasing a good 1.8.0 at 25 %");
    let mut push = Command::new(checkout::root().join("lab/scripts/push_bad_build.sh"));
    push.args(["--fault", "none", "--file", "dev/cd/canary-25.yaml"]);
    push.env("HMSOPS_LAB_STATE", &settings.state).stdout(Stdio::null());
    checkout::run(cli.prepare(&mut push))?;
    let id = cli.latest_release()?;
    // `deploy` returns when the new version has started; its share comes when it has passed its probes.
    let out = stop.wait_for(OUT, || cli.release(&id).is_ok_and(|release| release.weight_bp == WEIGHT_BP));
    if !matches!(out, Waited::Held) {
        return Err(lab.failure(format!("{id} did not get its share within {} s", OUT.as_secs())));
    }
    let begun = lab.tally();
    let mut random = Random::new(settings.seed);
    let mut longest = Duration::ZERO;
    for number in 1..=kills {
        if stop.wait(Duration::from_millis(200 + u64::from(random.below(2300)))) {
            return Err(stopped());
        }
        processes::send("KILL", lab.tower_pid())?;
        lab.restart_tower()?;
        let started = Instant::now();
        lab.wait_until_ready(stop)?;
        let back = started.elapsed();
        longest = longest.max(back);
        eprintln!("     kill {number} of {kills}: ready again after {:.2} s", back.as_secs_f64());
        if back > BACK {
            return Err(
                lab.failure(format!("the tower was back after {:.1} s, more than 2 s", back.as_secs_f64()))
            );
        }
        let release = cli.release(&id)?;
        if release.weight_bp != WEIGHT_BP {
            return Err(lab.failure(format!(
                "after kill {number} the canary of {id} ({}) has {} basis points instead of {WEIGHT_BP}: {}",
                release.state, release.weight_bp, release.why
            )));
        }
    }
    eprintln!("     audit: {}", cli.verify_ledger()?);
    let Stopped { tally, processes, .. } = lab.stop()?;
    eprintln!("     stopped {processes}");
    verify(&begun, &tally)?;
    println!(
        "tower killed {kills} times: 0 of {} requests failed, both versions kept their process, ready again within {:.2} s",
        tally.sent,
        longest.as_secs_f64()
    );
    Ok(())
}

/// No request failed, each version was one process all along, and the canary had its share.
fn verify(begun: &Tally, tally: &Tally) -> Result<(), Failure> {
    if tally.failed() + tally.unsent > 0 {
        return Err(Failure::new(format!("users noticed that the tower was killed:\n{tally}")));
    }
    let served = tally.served_since(begun);
    let stable = served.iter().filter(|(server, _)| server.starts_with(STABLE)).map(|(_, count)| *count);
    let total: u64 = served.values().sum();
    let canary = 1.0 - stable.sum::<u64>() as f64 / total as f64;
    if served.len() != 2 {
        return Err(Failure::new(format!("two processes should have served, not {:?}", served.keys())));
    }
    if (canary - WEIGHT_BP / 10_000.0).abs() > SHARE_SPREAD {
        return Err(Failure::new(format!("the canary served {:.1} % instead of 25 %", canary * 100.0)));
    }
    Ok(())
}
