//! What a lab is asked to be.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::checkout;
use crate::chore;
use crate::failure::{Failure, Trying as _};
use crate::flags::Flags;

/// A unix socket below the state folder must fit into 107 bytes; this leaves room for its name.
const STATE_BYTES_MAX: usize = 80;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Task {
    /// Run for a person.
    Up,
    /// Run the story alone.
    Check(Story),
    /// End a lab.
    Down,
}

/// The story that `--check` tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Story {
    /// What is wrong with the bad build.
    pub(crate) fault: Fault,
    /// How many bad builds are pushed.
    pub(crate) runs: u32,
    /// How often the tower is killed while a good build goes out, instead; `None`: bad builds it is.
    pub(crate) kills: Option<u32>,
    /// How many faults of all hard kinds are injected one after the other, instead of one kind.
    pub(crate) faults: Option<u32>,
    /// Whose story it is.
    pub(crate) service: Teller,
}

/// Whose story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    /// A bad build of the portal is pushed and taken back.
    Portal,
    /// Uploads of photos begin to fail: an alert fires, and heals.
    Photo,
}

/// How soon a bad build must be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    /// Each run, in seconds.
    Each(f64),
    /// The median of all runs, in seconds.
    Median(f64),
}

/// A fault of the bad build, and what is promised about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fault {
    /// As `lab/portal/portal.py` calls it.
    pub(crate) name: &'static str,
    /// The release file, from the lab's repository.
    pub(crate) file: &'static str,
    /// When it begins, as the script calls it; `None`: the script's default.
    pub(crate) after: Option<&'static str>,
    /// From the canary's first bad answer to its last.
    pub(crate) limit: Limit,
}

/// The promised times hold at 200 requests a second and the file's first weight.
const FAULTS: [Fault; 6] = [
    Fault { name: "login", file: "dev/cd/canary.yaml", after: None, limit: Limit::Each(5.0) },
    Fault { name: "dead", file: "dev/cd/canary.yaml", after: None, limit: Limit::Each(5.0) },
    Fault { name: "hang", file: "dev/cd/canary.yaml", after: None, limit: Limit::Each(5.0) },
    Fault { name: "probe", file: "dev/cd/canary.yaml", after: None, limit: Limit::Each(5.0) },
    Fault { name: "errors", file: "dev/cd/canary.yaml", after: None, limit: Limit::Median(3.0) },
    Fault { name: "five-percent", file: "dev/cd/canary-25.yaml", after: None, limit: Limit::Each(20.0) },
];

/// Which hmsops a lab runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Program {
    /// One that is built already.
    At(PathBuf),
    /// The one of this checkout.
    Built {
        /// Whether it is built with optimisation.
        is_optimised: bool,
        /// Whether the live parts of its pages are built, too.
        has_ui: bool,
    },
}

/// A lab's settings, complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// What to do.
    pub(crate) task: Task,
    /// Where all its files are; absolute.
    pub(crate) state: PathBuf,
    /// The tower's address.
    pub(crate) tower: SocketAddr,
    /// The portal's gateway.
    pub(crate) gateway: SocketAddr,
    /// The photo service's gateway.
    pub(crate) photo_gateway: SocketAddr,
    /// Where the tower takes what services emit.
    pub(crate) grpc: SocketAddr,
    /// Requests a second to the portal.
    pub(crate) rate: f64,
    /// Photos a second.
    pub(crate) photo_rate: f64,
    /// Of the traffic.
    pub(crate) seed: u64,
    /// Whether data of an earlier lab, or of this check, stays.
    pub(crate) is_kept: bool,
    /// Which hmsops it is.
    pub(crate) program: Program,
    /// Whether we are the inner process, see `stop`.
    pub(crate) is_inside: bool,
}

/// Options without a value.
const SWITCHES: [&str; 5] = ["--check", "--keep", "--release", "--inside", "--no-ui"];
/// Options with one.
const OPTIONS: [&str; 11] = [
    "--fault",
    "--runs",
    "--kills",
    "--faults",
    "--story",
    "--rate",
    "--photo-rate",
    "--seed",
    "--port-base",
    "--state",
    "--program",
];

impl Settings {
    /// From the chore's arguments.
    pub(crate) fn read(args: &[String]) -> Result<Self, Failure> {
        let flags = Flags::read(args, &SWITCHES, &OPTIONS, 1)?;
        let task = task(&flags)?;
        let is_check = matches!(task, Task::Check(_));
        let default_state = if is_check { format!("check-{}", std::process::id()) } else { String::new() };
        let state = match flags.text("--state") {
            Some(state) => absolute("--state", state)?,
            None => checkout::root().join("lab/.state").join(default_state).components().collect(),
        };
        if state.as_os_str().len() > STATE_BYTES_MAX {
            let state = state.display();
            return Err(Failure::new(format!(
                "the folder `{state}` has too long a path for the sockets in it"
            ))
            .hint(format!("--state DIR with a path of at most {STATE_BYTES_MAX} bytes")));
        }
        let port_base: u16 = flags.number("--port-base", 0, 1..=65_532)?;
        let [tower, gateway, photo_gateway, grpc] = match port_base {
            0 if is_check => free_ports()?,
            0 => [3000, 8080, 8081, 4317],
            base => [base, base + 1, base + 2, base + 3],
        };
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self {
            task,
            state,
            tower: at(tower),
            gateway: at(gateway),
            photo_gateway: at(photo_gateway),
            grpc: at(grpc),
            rate: flags.number("--rate", 200.0, 0.1..=20_000.0)?,
            photo_rate: flags.number("--photo-rate", 2.0, 0.1..=1000.0)?,
            seed: flags.number("--seed", 1, 0..=u64::MAX)?,
            is_kept: flags.has("--keep"),
            program: match flags.text("--program") {
                Some(program) => Program::At(absolute("--program", program)?),
                None => {
                    Program::Built { is_optimised: flags.has("--release"), has_ui: !flags.has("--no-ui") }
                }
            },
            is_inside: flags.has("--inside"),
        })
    }
}

