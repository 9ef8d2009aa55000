//! Many faults of a release in a row on real processes, and how long each kind was out.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::check::{line_of, only_server, push_and_wait, say, verify_traffic};
use super::release::{Cli, TakenBack};
use super::running::{Lab, Stopped, stopped};
use super::settings::{Fault, Limit, Settings, Story};
use super::stop::Stop;
use crate::failure::{Failure, Trying as _};

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

const DAY_MS: f64 = 86_400_000.0;

/// The promises, by class: name, share of the class, seconds for which it may be out.
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

/// Injects so many faults and holds what was measured against the promises. With `--keep`, those of a run that was broken
/// off are gone on with.
pub(super) fn tell(settings: &Settings, story: &Story, faults: u32, stop: &Stop) -> Result<(), Failure> {
    let mut notes = Notes::open(&settings.state.join("faults.txt"), settings.is_kept)?;
    let mut lab = Lab::start(settings, stop)?;
    let cli = Cli::new(&lab, settings.tower)?;
    say("watching traffic while all is well");
    if stop.wait(HEALTHY) {
        return Err(stopped());
    }
    let stable = only_server(&lab.tally())?;
    let mut seconds: Vec<(Fault, f64)> =
        (0_usize..).zip(&notes.taken).map(|(nth, s)| (fault_of(nth), *s)).collect();
    let began = Instant::now();
    for number in seconds.len() as u32 + 1..=faults {
        let fault = fault_of(number as usize - 1);
        let story = Story { fault, ..story.clone() };
        let run = push_and_wait(&mut lab, &cli, settings, &story, stop)
            .map_err(|failure| failure.and_note(&format!("in fault {number} of {faults}: {}", fault.name)))?;
        let out = out_for(&run.release, &settings.state);
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        println!(
            "{number} of {faults} after {minutes:.1} min, {}: out for {out:.1} s; {}",
            fault.name,
            line_of(number, &run)
        );
        notes.add(out)?;
        seconds.push((fault, out));
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

/// The fault that is injected at that place, from 0.
fn fault_of(nth: usize) -> Fault {
    INJECTED[nth % INJECTED.len()]
}

/// For how many seconds users had a bad version: from its first bad answer to its last, before the shield; and not less
/// than from the moment at which its fault began, as its own log says, to the one from which it got no request. A
/// version that died or hung at its first request gave one bad answer, or none.
fn out_for(release: &TakenBack, state: &Path) -> f64 {
    let span = release.exposure.map_or(0.0, |time| time.as_secs_f64());
    let since_fault = began_ms(&state.join("data/run/csac-portal"))
        .zip(ms_of_day(&release.rolled_back_at))
        .map(|(began, back)| (back - began % DAY_MS).rem_euclid(DAY_MS) / 1000.0)
        // Before midnight and after, or a fault that began only after it was off, at a request that was under way.
        .filter(|seconds| *seconds < DAY_MS / 2000.0);
    span.max(since_fault.unwrap_or(0.0))
}

/// When the fault of the instance that was started last began, in milliseconds since 1970; `None`: it did not.
fn began_ms(runs: &Path) -> Option<f64> {
    let names =
        std::fs::read_dir(runs).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let last = names.filter_map(|name| name.strip_prefix("i-")?.parse::<u64>().ok()).max()?;
    let log = std::fs::read_to_string(runs.join(format!("i-{last}/out.log"))).ok()?;
    let line = log.lines().find_map(|line| line.split_once("the fault begins at "))?;
    line.1.split(' ').next()?.parse().ok()
}

/// Milliseconds since midnight of `2026-11-22T20:58:06.758Z`.
fn ms_of_day(moment: &str) -> Option<f64> {
    let time = moment.split_once('T')?.1.trim_end_matches('Z');
    let mut parts = time.split(':');
    let mut next = || parts.next()?.parse::<f64>().ok();
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1000.0)
}

/// What was measured so far, one number of seconds a line, so that a run that is broken off need not begin anew.
struct Notes {
    file: File,
    /// Of an earlier run.
    taken: Vec<f64>,
}

impl Notes {
    fn open(path: &Path, is_kept: bool) -> Result<Self, Failure> {
        let before = if is_kept { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
        let taken: Vec<f64> = before.lines().map_while(|line| line.parse().ok()).collect();
        let mut file = File::create(path).trying(format!("write `{}`", path.display()))?;
        for seconds in &taken {
            writeln!(file, "{seconds}").trying("note what was measured before")?;
        }
        if !taken.is_empty() {
            say(&format!("{} faults of an earlier run are counted", taken.len()));
        }
        Ok(Self { file, taken })
    }

    fn add(&mut self, seconds: f64) -> Result<(), Failure> {
        writeln!(self.file, "{seconds}").trying("note what was measured")
    }
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
    fn a_version_is_out_from_its_fault_on_also_over_midnight() {
        let state = std::env::temp_dir().join(format!("hmsops-faults-{}", std::process::id()));
        let run = |n: u32| state.join(format!("data/run/csac-portal/i-{n}"));
        for n in [9, 10] {
            std::fs::create_dir_all(run(n)).unwrap();
        }
        // One second before midnight.
        std::fs::write(run(10).join("out.log"), "listening\nthe fault begins at 1763855999000 ms\n").unwrap();
        std::fs::write(run(9).join("out.log"), "the fault begins at 5 ms\n").unwrap();
        let release = |back: &str, exposure: Option<u64>| TakenBack {
            id: "r-1".into(),
            state: "rolled-back".into(),
            weight_bp: 0.0,
            exposure: exposure.map(Duration::from_millis),
            rolled_back_at: back.into(),
            seen: 0.0,
            is_closed: true,
            why: String::new(),
        };
        let out = |back, exposure| out_for(&release(back, exposure), &state);
        assert!((out("2025-11-23T00:00:01.500Z", Some(700)) - 2.5).abs() < 1e-9);
        assert!((out("2025-11-23T00:00:01.500Z", Some(9000)) - 9.0).abs() < 1e-9);
        assert!(out("2025-11-22T23:59:58.900Z", None).abs() < 1e-9, "it was off before");
        assert!((out("", Some(700)) - 0.7).abs() < 1e-9);
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_run_that_was_broken_off_is_gone_on_with() {
        let path = std::env::temp_dir().join(format!("hmsops-notes-{}", std::process::id()));
        let mut notes = Notes::open(&path, true).unwrap();
        notes.add(1.5).unwrap();
        notes.add(0.0).unwrap();
        let mut notes = Notes::open(&path, true).unwrap();
        assert_eq!(notes.taken, [1.5, 0.0]);
        notes.add(2.0).unwrap();
        assert_eq!(Notes::open(&path, true).unwrap().taken, [1.5, 0.0, 2.0]);
        assert!(Notes::open(&path, false).unwrap().taken.is_empty());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn quantiles_are_of_the_sorted() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.99), Some(99.0));
        assert_eq!(quantile(&sorted, 1.0), Some(100.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
