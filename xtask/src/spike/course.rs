//! The course of the spike: all is started, a version is released, users come, the version turns bad, users keep coming.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Scale;
use super::figures::{Usage, usage};
use super::ground::{self, BESIDE_HOST, CANARY, RELEASE, SPIKED, STABLE};
use super::watch::{Seen, Watch};
use crate::failure::{Failure, Trying as _};
use crate::http;
use crate::lab::processes::Processes;
use crate::lab::release::{Cli, TakenBack};
use crate::lab::settings::Settings;
use crate::lab::stop::{Stop, Waited};
use crate::lab::tower::{Log, Tower};
use crate::load::arrivals::Rate;
use crate::load::tally::Tally;
use crate::load::{Load, Plan};

/// How long each of tower, gateway, versions and the release's first step may take to be there.
const START_MAX: Duration = Duration::from_secs(40);
/// After the ramp its end is held for so long.
const HELD: Duration = Duration::from_secs(4);
/// From the end of the load until the release's numbers are final.
const CLOSED_MAX: Duration = Duration::from_secs(20);
/// How often is looked what the tower says.
const LOOK: Duration = Duration::from_millis(50);
/// The release's first share, in basis points.
const FIRST_BP: f64 = 100.0;
/// A crowd is many people.
const USERS: u32 = 20_000;
/// Requests that may wait for their answers at once.
const WAITING_MAX: usize = 4000;
/// Requests a second to the service beside it.
const BESIDE_RATE: f64 = 20.0;

/// What happened.
pub(super) struct Ride {
    pub(super) scale: Scale,
    /// All requests to the spiked service, those until the ramp's end, and those that were due in all.
    pub(super) tally: Tally,
    pub(super) until_end: Tally,
    pub(super) due: f64,
    /// The service beside it.
    pub(super) beside: Tally,
    /// What served before anything was released.
    pub(super) stable: String,
    /// From the moment at which the version turned bad to the line that says it is off; `None`: it was not said.
    pub(super) back: Option<Duration>,
    pub(super) release: TakenBack,
    /// From the moment at which more came than the rule allows until its alert was seen; `None`: it was not.
    pub(super) fired: Option<Duration>,
    pub(super) seen: Seen,
    /// Values that the store has of those that were emitted.
    pub(super) stored: Option<f64>,
    /// What `release replay` and `audit verify` say.
    pub(super) said: [String; 2],
    /// Of tower, gateway, and this process, which makes the load.
    pub(super) usage: [Usage; 3],
}

/// Tells it; a failure says what could not be done.
pub(super) fn tell(settings: &Settings, program: &Path, scale: Scale, stop: &Stop) -> Result<Ride, Failure> {
    ground::lay_out(settings, f64::midpoint(scale.from, scale.to))?;
    let mut place = Place::start(settings, program, stop)?;
    let stable = place.await_served(&format!("{SPIKED}/{STABLE} "), None, stop)?;
    place.await_served("csac-forms/", Some(BESIDE_HOST), stop)?;
    let cli = Cli::of(program, settings.tower, place.token()?);
    let release = place.release(&cli, stop)?;
    let ride = place.ride(&cli, &release, stable, scale, stop)?;
    let ended = place.end()?;
    eprintln!("     stopped {ended}");
    Ok(ride)
}

/// A tower and what it started. Dropped, it stops everything.
struct Place<'a> {
    settings: &'a Settings,
    tower: Tower,
    log: Log,
    lines: Vec<String>,
    is_ended: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_ended
            && let Err(failure) = self.end()
        {
            eprintln!("{failure}");
        }
    }
}

impl<'a> Place<'a> {
    fn start(settings: &'a Settings, program: &Path, stop: &Stop) -> Result<Self, Failure> {
        eprintln!("     starting the tower on {}, its gateway on {}", settings.tower, settings.gateway);
        let tower = Tower::start(settings, program)?;
        let mut place =
            Self { settings, tower, log: Log::new(&settings.state), lines: Vec::new(), is_ended: false };
        let is_ready = || {
            place.tower.ended().is_some()
                || http::get(settings.tower, "/-/ready", None, Duration::from_secs(1))
                    .is_ok_and(|answer| answer.status == 200)
        };
        let waited = stop.wait_for(START_MAX, is_ready);
        place.hold(waited, || "the tower is not ready in time".to_owned())?;
        match place.tower.ended() {
            Some(status) => Err(place.failure(format!("the tower ended at once: {status}"))),
            None => Ok(place),
        }
    }