fn absolute(option: &str, path: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(path).trying(format!("understand `{option} {path}`"))
}

fn task(flags: &Flags) -> Result<Task, Failure> {
    let fault = flags.text("--fault").unwrap_or("login");
    let fault = FAULTS.into_iter().find(|known| known.name == fault).ok_or_else(|| {
        let names: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        let failure = Failure::usage(format!("unknown fault `{fault}`"));
        match chore::nearest(fault, names.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("faults are {}", names.join(", "))),
        }
    })?;
    let runs = flags.number("--runs", 1, 1..=1000)?;
    let kills = flags.has("--kills").then(|| flags.number("--kills", 20, 1..=1000)).transpose()?;
    let faults = flags.has("--faults").then(|| flags.number("--faults", 20, 1..=10_000)).transpose()?;
    let own = ["--fault", "--runs", "--kills", "--faults"];
    let service = match flags.text("--story") {
        None | Some("portal") => Teller::Portal,
        Some("photo") if own.iter().any(|option| flags.has(option)) => {
            return Err(Failure::usage("`--story photo` has no --fault, --runs, --kills or --faults")
                .hint("those are of the portal's story"));
        }
        Some("photo") => Teller::Photo,
        Some(other) => {
            return Err(Failure::usage(format!("unknown story `{other}`")).hint("stories are portal, photo"));
        }
    };
    let task = match flags.words.first().map(String::as_str) {
        None if flags.has("--check") => Task::Check(Story { fault, runs, kills, faults, service }),
        None => Task::Up,
        Some("down") => Task::Down,
        Some(word) => {
            return Err(
                Failure::usage(format!("unexpected argument `{word}`")).hint("cargo xtask lab, or lab down")
            );
        }
    };
    for option in own.iter().chain(&["--story"]) {
        if flags.has(option) && !matches!(task, Task::Check(_)) {
            return Err(Failure::usage(format!("`{option}` goes with --check"))
                .hint("in a running lab: lab/scripts/push_bad_build.sh --fault FAULT"));
        }
    }
    Ok(task)
}

/// Ports that nobody listens on at this moment.
fn free_ports() -> Result<[u16; 4], Failure> {
    // All are held until the last is found, so that none is offered twice.
    let mut held = Vec::new();
    let mut ports = [0; 4];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).trying("find a free port")?;
        *port = listener.local_addr().trying("read a port")?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Settings, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Settings::read(&args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_lab_for_a_person_has_the_chapters_port() {
        let settings = read("").unwrap();
        assert_eq!(settings.task, Task::Up);
        assert_eq!((settings.tower.port(), settings.gateway.port()), (3000, 8080));
        assert_eq!(settings.state, checkout::root().join("lab/.state"));
        let settings = read("--port-base 4000 --state lab-of-mine").unwrap();
        assert_eq!((settings.tower.port(), settings.gateway.port()), (4000, 4001));
        assert_eq!((settings.photo_gateway.port(), settings.grpc.port()), (4002, 4003));
        assert!(settings.state.is_absolute() && settings.state.ends_with("lab-of-mine"));
    }

    #[test]
    fn two_checks_do_not_meet() {
        let (one, other) = (read("--check").unwrap(), read("--check --fault dead --runs 10").unwrap());
        assert_ne!(one.tower, one.gateway);
        assert!(one.state.to_string_lossy().contains("check-"));
        let Task::Check(story) = other.task else { panic!("{other:?}") };
        assert_eq!((story.fault.name, story.runs, story.service), ("dead", 10, Teller::Portal));
        let Task::Check(story) = read("--check --story photo").unwrap().task else { panic!() };
        assert_eq!(story.service, Teller::Photo);
    }

    #[test]
    fn each_mistake_is_named() {
        for (line, message) in [
            ("--check --fault ded", "error: unknown fault `ded`\nhint: did you mean `dead`?"),
            ("up", "error: unexpected argument `up`\nhint: cargo xtask lab, or lab down"),
            ("--port-base 70000", "error: `--port-base 70000` is not a number from 1 to 65532"),
            ("--rate 0", "error: `--rate 0` is not a number from 0.1 to 20000"),
            ("--rate NaN", "error: `--rate NaN` is not a number from 0.1 to 20000"),
        ] {
            assert_eq!(read(line).unwrap_err(), message);
        }
        assert!(read("--check --story photo --runs 2").unwrap_err().contains("has no --fault"));
        assert!(read("--runs 3").unwrap_err().starts_with("error: `--runs` goes with --check"));
        assert!(read(&format!("--state {}", "a/".repeat(60))).unwrap_err().contains("too long a path"));
    }
}
