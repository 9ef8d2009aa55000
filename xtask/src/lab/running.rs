//! A lab that runs: built, started, under load, and stopped whatever happens.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::processes::Processes;
use super::release::Cli;
use super::settings::{Program, Settings};
use super::stop::{Stop, Waited};
use super::tower::{Log, Tower};
use super::{ground, text_of};
use crate::checkout;
use crate::failure::{Failure, Trying as _};
use crate::http;
use crate::load::tally::Tally;
use crate::load::{Load, Mix, Plan};

/// What the portal calls itself while it serves; its pid follows.
pub(crate) const STABLE: &str = "csac-portal/1.7.3 ";
/// What yesterday's photo service calls itself.
pub(crate) const PHOTO: &str = "dmv-photo/1.4.0 ";
/// What the one before it calls itself.
pub(crate) const PHOTO_BEFORE: &str = "dmv-photo/1.3.9 ";
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
    photos: Option<Load>,
    /// Every line the tower has said.
    pub(crate) lines: Vec<String>,
    /// How many of them `news` has handed out.
    told: usize,
    is_stopped: bool,
}

impl Lab {
    /// Builds, lays out and starts everything; says what it is doing.
    pub(crate) fn start(settings: &Settings, stop: &Stop) -> Result<Self, Failure> {
        has_free_ports(settings)?;
        if matches!(settings.program, Program::Built { .. }) {
            eprintln!("1/6  building hmsops (the first time takes some minutes)");
        }
        let program = build(settings)?;
        eprintln!("2/6  laying out `{}`", settings.state.display());
        ground::lay_out(settings)?;
        eprintln!("3/6  starting the tower on {}", settings.tower);
        let mut lab = Self {
            settings: settings.clone(),
            tower: Tower::start(settings, &program)?,
            program,
            log: Log::new(&settings.state),
            load: None,
            photos: None,
            lines: Vec::new(),
            told: 0,
            is_stopped: false,
        };
        lab.wait_until_ready(stop)?;
        eprintln!("4/6  waiting for portal 1.7.3 behind the gateway on {}", settings.gateway);
        lab.wait_until_served(settings.gateway, "/", &[STABLE], stop)?;
        let token = lab.token()?;
        ground::write_env(settings, &lab.program, &token)?;
        ground::write_json(settings)?;
        eprintln!("5/6  releasing dmv-photo 1.4.0 behind the gateway on {}", settings.photo_gateway);
        lab.release_photo(stop)?;
        eprintln!(
            "6/6  starting traffic: {} requests and {} photos a second from 2000 users",
            settings.rate, settings.photo_rate
        );
        lab.load = Some(Load::start(Plan::new(settings.gateway, settings.rate, settings.seed))?);
        let mut photos = Plan::new(settings.photo_gateway, settings.photo_rate, settings.seed);
        photos.mix = Mix::Photo;
        lab.photos = Some(Load::start(photos)?);
        Ok(lab)
    }

