//! The lab's story without a person: healthy, a bad build is pushed, it is taken back, everything is as before.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::release::{Cli, TakenBack};
use super::running::{Lab, STABLE, Stopped, stopped};
use super::settings::{Limit, Settings, Story, Teller};
use super::stop::{Stop, Waited};
use super::{faults, kills, photo};
use crate::checkout;
use crate::failure::{Failure, Trying as _};
use crate::http;
use crate::load::tally::Tally;

/// How long traffic is watched before anything is pushed.
const HEALTHY: Duration = Duration::from_secs(4);
/// How long it is watched after each rollback.
const SETTLED: Duration = Duration::from_secs(2);
/// The chapter's promise is 30 seconds; a wait for evidence at little traffic may take longer, and then fails its limit.
const ROLLBACK_TIMEOUT: Duration = Duration::from_mins(1);
/// From the rollback's line until no request waits for the canary and its numbers are final.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);
/// The chapter's line.
const ROLLBACK_LINE: &str = "Rollback to csac-portal:1.7.3 completed";
/// What the public status page says afterwards.
const RESOLVED: &str = "Service Degradation Resolved";

/// One push and what came of it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) release: TakenBack,
    /// From the return of `hmsops deploy` to the rollback's line in the log.
    until_line: Duration,
    /// Log-ins of users that failed, which nothing can shield.
    failed_posts: u64,
}

/// Tells the story; a failure says what did not happen.
pub(crate) fn run(settings: &Settings, story: &Story) -> Result<(), Failure> {
    let stop = Stop::new(&settings.state);
    let outcome = match (story.service, story.kills) {
        (Teller::Photo, _) => photo::tell(settings, &stop),
        (Teller::Portal, Some(kills)) => kills::tell(settings, kills, &stop),
        (Teller::Portal, None) => match story.faults {
            Some(faults) => faults::tell(settings, story, faults, &stop),
            None => tell(settings, story, &stop),
        },
    };
    if outcome.is_ok() && !settings.is_kept {
        std::fs::remove_dir_all(&settings.state).trying(format!("remove `{}`", settings.state.display()))?;
    }
    outcome.map_err(|failure| {
        failure.and_note(&format!("the lab's files are in `{}`", settings.state.display()))
    })
}

fn tell(settings: &Settings, story: &Story, stop: &Stop) -> Result<(), Failure> {
    let mut lab = Lab::start(settings, stop)?;
    let cli = Cli::new(&lab, settings.tower)?;
    say("watching traffic while all is well");
    if stop.wait(HEALTHY) {
        return Err(stopped());
    }
    let healthy = lab.tally();
    if healthy.failed() > 0 || healthy.ok == 0 {
        return Err(lab.failure(format!("requests failed before anything was pushed:\n{healthy}")));
    }
    let stable = only_server(&healthy)?;
    let mut runs = Vec::new();
    for number in 1..=story.runs {
        let run = push_and_wait(&mut lab, &cli, settings, story, stop)
            .map_err(|failure| failure.and_note(&format!("in run {number} of {}", story.runs)))?;
        println!("{}", line_of(number, &run));
        runs.push(run);
        settle(&lab, &stable, stop)?;
    }
    let seen: f64 = runs.iter().map(|run| run.release.seen).sum();
    verify_pages(&lab, settings, seen > 0.0)?;
    say(&format!("audit: {}", cli.verify_ledger()?));
    let Stopped { tally, photos, processes } = lab.stop()?;
    say(&format!("stopped {processes}"));
    verify_traffic(&tally, &stable)?;
    if photos.failed() > 0 || photos.ok == 0 {
        return Err(Failure::new(format!("users of another service were hit:\n{photos}")));
    }
    verify_limit(story, &runs)?;
    println!("idempotent requests failed: 0 of {}; log-ins failed: {}", tally.sent, tally.other.count);
    println!("lab --check: all of it happened");
    Ok(())
}

/// Pushes one bad build and waits until the tower says that it is off.
pub(super) fn push_and_wait(
    lab: &mut Lab,
    cli: &Cli,
    settings: &Settings,
    story: &Story,
    stop: &Stop,
) -> Result<Run, Failure> {
    lab.read_log();
    let said = lab.lines.len();
    let before = lab.tally();
    say(&format!("pushing a bad build: {}", story.fault.name));
    let mut push = Command::new(checkout::root().join("lab/scripts/push_bad_build.sh"));
    push.args(["--fault", story.fault.name, "--file", story.fault.file]);
    push.args(story.fault.after.iter().flat_map(|after| ["--after", after]));
    push.env("HMSOPS_LAB_STATE", &settings.state).stdout(Stdio::null());
    checkout::run(cli.prepare(&mut push))?;
    let pushed = Instant::now();
    let mut line = None;
    let waited = stop.wait_for(ROLLBACK_TIMEOUT, || {
        lab.read_log();
        line = lab.lines[said..].iter().find(|line| line.contains(ROLLBACK_LINE)).cloned();
        line.is_some()
    });
    let until_line = pushed.elapsed();
    match (line, waited) {
        (Some(line), _) => println!("{line}"),
        (None, Waited::Stopped) => return Err(stopped()),
        (None, _) => {
            return Err(lab.failure(format!("no `{ROLLBACK_LINE}` in {} s", ROLLBACK_TIMEOUT.as_secs())));
        }
    }
    let id = cli.latest_release()?;
    let mut release = cli.release(&id)?;
    // The last numbers are final when no request waits for the canary any more.
    let closed = stop.wait_for(CLOSE_TIMEOUT, || {
        release.is_closed
            || cli.release(&id).is_ok_and(|newer| {
                release = newer;
                release.is_closed
            })
    });
    if !matches!(closed, Waited::Held) {
        return Err(lab.failure(format!("{id} was not closed within {} s", CLOSE_TIMEOUT.as_secs())));
    }
    if release.weight_bp != 0.0 {
        return Err(Failure::new(format!(
            "the canary of {} still has weight {}",
            release.id, release.weight_bp
        )));
    }
    let failed_posts = lab.tally().other.count - before.other.count;
    Ok(Run { release, until_line, failed_posts })
}

