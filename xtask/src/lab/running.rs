//! A lab that runs: built, started, under load, and stopped whatever happens.

use std::path::PathBuf;
use std::time::Duration;

use super::ground;
use super::processes::Processes;
use super::settings::Settings;
use super::stop::{Stop, Waited};
use super::tower::{Log, Tower};
use crate::checkout;
use crate::failure::{Failure, Trying as _};
use crate::http;
use crate::load::tally::Tally;
use crate::load::{Load, Plan};

/// What the portal calls itself while it serves; its pid follows.
pub(crate) const STABLE: &str = "csac-portal/1.7.3 ";
/// How long tower, gateway and portal may take to be there.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// A tower that ends sooner than this after its start will not do better next time.
const TOWER_LIFE_MIN: Duration = Duration::from_secs(3);

/// A running lab. Dropped, it stops everything it started.
#[derive(Debug)]
pub(crate) struct Lab {
    settings: Settings,
    program: PathBuf,
    tower: Tower,
    log: Log,
    load: Option<Load>,
    /// Every line the tower has said.
    pub(crate) lines: Vec<String>,
    /// How many of them `news` has handed out.
    told: usize,
    is_stopped: bool,
}

impl Lab {
    /// Builds, lays out and starts everything; says what it is doing.
    pub(crate) fn start(settings: &Settings, stop: &Stop) -> Result<Self, Failure> {
        for (name, address) in [("tower", settings.tower), ("gateway", settings.gateway)] {
            std::net::TcpListener::bind(address).map_err(|error| {
                Failure::new(format!("the {name}'s address {address} cannot be used: {error}"))
                    .hint("cargo xtask lab --port-base N puts the tower on N and the gateway on N + 1")
            })?;
        }
        if settings.program.is_none() {
            eprintln!("1/5  building hmsops (the first time takes some minutes)");
        }
        let program = build(settings)?;
        eprintln!("2/5  laying out `{}`", settings.state.display());
        ground::lay_out(settings)?;
        eprintln!("3/5  starting the tower on {}", settings.tower);
        let mut lab = Self {
            settings: settings.clone(),
            tower: Tower::start(settings, &program)?,
            program,
            log: Log::new(&settings.state),
            load: None,
            lines: Vec::new(),
            told: 0,
            is_stopped: false,
        };
        lab.wait_until_ready(stop)?;
        eprintln!("4/5  waiting for portal 1.7.3 behind the gateway on {}", settings.gateway);
        lab.wait_until_served(stop)?;
        let token = lab.token()?;
        ground::write_env(settings, &lab.program, &token)?;
        eprintln!("5/5  starting traffic: {} requests a second from 2000 users", settings.rate);
        lab.load = Some(Load::start(Plan::new(settings.gateway, settings.rate, settings.seed))?);
        Ok(lab)
    }

    /// The tower's process.
    pub(crate) fn tower_pid(&self) -> u32 {
        self.tower.pid()
    }

    /// Starts the tower anew, after it was killed.
    pub(crate) fn restart_tower(&mut self) -> Result<(), Failure> {
        self.tower.stop()?;
        self.tower = Tower::start(&self.settings, &self.program)?;
        Ok(())
    }

    /// Waits until the tower says that it is ready.
    pub(crate) fn wait_until_ready(&mut self, stop: &Stop) -> Result<(), Failure> {
        let address = self.settings.tower;
        let mut ended = None;
        let waited = stop.wait_for(START_TIMEOUT, || {
            ended = self.tower.ended();
            ended.is_some()
                || http::get(address, "/-/ready", None, Duration::from_secs(1))
                    .is_ok_and(|answer| answer.status == 200)
        });
        match (waited, ended) {
            (_, Some(status)) => Err(self.failure(format!("the tower ended at once: {status}"))),
            (Waited::Held, None) => Ok(()),
            (Waited::TimedOut, None) => Err(self.failure("the tower was not ready in 30 s")),
            (Waited::Stopped, None) => Err(stopped()),
        }
    }

    fn wait_until_served(&self, stop: &Stop) -> Result<(), Failure> {
        let mut last = String::from("nothing");
        let waited = stop.wait_for(START_TIMEOUT, || {
            match http::get(self.settings.gateway, "/", None, Duration::from_secs(1)) {
                Ok(answer) if answer.status == 200 && is_stable(answer.header("x-served-by")) => return true,
                Ok(answer) => last = format!("status {}", answer.status),
                Err(broken) => broken.as_str().clone_into(&mut last),
            }
            false
        });
        match waited {
            Waited::Held => Ok(()),
            Waited::TimedOut => Err(self.failure(format!(
                "portal 1.7.3 was not served through the gateway in 30 s; last seen: {last}"
            ))),
            Waited::Stopped => Err(stopped()),
        }
    }