    /// Makes yesterday's release of the photo service, so that there is a proven version to go back to.
    fn release_photo(&self, stop: &Stop) -> Result<(), Failure> {
        let gateway = self.settings.photo_gateway;
        let health = "/api/v1/health";
        self.wait_until_served(gateway, health, &[PHOTO_BEFORE, PHOTO], stop)?;
        // A lab that goes on with its data has made it already.
        if served_by(gateway, health).is_ok_and(|server| server.starts_with(PHOTO)) {
            return Ok(());
        }
        let cli = Cli::new(self, self.settings.tower)?;
        let file = text_of(&self.settings.state.join("repo/dev/cd/photo.yaml"));
        let mut deploy = Command::new(&self.program);
        deploy.args(["deploy", "-f", &file, "--wait"]).stdout(Stdio::null()).stderr(Stdio::null());
        checkout::run(cli.prepare(&mut deploy)).map_err(|failure| self.failure(failure.to_string()))?;
        self.wait_until_served(gateway, health, &[PHOTO], stop)
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

    fn wait_until_served(
        &self,
        gateway: SocketAddr,
        path: &str,
        wanted: &[&str],
        stop: &Stop,
    ) -> Result<(), Failure> {
        let mut last = String::from("nothing");
        let waited = stop.wait_for(START_TIMEOUT, || match served_by(gateway, path) {
            Ok(server) if wanted.iter().any(|wanted| server.starts_with(wanted)) => true,
            Ok(other) | Err(other) => {
                last = other;
                false
            }
        });
        match waited {
            Waited::Held => Ok(()),
            Waited::TimedOut => Err(self.failure(format!(
                "{}was not served through the gateway in 30 s; last seen: {last}",
                wanted.first().copied().unwrap_or_default()
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

    /// What has come of the photos so far.
    pub(crate) fn photos(&self) -> Tally {
        self.photos.as_ref().map(Load::tally).unwrap_or_default()
    }

    /// Reads on in the tower's log.
    pub(crate) fn read_log(&mut self) {
        self.lines.extend(self.log.fresh_lines());
    }

    /// What the tower said since the last time that a person wants to see.
    pub(crate) fn news(&mut self) -> Vec<String> {
        self.read_log();
        let fresh = &self.lines[self.told..];
        let words = ["release", "rollback", "canary", "alert", "heal", "WARN", "ERROR"];
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
        let link = link.map_or_else(
            || format!("http://localhost:{}/ (its link is in the log)", tower.port()),
            str::to_owned,
        );
        let (root, pid) = (checkout::root(), self.tower.pid());
        format!(
            r#"
The lab runs. Log in once with
    {link}

In another shell, from {}:
    {shell}
    lab/scripts/push_bad_build.sh      push a bad build of the portal, and see it taken back
    hmsops release list                what was released
    hmsops audit verify                is the ledger whole?
    kill -9 {pid:<27}the tower; users notice nothing

Photos, as in the chapter of the operations center:
    hmsops dash add --query "sum(rate(photo.upload.ok[5m]))" --title "Photo Uploads / sec" --panel line
    PYTHONPATH=sdk/python python3 lab/heal_rule.py
    for i in {{1..30}}; do curl -X POST http://{photo}/api/photo/fail; done
    hmsops alert list --active         a minute later: photo_error_spike, fired, heal-running

Status page  http://{tower}/status
Portal       http://{}/
Photos       http://{photo}/api/photo/upload
Tower's log  {state}/tower.log
Ctrl-C stops everything.
"#,
            root.display(),
            self.settings.gateway,
            photo = self.settings.photo_gateway,
        )
    }

    /// A failure with the end of the tower's log.
    pub(crate) fn failure(&self, what: impl Into<String>) -> Failure {
        Failure::new(what).hint(self.log.tail())
    }

    /// Stops traffic, tower, gateway, shims and services; says what was sent and what was stopped.
    pub(crate) fn stop(mut self) -> Result<Stopped, Failure> {
        self.end()
    }

    fn end(&mut self) -> Result<Stopped, Failure> {
        self.is_stopped = true;
        let tally = self.load.take().map(Load::stop).unwrap_or_default();
        let photos = self.photos.take().map(Load::stop).unwrap_or_default();
        let tower = self.tower.stop()?;
        let rest = Processes::of(&self.settings.state).end(Duration::from_secs(12))?;
        ground::disown(&self.settings.state);
        let left = Processes::of(&self.settings.state);
        if !left.is_empty() {
            return Err(Failure::new(format!("still running after the lab was stopped: {left}")));
        }
        Ok(Stopped { tally, photos, processes: format!("{tower}, {rest}") })
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

/// What came of a lab that was stopped.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// Of the portal's traffic.
    pub(crate) tally: Tally,
    /// Of the photos.
    pub(crate) photos: Tally,
    /// What was stopped.
    pub(crate) processes: String,
}

/// Who answers with 200 behind a gateway, or what comes instead.
pub(super) fn served_by(gateway: SocketAddr, path: &str) -> Result<String, String> {
    match http::get(gateway, path, None, Duration::from_secs(1)) {
        Ok(answer) if answer.status == 200 => {
            Ok(answer.header("x-served-by").unwrap_or("a server without a name").to_owned())
        }
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(broken) => Err(broken.as_str().to_owned()),
    }
}

/// Whether everything that is to listen can.
fn has_free_ports(settings: &Settings) -> Result<(), Failure> {
    let addresses = [
        ("tower", settings.tower),
        ("portal's gateway", settings.gateway),
        ("photo service's gateway", settings.photo_gateway),
        ("collector", settings.grpc),
    ];
    for (name, address) in addresses {
        TcpListener::bind(address).map_err(|error| {
            Failure::new(format!("the {name}'s address {address} cannot be used: {error}"))
                .hint("cargo xtask lab --port-base N takes the ports N to N + 3")
        })?;
    }
    Ok(())
}

/// The failure of a lab that was asked to end before its story did.
pub(crate) fn stopped() -> Failure {
    Failure::new("the lab was asked to stop")
}

/// Builds the program and says where it is.
fn build(settings: &Settings) -> Result<PathBuf, Failure> {
    let (is_optimised, has_ui) = match &settings.program {
        Program::At(program) => return Ok(program.clone()),
        Program::Built { is_optimised, has_ui } => (*is_optimised, *has_ui),
    };
    if has_ui && let Err(failure) = crate::ui::build() {
        eprintln!("     the pages stay without their live parts:\n{failure}");
    }
    let mut command = checkout::cargo();
    command.args(["build", "--package", "hmsops", "--locked"]);
    if is_optimised {
        command.arg("--release");
    }
    checkout::run(&mut command)?;
    let metadata = checkout::metadata()?;
    let folder = if is_optimised { "release" } else { "debug" };
    Ok(PathBuf::from(metadata.text_at("target_directory")).join(folder).join("hmsops"))
}
