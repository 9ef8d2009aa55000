//! Many faults of a release in a row on real processes, and how long each kind was out.

use std::time::Duration;

use super::check::{line_of, only_server, push_and_wait, say, verify_traffic};
use super::release::Cli;
use super::running::{Lab, Stopped, stopped};
use super::settings::{Fault, Limit, Settings, Story};
use super::stop::Stop;
use crate::failure::Failure;

/// How long traffic is watched before anything is pushed.
const HEALTHY: Duration = Duration::from_secs(3);

const CHAPTER: &str = "dev/cd/canary.yaml";

/// What is injected, in turn. Half of them answer every user with an error behind a green probe, which is the hardest
/// to see; when they begin varies, so that they meet steps and probes at different moments.
const INJECTED: [Fault; 8] = [
    fault("dead", None),
    fault("errors", None),
    fault("hang", None),
    fault("errors", Some("1500 ms")),
    fault("probe", None),
    fault("errors", Some("3 requests")),
    fault("dead", Some("700 ms")),
    fault("errors", Some("2300 ms")),
];

/// The promises, by class: name, share of the class, seconds from the first bad answer to the last.
const PROMISES: [(Class, f64, f64); 4] = [
    (Class::Hard, 0.99, 5.0),
    (Class::Errors, 0.5, 3.0),
    (Class::Errors, 0.95, 8.5),
    (Class::Errors, 0.99, 11.0),
];

/// A promise about a share is broken when so many miss it that chance would do so once in a thousand times.
const CHANCE: f64 = 0.001;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Dead, hanging, or failing its probe.
    Hard,
    /// Every answer an error, the probe green.
    Errors,
}

const fn fault(name: &'static str, after: Option<&'static str>) -> Fault {
    // Judged together, not one by one.
    Fault { name, file: CHAPTER, after, limit: Limit::Each(f64::INFINITY) }
}

fn class(fault: &Fault) -> Class {
    if fault.name == "errors" { Class::Errors } else { Class::Hard }
}

/// Injects so many faults and holds what was measured against the promises.
pub(super) fn tell(settings: &Settings, story: &Story, faults: u32, stop: &Stop) -> Result<(), Failure> {
    let mut lab = Lab::start(settings, stop)?;
    let cli = Cli::new(&lab, settings.tower)?;
    say("watching traffic while all is well");
    if stop.wait(HEALTHY) {
        return Err(stopped());
    }
    let stable = only_server(&lab.tally())?;
    let mut seconds: Vec<(Fault, f64)> = Vec::new();
    for number in 1..=faults {
        let fault = INJECTED[(number as usize - 1) % INJECTED.len()];
        let story = Story { fault, ..story.clone() };
        let run = push_and_wait(&mut lab, &cli, settings, &story, stop)
            .map_err(|failure| failure.and_note(&format!("in fault {number} of {faults}: {}", fault.name)))?;
        println!("{number} of {faults}, {}: {}", fault.name, line_of(number, &run));
        // A version whose health alone fails can be off before it has answered anybody badly.
        seconds.push((fault, run.release.exposure.map_or(0.0, |time| time.as_secs_f64())));
    }
    say(&format!("audit: {}", cli.verify_ledger()?));
    let Stopped { tally, processes, .. } = lab.stop()?;
    say(&format!("stopped {processes}"));
    verify_traffic(&tally, &stable)?;
    for name in ["dead", "hang", "probe", "errors"] {
        println!("{}", row(name, &sorted(&seconds, |fault| fault.name == name)));
    }
    println!("idempotent requests failed: 0 of {}", tally.sent);
    let broken: Vec<String> = PROMISES.iter().filter_map(|promise| missed(promise, &seconds)).collect();
    if broken.is_empty() {
        println!("lab --check: {faults} faults were taken back in time");
        return Ok(());
    }
    Err(Failure::new(broken.join("; ")))
}

fn sorted(seconds: &[(Fault, f64)], keep: impl Fn(&Fault) -> bool) -> Vec<f64> {
    let mut kept: Vec<f64> =
        seconds.iter().filter(|(fault, _)| keep(fault)).map(|(_, seconds)| *seconds).collect();
    kept.sort_by(f64::total_cmp);
    kept
}

/// `dead     n 50   p50 1.1 s   p95 2.0 s   p99 2.9 s   longest 2.9 s`
fn row(name: &str, sorted: &[f64]) -> String {
    let at = |share: f64| quantile(sorted, share).map_or("-".into(), |seconds| format!("{seconds:.1} s"));
    let (p50, p95, p99) = (at(0.5), at(0.95), at(0.99));
    format!("{name:<8} n {:<4} p50 {p50:<7} p95 {p95:<7} p99 {p99:<7} longest {}", sorted.len(), at(1.0))
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// What is to be said when a promise does not hold. Of a few runs it can only be said that they do not speak against
/// it: then more must miss it than chance allows.
fn missed((of, share, limit): &(Class, f64, f64), seconds: &[(Fault, f64)]) -> Option<String> {
    let found = sorted(seconds, |fault| class(fault) == *of);
    let over = found.iter().filter(|seconds| **seconds > *limit).count();
    let allowed = allowed(found.len(), 1.0 - share);
    (over > allowed).then(|| {
        format!(
            "{over} of {} {} were out for more than {limit} s; {allowed} speak not against a share of {share}",
            found.len(),
            if *of == Class::Hard { "dead, hanging or failing their probe" } else { "answering errors" },
        )
    })
}

/// The most of `n` that miss something which each misses with chance `p`, but for a chance of [`CHANCE`].
fn allowed(n: usize, p: f64) -> usize {
    let (mut term, mut below) = ((1.0 - p).powi(n as i32), 0.0);
    for k in 0..=n {
        below += term;
        if below >= 1.0 - CHANCE {
            return k;
        }
        term *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_broken_by_more_than_chance_allows() {
        assert_eq!(allowed(0, 0.05), 0);
        assert_eq!(allowed(10, 0.5), 9);
        assert_eq!(allowed(100, 0.01), 5);
        let all = |seconds: f64| vec![(INJECTED[1], seconds); 10];
        assert_eq!(missed(&PROMISES[1], &all(2.0)), None);
        assert!(missed(&PROMISES[1], &all(3.5)).unwrap().starts_with("10 of 10 answering errors"));
        assert_eq!(missed(&PROMISES[0], &all(100.0)), None, "no hard fault was among them");
    }

    #[test]
    fn quantiles_are_of_the_sorted() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.99), Some(99.0));
        assert_eq!(quantile(&sorted, 1.0), Some(100.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
