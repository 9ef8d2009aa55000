//! `cargo xtask lab`: tower, gateway, portal and traffic on this machine, for a person or, with `--check`, alone.

mod check;
mod faults;
mod ground;
mod kills;
mod photo;
pub(crate) mod processes;
pub(crate) mod release;
mod running;
pub(crate) mod settings;
pub(crate) mod stop;
pub(crate) mod tower;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::checkout;
use crate::chore::Chore;
use crate::failure::{Failure, Trying as _};
use processes::Processes;
use running::Lab;
use settings::{Settings, Task};
use stop::Stop;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "lab",
    summary: "the two-minute lab: tower, gateway, portal and traffic on this machine",
    help: "\
usage: cargo xtask lab [down] [OPTION…]

Builds hmsops, starts tower, gateways, portal 1.7.3, the photo service dmv-photo 1.4.0 (its version before is
1.3.9) and users of both, and prints a one-time login link.
Ctrl-C, or `cargo xtask lab down` from elsewhere, stops everything it started.

  --check         the whole story without a person: start, push a bad build, wait for the rollback, verify, stop;
                  exits 0 only if all of it happened
  --story STORY   portal (default), or photo: uploads of photos fail, an alert fires, rolls back and ends healed
  --fault FAULT   what is wrong with the bad build: login (default), dead, hang, probe, errors, five-percent
  --runs N        push so many bad builds, one after the other, and print a table (1)
  --kills N       instead of bad builds: kill the tower so often during the rollout of a good one
  --faults N      instead of one kind: so many faults of all hard kinds in turn (dead, hanging, probe failing, all
                  answers errors with a green probe), and how long each kind was out: p50, p95, p99
  --rate N        requests a second to the portal (200)
  --photo-rate N  photos a second (2)
  --seed N        of the traffic (1)
  --port-base N   tower on N, gateways on N + 1 and N + 2, what services emit to N + 3 (3000, 8080, 8081, 4317;
                  with --check: any free ones)
  --state DIR     where the lab keeps its files (lab/.state; with --check: a folder of its own below it)
  --keep          go on with the data of the last lab there; with --check: do not remove the folder afterwards
  --program FILE  an hmsops that is built already
  --release       build with optimisation
  --no-ui         do not build the live parts of the pages (they need Node.js)

example: cargo xtask lab --check --fault dead --runs 10
",
    run,
};

fn run(args: &[String]) -> Result<(), Failure> {
    let settings = Settings::read(args)?;
    match settings.task {
        Task::Down => down(&settings),
        // The outer process only waits and turns signals into a file that the inner one looks at.
        Task::Up | Task::Check(_) if !settings.is_inside => {
            std::fs::create_dir_all(&settings.state)
                .trying(format!("make `{}`", settings.state.display()))?;
            Err(stop::run_inside(CHORE.name, &settings.state, args))
        }
        Task::Up => up(&settings),
        Task::Check(ref story) => check::run(&settings, story),
    }
}

/// Runs `cargo xtask lab` with these arguments as a process of its own, so that Ctrl-C reaches its clean-up.
pub(crate) fn check(args: &[String]) -> Result<(), Failure> {
    let program = std::env::current_exe().trying("find our own program")?;
    checkout::run(Command::new(program).arg("lab").args(args))
}

/// The lab for a person, until Ctrl-C.
fn up(settings: &Settings) -> Result<(), Failure> {
    let stop = Stop::new(&settings.state);
    let mut lab = Lab::start(settings, &stop)?;
    println!("{}", lab.welcome());
    let mut before = (lab.tally(), lab.photos());
    while !stop.wait(Duration::from_secs(5)) {
        for line in lab.news() {
            println!("tower  {line}");
        }
        lab.keep_tower()?;
        let now = (lab.tally(), lab.photos());
        println!("users  5 s: {}", now.0.line_since(&before.0));
        println!("photos 5 s: {}", now.1.line_since(&before.1));
        before = now;
    }
    let stopped = lab.stop()?;
    println!("\nstopped {}\n\ntraffic:\n{}\nphotos:\n{}", stopped.processes, stopped.tally, stopped.photos);
    Ok(())
}

/// Ends a lab that runs elsewhere, also one whose own process is gone.
fn down(settings: &Settings) -> Result<(), Failure> {
    let state = &settings.state;
    if !state.is_dir() {
        println!("no lab in `{}`", state.display());
        return Ok(());
    }
    if let Some(pid) = ground::owner(state) {
        println!("asking the lab (pid {pid}) to stop");
        stop::ask(state)?;
        let is_gone = || ground::owner(state).is_none();
        if !wait_for(Duration::from_secs(40), is_gone) {
            println!("it does not answer; ending what it started");
        }
    }
    let processes = Processes::of(state);
    if processes.is_empty() {
        println!("nothing of the lab in `{}` runs", state.display());
        return Ok(());
    }
    println!("stopped {}", processes.end(Duration::from_secs(12))?);
    Ok(())
}

/// Looks until something holds or the time is up; says whether it holds.
pub(crate) fn wait_for(timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = std::time::Instant::now() + timeout;
    loop {
        if holds() {
            return true;
        }
        if std::time::Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A path as text for a command line or a file.
fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
