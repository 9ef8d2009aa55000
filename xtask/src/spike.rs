//! `cargo xtask spike`: ever more requests with a bad version among them. It is taken back, and all else goes on.

mod course;
mod figures;
mod ground;
mod verdict;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::peers;
use crate::checkout;
use crate::chore::Chore;
use crate::failure::{Failure, Trying as _};
use crate::flags::Flags;
use crate::lab::settings::Settings;
use crate::lab::stop::{self, Stop};
use crate::load::closed;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "spike",
    summary: "800 to 9 000 requests a second over four minutes, with a bad version among them",
    help: "\
usage: cargo xtask spike [--short] [OPTION…]

Starts a real tower with its gateway before real servers (nginx), releases a version at 1 %, and lets users come: 800
requests a second, in a straight line to 9 000 after four minutes, on two cores with all that makes and takes them. Half
way the new version begins to fail every user, its probe green. Meanwhile programs emit metrics, a rule watches the traffic,
somebody looks at the pages, and another service is asked through the same gateway. Exits 0 only if the release is taken
back in time, no idempotent request fails, and all the rest goes on.

  --short          as fast as this machine lets it: in 24 s, to 0.6 × what a bare forwarder can do here, at most to
                   9 000; with the program that is built for tests
  --to N           requests a second at the end (9 000; with --short: as above)
  --seconds N      how long the ramp takes (240; with --short: 24)
  --seed N         of the traffic (1)
  --program F      an hmsops that is built already
  --forwarder F    a bare forwarder that is built already (with --short)
  --state DIR      where its files are (a folder of its own below lab/.state)
  --keep           do not remove the folder afterwards

example: cargo xtask spike --to 6000 --seconds 60
",
    run,
};

/// The chapter's numbers.
const FROM: f64 = 800.0;
const TO: f64 = 9000.0;
const SECONDS: u64 = 240;
const SECONDS_SHORT: u64 = 24;
/// What of a bare forwarder's speed must be held with everything else on the same two cores: each try, because machines
/// that run this do other things besides. A load that was late shows nothing and is tried again, the last time with less.
const SHARES_OF_BARE: [f64; 3] = [0.6, 0.6, 0.4];
/// How the bare forwarder is measured: users at a time, requests before, and for how long.
const BARE_USERS: usize = 32;
const BARE_WARM_UP: u64 = 4000;
const BARE_SECONDS: f64 = 3.0;

/// How steep it is.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Requests a second at the beginning, and at the end.
    from: f64,
    to: f64,
    /// What the ramp takes.
    over: Duration,
    /// Of the traffic.
    seed: u64,
}

fn run(args: &[String]) -> Result<(), Failure> {
    let options = ["--to", "--seconds", "--seed", "--program", "--forwarder", "--state"];
    let flags = Flags::read(args, &["--short", "--keep", "--inside"], &options, 0)?;
    let is_short = flags.has("--short");
    if flags.has("--forwarder") && !is_short {
        return Err(Failure::usage("`--forwarder` goes with --short")
            .hint("without it the end of the ramp is given: --to N"));
    }
    let seconds = flags.number("--seconds", if is_short { SECONDS_SHORT } else { SECONDS }, 10..=3600)?;
    let to = flags.text("--to").map(|_| flags.number("--to", TO, 20.0..=20_000.0)).transpose()?;
    let seed = flags.number("--seed", 1, 0..=u64::MAX)?;
    let mut settings = settings(&flags)?;
    // The outer process only waits and turns signals into a file that the inner one looks at.
    if !flags.has("--inside") {
        std::fs::create_dir_all(&settings.state).trying(format!("make `{}`", settings.state.display()))?;
        return Err(stop::run_inside(CHORE.name, &settings.state, args));
    }
    let programs = programs(&flags, is_short)?;
    settings.program = crate::lab::settings::Program::At(programs.hmsops.clone());
    on_two_cores()?;
    let stop = Stop::new(&settings.state);
    let over = Duration::from_secs(seconds);
    let scale = |to: f64| Scale { from: FROM * to / TO, to, over, seed };
    let outcome = attempt(&settings, &programs, &stop, scale, to.or((!is_short).then_some(TO)));
    if outcome.is_ok() && !settings.is_kept {
        std::fs::remove_dir_all(&settings.state).trying(format!("remove `{}`", settings.state.display()))?;
    }
    outcome.map_err(|failure| failure.and_note(&format!("its files are in `{}`", settings.state.display())))
}

/// Tries until the load was in time, a few times; what was late shows nothing.
fn attempt(
    settings: &Settings,
    programs: &Programs,
    stop: &Stop,
    scale: impl Fn(f64) -> Scale,
    to: Option<f64>,
) -> Result<(), Failure> {
    let last = SHARES_OF_BARE.len() - 1;
    for (number, share) in SHARES_OF_BARE.into_iter().enumerate() {
        let to = to.map_or_else(|| end_of_ramp(&programs.forwarder, share), Ok)?;
        let ride = course::tell(settings, &programs.hmsops, scale(to), stop)?;
        match verdict::judge(&ride) {
            Err(failure) if number < last && verdict::is_late(&ride) => {
                eprintln!("{failure}\n     the load was late, which shows nothing: once more");
            }
            outcome => return outcome,
        }
    }
    Ok(())
}