pub(super) fn line_of(number: u32, run: &Run) -> String {
    let exposure =
        run.release.exposure.map_or("it gave none".into(), |time| format!("{:.1} s", time.as_secs_f64()));
    format!(
        "run {number}: first bad answer → last bad answer: {exposure}; pushed → taken back: {:.1} s; log-ins failed: {}\n       {} {}: {}",
        run.until_line.as_secs_f64(),
        run.failed_posts,
        run.release.id,
        run.release.state,
        run.release.why,
    )
}

/// Watches traffic after a rollback: all of it must be back on the version it came from.
pub(super) fn settle(lab: &Lab, stable: &str, stop: &Stop) -> Result<(), Failure> {
    let before = lab.tally();
    if stop.wait(SETTLED) {
        return Err(stopped());
    }
    let served = lab.tally().served_since(&before);
    if served.len() == 1 && served.contains_key(stable) {
        Ok(())
    } else {
        Err(lab
            .failure(format!("after the rollback traffic is served by {served:?}, not only by `{stable}`")))
    }
}

/// The one process that serves; there must be one.
pub(super) fn only_server(tally: &Tally) -> Result<String, Failure> {
    let mut servers = tally.served_by.keys();
    match (servers.next(), servers.next()) {
        (Some(server), None) if server.starts_with(STABLE) => Ok(server.clone()),
        _ => Err(Failure::new(format!(
            "traffic is served by {:?} and not by one 1.7.3",
            tally.served_by.keys()
        ))),
    }
}

/// The public page says that it is over, if there was anything: users that saw no failure are not told of one.
fn verify_pages(lab: &Lab, settings: &Settings, is_affected: bool) -> Result<(), Failure> {
    let page = http::get(settings.tower, "/status", None, Duration::from_secs(5))
        .map_err(|broken| lab.failure(format!("the status page gave {}", broken.as_str())))?;
    match (is_affected, page.text().contains(RESOLVED)) {
        (true, true) => say(&format!("status page: {RESOLVED}")),
        (false, false) => say("status page: nothing to tell, because no user saw a failure"),
        (true, false) => return Err(lab.failure(format!("the status page does not say `{RESOLVED}`"))),
        (false, true) => return Err(lab.failure("the status page tells of failures that no user saw")),
    }
    Ok(())
}

/// No idempotent request failed, none was left out, and stable is the process it was.
pub(super) fn verify_traffic(tally: &Tally, stable: &str) -> Result<(), Failure> {
    if tally.idempotent.count > 0 {
        return Err(Failure::new(format!("idempotent requests of users failed: {}", tally.idempotent)));
    }
    if tally.unsent > 0 {
        return Err(Failure::new(format!(
            "{} requests could not be sent: this machine is too busy to tell",
            tally.unsent
        )));
    }
    match tally.served_by.keys().find(|server| server.starts_with(STABLE) && *server != stable) {
        Some(other) => Err(Failure::new(format!("stable was `{stable}` and became `{other}`"))),
        None => Ok(()),
    }
}

/// The promised time for this fault.
fn verify_limit(story: &Story, runs: &[Run]) -> Result<(), Failure> {
    let mut seconds: Vec<f64> =
        runs.iter().filter_map(|run| run.release.exposure).map(|time| time.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let (Some(longest), Some(median)) = (seconds.last(), seconds.get(seconds.len() / 2)) else {
        // A version whose health alone fails can be off before it has answered anybody badly. Others cannot.
        if story.fault.name == "probe" {
            println!("first bad answer → last bad answer: none of {} gave one before it was off", runs.len());
            return Ok(());
        }
        return Err(Failure::new("the canary gave no bad answer, so nothing was shown"));
    };
    let (found, limit, name) = match story.fault.limit {
        Limit::Each(limit) => (*longest, limit, "longest"),
        Limit::Median(limit) => (*median, limit, "median"),
    };
    println!(
        "first bad answer → last bad answer: {found:.1} s ({name} of {}, at most {limit} s)",
        seconds.len()
    );
    if found <= limit {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "`{}` took {found:.1} s from the first bad answer to the last, more than {limit} s",
            story.fault.name
        )))
    }
}

pub(super) fn say(what: &str) {
    eprintln!("     {what}");
}