    /// The admin token of the lab's tower.
    pub(crate) fn token(&self) -> Result<String, Failure> {
        let path = self.settings.state.join("data/admin.token");
        let text = std::fs::read_to_string(&path).trying(format!("read `{}`", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The binary that was built.
    pub(crate) fn program(&self) -> &PathBuf {
        &self.program
    }

    /// What has come of the traffic so far.
    pub(crate) fn tally(&self) -> Tally {
        self.load.as_ref().map(Load::tally).unwrap_or_default()
    }

    /// Reads on in the tower's log.
    pub(crate) fn read_log(&mut self) {
        self.lines.extend(self.log.fresh_lines());
    }

    /// What the tower said since the last time that a person wants to see.
    pub(crate) fn news(&mut self) -> Vec<String> {
        self.read_log();
        let fresh = &self.lines[self.told..];
        let words = ["release", "rollback", "canary", "WARN", "ERROR"];
        let news =
            fresh.iter().filter(|line| words.iter().any(|word| line.contains(word))).cloned().collect();
        self.told = self.lines.len();
        news
    }

    /// Starts the tower again if it has ended, as a supervisor would; traffic goes on meanwhile.
    pub(crate) fn keep_tower(&mut self) -> Result<(), Failure> {
        let Some(status) = self.tower.ended() else { return Ok(()) };
        if self.tower.started.elapsed() < TOWER_LIFE_MIN {
            return Err(self.failure(format!("the tower ended at once: {status}")));
        }
        println!("tower  ended ({status}); users are served all the same; starting it again");
        self.tower = Tower::start(&self.settings, &self.program)?;
        Ok(())
    }

    /// What to do with it, for a person.
    pub(crate) fn welcome(&mut self) -> String {
        self.read_log();
        self.told = self.lines.len();
        let tower = self.settings.tower;
        let link = self.lines.iter().rev().flat_map(|line| line.split_whitespace());
        let link = link.filter(|word| word.starts_with("http")).find(|word| word.contains("login"));
        let program = self.program.display();
        let state = self.settings.state.display();
        let default = checkout::root().join("lab/.state");
        let shell = if self.settings.state == default {
            format!("eval \"$({program} lab env)\"")
        } else {
            format!(". '{state}/env'")
        };
        format!(
            "\nThe lab runs. Log in once with\n    {}\n\nIn another shell, from {}:\n    {shell}\n    lab/scripts/push_bad_build.sh      \
             push a bad build, and see it taken back\n    hmsops release list                what was released\n    hmsops audit verify                \
             is the ledger whole?\n    kill -9 {}                     the tower; users notice nothing\n\nStatus page  http://{tower}/status\n\
             Portal       http://{}/\nTower's log  {state}/tower.log\nCtrl-C stops everything.\n",
            link.map_or_else(
                || format!("http://localhost:{}/ (its link is in the log)", tower.port()),
                str::to_owned
            ),
            checkout::root().display(),
            self.tower.pid(),
            self.settings.gateway,
        )
    }

    /// A failure with the end of the tower's log.
    pub(crate) fn failure(&self, what: impl Into<String>) -> Failure {
        Failure::new(what).hint(self.log.tail())
    }

    /// Stops traffic, tower, gateway, shims and services; says what was sent and what was stopped.
    pub(crate) fn stop(mut self) -> Result<(Tally, String), Failure> {
        self.end()
    }

    fn end(&mut self) -> Result<(Tally, String), Failure> {
        self.is_stopped = true;
        let tally = self.load.take().map(Load::stop).unwrap_or_default();
        let tower = self.tower.stop()?;
        let rest = Processes::of(&self.settings.state).end(Duration::from_secs(12))?;
        ground::disown(&self.settings.state);
        let left = Processes::of(&self.settings.state);
        if !left.is_empty() {
            return Err(Failure::new(format!("still running after the lab was stopped: {left}")));
        }
        Ok((tally, format!("{tower}, {rest}")))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.is_stopped
            && let Err(failure) = self.end()
        {
            eprintln!("{failure}");
        }
    }
}

/// Whether an answer came from the good version.
pub(crate) fn is_stable(served_by: Option<&str>) -> bool {
    served_by.is_some_and(|server| server.starts_with(STABLE))
}

/// The failure of a lab that was asked to end before its story did.
pub(crate) fn stopped() -> Failure {
    Failure::new("the lab was asked to stop")
}

/// Builds the program and says where it is.
fn build(settings: &Settings) -> Result<PathBuf, Failure> {
    if let Some(program) = &settings.program {
        return Ok(program.clone());
    }
    let mut command = checkout::cargo();
    command.args(["build", "--package", "hmsops", "--locked"]);
    if settings.is_release_build {
        command.arg("--release");
    }
    checkout::run(&mut command)?;
    let metadata = checkout::metadata()?;
    let folder = if settings.is_release_build { "release" } else { "debug" };
    Ok(PathBuf::from(metadata.text_at("target_directory")).join(folder).join("hmsops"))
}