/// Runs `cargo xtask spike` with these arguments as a process of its own, so that Ctrl-C reaches its clean-up.
pub(crate) fn check(args: &[String]) -> Result<(), Failure> {
    let program = std::env::current_exe().trying("find our own program")?;
    checkout::run(Command::new(program).arg(CHORE.name).args(args))
}

/// Where all is, on ports of its own.
fn settings(flags: &Flags) -> Result<Settings, Failure> {
    let own = || {
        let folder = checkout::root().join(format!("lab/.state/spike-{}", std::process::id()));
        folder.to_string_lossy().into_owned()
    };
    let state = flags.text("--state").map_or_else(own, str::to_owned);
    let mut args = vec!["--check".to_owned(), "--state".to_owned(), state];
    args.extend(flags.has("--keep").then(|| "--keep".to_owned()));
    Settings::read(&args)
}

/// What is run.
struct Programs {
    hmsops: PathBuf,
    forwarder: PathBuf,
}

/// Builds what is not given.
fn programs(flags: &Flags, is_short: bool) -> Result<Programs, Failure> {
    let given = |name: &str| {
        let path = flags.text(name).map(std::path::absolute);
        path.transpose().trying(format!("understand `{name}`"))
    };
    let build = |words: &[&str]| -> Result<PathBuf, Failure> {
        let profile: &[&str] = if is_short { &[] } else { &["--release"] };
        checkout::run(checkout::cargo().args(["build", "--locked"]).args(words).args(profile))?;
        let target = checkout::metadata()?.text_at("target_directory").to_owned();
        Ok(Path::new(&target).join(if is_short { "debug" } else { "release" }))
    };
    let hmsops = match given("--program")? {
        Some(program) => program,
        None => build(&["--package", "hmsops"])?.join("hmsops"),
    };
    let forwarder = match given("--forwarder")? {
        Some(program) => program,
        // Of both only what the same profile makes can be compared; the long run's end is given.
        None if is_short && !flags.has("--to") => {
            // As the tests of the whole workspace have built it already.
            build(&["--workspace", "--example", "forwarder"])?.join("examples/forwarder")
        }
        None => PathBuf::new(),
    };
    Ok(Programs { hmsops, forwarder })
}

/// Keeps this process, and all that it starts, on the first two cores it may use.
fn on_two_cores() -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().trying("count the cores")?.get();
    if cores <= 2 {
        return Ok(());
    }
    let status = std::fs::read_to_string("/proc/self/status").trying("read `/proc/self/status`")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0-1");
    let two = first_two(allowed.trim());
    let id = std::process::id().to_string();
    let mut taskset = Command::new("taskset");
    taskset.args(["--pid", "--cpu-list", &two, &id]).stdout(Stdio::null());
    checkout::run(&mut taskset).map_err(|failure| failure.hint("Debian: apt-get install util-linux"))?;
    eprintln!("     all of it runs on the cores {two} of {cores}");
    Ok(())
}

/// The first two of a list as `taskset` writes it: of `0-3,8` it is `0,1`.
fn first_two(list: &str) -> String {
    let cores = list.split(',').flat_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let bound = |text: &str| text.trim().parse::<u32>().unwrap_or(0);
        bound(from)..=bound(to)
    });
    let two: Vec<String> = cores.take(2).map(|core| core.to_string()).collect();
    two.join(",")
}

/// Requests a second that the ramp ends at: a share of what a bare forwarder does here.
fn end_of_ramp(forwarder: &Path, share: f64) -> Result<f64, Failure> {
    let ground = peers::Ground::new("spike", false)?;
    let _upstream = ground.upstream()?;
    let bare = ground.bare(forwarder)?;
    let plan = |requests| closed::Plan {
        server: ([127, 0, 0, 1], bare.port).into(),
        users: BARE_USERS,
        requests,
        bodies: ["stable", "canary"].map(peers::body),
        timeout: Duration::from_secs(10),
    };
    let measure = |requests: u64| -> Result<f64, Failure> {
        let began = Instant::now();
        let count = closed::Users::start(&plan(requests))?.finish();
        match count.failures() {
            0 => Ok(requests as f64 / began.elapsed().as_secs_f64()),
            failures => Err(Failure::new(format!("the bare forwarder failed {failures} requests"))),
        }
    };
    let rough = measure(BARE_WARM_UP)?;
    let most = measure((rough * BARE_SECONDS) as u64)?;
    let to = share * most.min(TO / SHARES_OF_BARE[0]);
    println!("a bare forwarder does {most:.0} requests a second here: the ramp ends at {to:.0}");
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_are_the_first_two_that_are_allowed() {
        for (list, two) in [("0-3", "0,1"), ("5", "5"), ("2,7-9", "2,7"), ("0-1,4", "0,1")] {
            assert_eq!(first_two(list), two);
        }
    }
}