    fn token(&self) -> Result<String, Failure> {
        let path = self.settings.state.join("data/admin.token");
        let text = std::fs::read_to_string(&path).trying(format!("read `{}`", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Waits until that server answers through the gateway; returns its whole name.
    fn await_served(&self, wanted: &str, host: Option<&str>, stop: &Stop) -> Result<String, Failure> {
        let mut last = String::from("nothing");
        let waited = stop.wait_for(START_MAX, || {
            last = served_by(self.settings, host);
            last.starts_with(wanted)
        });
        self.hold(waited, || {
            format!("`{wanted}` is not served through the gateway in time; last seen: {last}")
        })?;
        Ok(last)
    }

    /// Releases the version that is still good, and waits until it has its first share.
    fn release(&self, cli: &Cli, stop: &Stop) -> Result<String, Failure> {
        let file = self.settings.state.join("repo").join(RELEASE);
        let file = file.to_string_lossy();
        cli.say(&["deploy", "-f", file.as_ref()]).map_err(|failure| self.failure(failure.to_string()))?;
        let id = cli.latest_release()?;
        let waited =
            stop.wait_for(START_MAX, || cli.release(&id).is_ok_and(|release| release.weight_bp >= FIRST_BP));
        self.hold(waited, || format!("{id} has no share in time"))?;
        eprintln!("     {id}: {SPIKED} {CANARY} has 1 %");
        Ok(id)
    }

    fn ride(
        &mut self,
        cli: &Cli,
        id: &str,
        stable: String,
        scale: Scale,
        stop: &Stop,
    ) -> Result<Ride, Failure> {
        let rate = Rate::ramp(scale.from, scale.to, scale.over);
        let plan = |rate: Rate, host: String| Plan {
            rate,
            host,
            clients: USERS,
            workers_max: WAITING_MAX,
            ..Plan::new(self.settings.gateway, scale.from, scale.seed)
        };
        let plans = [
            plan(rate, self.settings.gateway.to_string()),
            plan(Rate::steady(BESIDE_RATE), BESIDE_HOST.to_owned()),
        ];
        let watch = Watch::start(self.settings, self.token()?)?;
        let [load, beside] = plans.map(Load::start);
        let (load, beside) = (load?, beside?);
        let began = Instant::now();
        let course = self.follow(&load, rate, scale, stop)?;
        let due = rate.due_until(load.elapsed());
        let (tally, beside) = (load.stop(), beside.stop());
        let seen = watch.finish()?;
        let usage = [Some(self.tower.pid()), self.gateway_pid(), Some(std::process::id())]
            .map(|pid| pid.map(usage).unwrap_or_default());
        let crowded_at = began + scale.over / 2;
        let mut release = cli.release(id)?;
        // The last numbers are final when no request waits for the canary any more.
        stop.wait_for(CLOSED_MAX, || {
            release.is_closed || cli.release(id).map(|newer| release = newer).is_err()
        });
        Ok(Ride {
            scale,
            tally,
            until_end: course.until_end,
            due,
            beside,
            stable,
            back: course.back,
            release,
            fired: seen.fired_at.map(|at| at.saturating_duration_since(crowded_at)),
            seen,
            stored: cli.value(&format!("sum(count_over_time({}[2h]))", ground::METRIC))?,
            said: [cli.say(&["release", "replay", id])?, cli.verify_ledger()?],
            usage,
        })
    }

    /// Lets the ramp go its way; half way the version turns bad.
    fn follow(&mut self, load: &Load, rate: Rate, scale: Scale, stop: &Stop) -> Result<Course, Failure> {
        let line = format!("Rollback to {SPIKED}:{STABLE} completed");
        let mut course = Course::default();
        let (mut bad_at, mut told) = (None::<Instant>, (Duration::ZERO, Tally::default()));
        let mut is_up = false;
        while load.elapsed() < scale.over + HELD {
            if stop.wait(LOOK) {
                return Err(Failure::new("the spike was asked to stop"));
            }
            let elapsed = load.elapsed();
            if bad_at.is_none() && elapsed >= scale.over / 2 {
                let file = ground::bad_file(self.settings);
                std::fs::write(&file, "").trying(format!("write `{}`", file.display()))?;
                bad_at = Some(Instant::now());
                eprintln!("     {SPIKED} {CANARY} fails every user now, its probe is green");
            }
            let fresh = self.log.fresh_lines();
            if course.back.is_none() && fresh.iter().any(|said| said.contains(&line)) {
                let since = bad_at.map(|at| at.elapsed());
                course.back =
                    Some(since.ok_or_else(|| self.failure("the version was taken back while good"))?);
                println!("{line}");
            }
            self.lines.extend(fresh);
            if !is_up && elapsed >= scale.over {
                is_up = true;
                course.until_end = load.tally();
            }
            if elapsed >= told.0 + (scale.over / 24).max(Duration::from_secs(2)) {
                let now = load.tally();
                let offered = rate.at(elapsed);
                eprintln!("{:>7.0} s  {offered:>5.0}/s  {}", elapsed.as_secs_f64(), now.line_since(&told.1));
                told = (elapsed, now);
            }
        }
        Ok(course)
    }

    fn gateway_pid(&self) -> Option<u32> {
        Processes::of(&self.settings.state).pid_of("gateway")
    }

    fn end(&mut self) -> Result<String, Failure> {
        self.is_ended = true;
        let tower = self.tower.stop()?;
        let rest = Processes::of(&self.settings.state).end(Duration::from_secs(12))?;
        Ok(format!("{tower}, {rest}"))
    }

    fn hold(&self, waited: Waited, what: impl FnOnce() -> String) -> Result<(), Failure> {
        match waited {
            Waited::Held => Ok(()),
            Waited::TimedOut => Err(self.failure(what())),
            Waited::Stopped => Err(Failure::new("the spike was asked to stop")),
        }
    }

    fn failure(&self, what: impl Into<String>) -> Failure {
        Failure::new(what).hint(self.log.tail())
    }
}

/// What was seen on the way.
#[derive(Default)]
struct Course {
    until_end: Tally,
    back: Option<Duration>,
}

/// Who answers with 200 behind the gateway, or what comes instead.
fn served_by(settings: &Settings, host: Option<&str>) -> String {
    let host = host.map_or_else(|| settings.gateway.to_string(), str::to_owned);
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let second = Duration::from_secs(1);
    let answer = http::Connection::open(settings.gateway, second)
        .and_then(|mut connection| connection.exchange(request.as_bytes(), Instant::now() + second));
    match answer {
        Ok(answer) if answer.status == 200 => {
            answer.header("x-served-by").unwrap_or("a server without a name").to_owned()
        }
        Ok(answer) => format!("status {}", answer.status),
        Err(broken) => broken.as_str().to_owned(),
    }
}
