//! The heal executor: one command, once, to its end, with nothing left of it.
//!
//! Each heal has a run folder and a shim, as instances have. The shim keeps the time limit, so it holds while the
//! tower is dead; only where the shim itself was killed does the driver keep it, by the process's own start time.
//! Running is idempotent by heal id: whoever runs a heal that was started before waits for that one.

mod output;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmsops_model::Millis;
use rustix::process::Signal;
use tokio::time::{Instant, MissedTickBehavior};

use crate::proc::{self, ProcessKey};
use crate::process::folder::{self, Folder, Look, judge};
use crate::process::{
    LIVENESS_INTERVAL, ProcessError, SHIM_WAIT, Status, ask, blocking, cannot_start, stop, uptake,
};
use crate::record;
use crate::shim::{Exit, Owner, Phase, Request, Spec, State};

/// `h-18446744073709551615` is 22 characters; nobody needs more.
const ID_CHARS_MAX: usize = 64;
/// A heal that takes a day is no heal.
const TIME_LIMIT_MAX: Duration = Duration::from_hours(24);
/// A heal may ask for an hour to clean up, as a service may.
const GRACE_MAX: Duration = Duration::from_hours(1);
/// Output of a heal is read by people, in a page or a message.
const OUTPUT_BYTES_MAX: u64 = 2 << 20;
/// Less would not hold one error message.
const OUTPUT_BYTES_MIN: u64 = 1024;
/// What a shim may take beyond limit and grace: SIGKILL, sweeping, the rest of the output, writing.
const SHIM_MARGIN: Duration = Duration::from_secs(6);
/// The shim of a heal that has ended goes in milliseconds.
const SHIM_GONE_WAIT: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const SHIM_GONE_INTERVAL: Duration = Duration::from_millis(10);

/// One heal to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealOrder {
    /// Makes running idempotent: `h-7`. Lower-case letters, digits and `-`, at most 64.
    pub id: String,
    /// For sentences: `restart dmv-photo`.
    pub name: String,
    /// The command; a first word with a `/` in it is looked for in `dir`.
    pub argv: Vec<String>,
    /// Where it runs.
    pub dir: PathBuf,
    /// Its environment, beside `PATH`, `HOME`, `LANG`, `TZ` of the tower and `HMS_RUN_DIR`.
    pub env: BTreeMap<String, String>,
    /// From its start until it is told to end; at most 24 hours.
    pub time_limit: Duration,
    /// Between SIGTERM and SIGKILL; at most an hour.
    pub grace: Duration,
    /// How much of its output is kept: its first and its last half. 1 KiB to 2 MiB.
    pub output_bytes_max: u64,
}

impl HealOrder {
    /// Between SIGTERM and SIGKILL where nobody says otherwise.
    pub const GRACE_DEFAULT: Duration = Duration::from_secs(2);
    /// Output kept where nobody says otherwise.
    pub const OUTPUT_BYTES_DEFAULT: u64 = 64 << 10;

    fn owner(&self) -> Owner {
        Owner::Heal { id: self.id.clone(), name: self.name.clone() }
    }

    fn output_bytes(&self) -> u64 {
        self.output_bytes_max.clamp(OUTPUT_BYTES_MIN, OUTPUT_BYTES_MAX)
    }

    fn spec(&self) -> Spec {
        let millis =
            |span: Duration, max| Millis(u64::try_from(span.min(max).as_millis()).unwrap_or(u64::MAX));
        let limit = millis(self.time_limit, TIME_LIMIT_MAX);
        let grace = millis(self.grace, GRACE_MAX);
        // Three files, of which the first holds the first half and the other two the last.
        let file_bytes = self.output_bytes() / 2;
        let argv = self.argv.clone();
        Spec::of_heal(self.owner(), argv, self.dir.clone(), self.env.clone(), grace, file_bytes, limit)
    }
}

/// How a heal ended. Nothing of it runs any more, unless `left_behind` says so. `output` is its first and last
/// lines, UTF-8 with control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealOutcome {
    /// By itself.
    Exited {
        /// 0 is success.
        code: i32,
        /// What it printed.
        output: String,
        /// How long it ran.
        took: Duration,
    },
    /// By a signal that was not ours.
    Signalled {
        /// Its number on this machine.
        signal: i32,
        /// What it printed.
        output: String,
        /// How long it ran.
        took: Duration,
    },
    /// Its time was over and it was ended.
    TimedOut {
        /// What it printed.
        output: String,
        /// How long it ran, with its grace.
        took: Duration,
        /// A process of it hangs in the kernel and survived SIGKILL.
        left_behind: bool,
    },
    /// It never ran.
    CannotStart {
        /// A whole sentence.
        reason: String,
    },
    /// It ran, at most once and perhaps not to its end: its shim was killed or the machine went down.
    Unseen {
        /// What it printed until then.
        output: String,
    },
}

/// Held by who starts a heal.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Runs heals. Cheap to share behind an `Arc`; several on one root do not disturb each other.
#[derive(Debug)]
pub struct HealDriver {
    root: PathBuf,
    exe: PathBuf,
    turns: Mutex<BTreeMap<String, Turn>>,
}

impl HealDriver {
    /// With run folders `root/ID` (`root` is nobody else's), and our own program `exe`, which is started as
    /// `exe shim --dir DIR`.
    pub fn new(root: PathBuf, exe: PathBuf) -> Self {
        // A shim runs in another folder than we do.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self { root: absolute(root), exe: absolute(exe), turns: Mutex::default() }
    }

    /// Waits until nobody else starts this heal.
    async fn turn(&self, id: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(id.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// Runs the heal to its end, or waits for the end of the one that was started under this id. May be dropped
    /// at any time: the heal goes on, and a later call finds it.
    ///
    /// An error is trouble of ours (a run folder that cannot be read or written, a shim that does not start) and
    /// says nothing about the heal: call again.
    pub async fn run(&self, order: &HealOrder) -> Result<HealOutcome, ProcessError> {
        if let Some(reason) = refusal(order) {
            return Ok(HealOutcome::CannotStart { reason });
        }
        let what = order.owner().to_string();
        let folder = Folder::at(self.root.join(&order.id));
        {
            let _turn = self.turn(&order.id).await;
            self.start(&folder, order, &what).await?;
        }
        let end = end(&folder, &what).await?;
        let output_bytes = usize::try_from(order.output_bytes()).unwrap_or(usize::MAX);
        let output = read_output(&folder, end.output_bytes, output_bytes).await?;
        let took = Duration::from_millis(end.took.unwrap_or_default().0);
        Ok(match end.phase {
            _ if end.timed_out => {
                HealOutcome::TimedOut { output, took, left_behind: end.left.unwrap_or(0) > 0 }
            }
            Phase::Failed { reason } => HealOutcome::CannotStart { reason },
            Phase::Exited { exit: Exit::Code(code) } => HealOutcome::Exited { code, output, took },
            Phase::Exited { exit: Exit::Signal(signal) } => HealOutcome::Signalled { signal, output, took },
            Phase::Exited { exit: Exit::Unseen } | Phase::Starting | Phase::Running => {
                HealOutcome::Unseen { output }
            }
        })
    }

    /// Makes sure that it was started, once.
    async fn start(&self, folder: &Folder, order: &HealOrder, what: &str) -> Result<(), ProcessError> {
        let path = folder.path().to_owned();
        let known = blocking(move || Spec::load(&path).map_err(ProcessError::from)).await?;
        // Numbers begin anew with a new ledger: what another heal did under this number is not the answer.
        if let Some(known) = known.filter(|known| known.owner != order.owner()) {
            let path = folder.path().display();
            let why = format!("its run folder `{path}` belongs to {}; remove it", known.owner);
            return Err(cannot_start(what, &why));
        }
        if uptake::settle(folder, what, SHIM_WAIT).await?.is_some() {
            return Ok(());
        }
        let (spec, own, root) = (order.spec(), folder.clone(), self.root.clone());
        let write = move || {
            // Two towers on one root may both have found nothing. What one of them told stands.
            let _lock = folder::lock(&root, "start.lock")?;
            if Spec::load(own.path())?.is_some() {
                return Ok(());
            }
            own.create()?;
            spec.save(own.path()).map_err(ProcessError::from)
        };
        blocking(write).await?;
        let shim = uptake::spawn_shim(&self.exe, folder, what, &BTreeMap::new())?;
        match uptake::first_status(folder, what, shim).await? {
            Status::Absent | Status::Starting => Err(cannot_start(what, "its shim said nothing")),
            Status::Running { .. } | Status::Exited(_) | Status::Failed(_) => Ok(()),
        }
    }

    /// The first and the last of what the heal has printed so far, at most `bytes_max` (and 2 MiB) of it; empty
    /// when there is nothing.
    pub async fn output(&self, id: &str, bytes_max: usize) -> Result<String, ProcessError> {
        let Some(folder) = self.folder(id) else { return Ok(String::new()) };
        let path = folder.path().to_owned();
        let state = blocking(move || State::load(&path).map_err(ProcessError::from)).await?;
        let bytes_max = bytes_max.min(usize::try_from(OUTPUT_BYTES_MAX).unwrap_or(usize::MAX));
        read_output(&folder, state.and_then(|state| state.output_bytes), bytes_max).await
    }

    /// Removes the run folder of a heal that has ended. True when nothing of it is there any more; false when it
    /// still runs or is about to, and nothing was removed. A heal that was forgotten can run again under its id.
    pub async fn forget(&self, id: &str) -> Result<bool, ProcessError> {
        let Some(folder) = self.folder(id) else { return Ok(true) };
        let _turn = self.turn(id).await;
        let begun_at = Instant::now();
        loop {
            let own = folder.clone();
            let removed = blocking(move || Ok(remove_ended(&own)?)).await?;
            match removed {
                Removed::Gone => return Ok(true),
                Removed::No => return Ok(false),
                Removed::ShimLives if begun_at.elapsed() >= SHIM_GONE_WAIT => return Ok(false),
                Removed::ShimLives => tokio::time::sleep(SHIM_GONE_INTERVAL).await,
            }
        }
    }

    /// `None` for what is no id.
    fn folder(&self, id: &str) -> Option<Folder> {
        is_id(id).then(|| Folder::at(self.root.join(id)))
    }
}

fn is_id(id: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !id.is_empty() && id.len() <= ID_CHARS_MAX && id.chars().all(known)
}

/// Why an order can never run, whatever the machine does.
fn refusal(order: &HealOrder) -> Option<String> {
    let what = order.owner();
    if !is_id(&order.id) {
        let cut: String = order.id.chars().take(ID_CHARS_MAX).collect();
        return Some(format!("`{}` is not a heal id: expected something like `h-7`", cut.escape_debug()));
    }
    order.argv.is_empty().then(|| format!("cannot start {what}: its command is empty"))
}

/// Waits until nothing of the heal runs any more, and says how it ended. Keeps its time limit where no shim does.
async fn end(folder: &Folder, what: &str) -> Result<State, ProcessError> {
    let path = folder.path().to_owned();
    let spec = blocking(move || Spec::load(&path).map_err(ProcessError::from)).await?;
    let spec = spec.ok_or_else(|| cannot_start(what, "its run folder has gone"))?;
    let mut look = tokio::time::interval(LIVENESS_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The shim answers at the end, or its connection closes.
        let mut shim = std::pin::pin!(ask::ask(folder, Request::WaitSwept));
        let mut answer = None;
        let mut asked = true;
        while asked {
            tokio::select! {
                state = &mut shim => { asked = false; answer = state.ok(); }
                _ = look.tick() => {}
            }
            if let Some(state) = answer.take().filter(|state| state.phase.is_final()) {
                return Ok(state);
            }
            let own = folder.clone();
            let ended = match blocking(move || Ok(seen(&own)?)).await? {
                Seen::Ended(state) => Some(state),
                Seen::Kept(state) if is_overdue(&state, &spec) => {
                    end_alone(folder, what, state, &spec).await?
                }
                Seen::Kept(_) => None,
                Seen::Alone(state) => end_alone(folder, what, state, &spec).await?,
            };
            if let Some(state) = ended {
                return Ok(state);
            }
        }
        look.tick().await;
    }
}

/// Whether its shim should have ended it long ago: it was stopped, or hangs at a disk.
fn is_overdue(state: &State, spec: &Spec) -> bool {
    let limit =
        Duration::from_millis(spec.time_limit.unwrap_or_default().0 + spec.stop_grace.0) + SHIM_MARGIN;
    let age = state.service.as_ref().filter(|_| state.service_alive()).and_then(ProcessKey::age);
    spec.time_limit.is_some() && age.is_some_and(|age| age > limit)
}

/// What the disk and the processes say.
enum Seen {
    /// Its shim wrote down that nothing is left, or that it never ran.
    Ended(State),
    /// A shim lives.
    Kept(State),
    /// Its shim has gone before that.
    Alone(State),
}

fn seen(folder: &Folder) -> Result<Seen, record::RecordError> {
    let load = || {
        let state = State::load(folder.path())?;
        let gone = || record::failed("read", &folder.path().join("state.json"))(not_found());
        state.ok_or_else(gone)
    };
    let before = load()?;
    let shim_lives = before.shim.alive();
    // What a shim wrote last before it went is only seen by who looks after it has gone.
    let state = if shim_lives { before } else { load()? };
    Ok(if state.phase.is_final() && state.left.is_some() {
        Seen::Ended(state)
    } else if shim_lives {
        Seen::Kept(state)
    } else {
        Seen::Alone(state)
    })
}

fn not_found() -> std::io::Error {
    std::io::ErrorKind::NotFound.into()
}

/// A heal without its shim, or whose shim does nothing: its end when it has come, or its time is over; `None` while
/// it may go on.
async fn end_alone(
    folder: &Folder,
    what: &str,
    mut state: State,
    spec: &Spec,
) -> Result<Option<State>, ProcessError> {
    let limit = spec.time_limit.map(|limit| Duration::from_millis(limit.0));
    if state.service_alive() && !state.phase.is_final() {
        let age = state.service.as_ref().and_then(ProcessKey::age).unwrap_or(Duration::MAX);
        if limit.is_none_or(|limit| age < limit) && !state.timed_out {
            return Ok(None);
        }
        state.timed_out = true;
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        state.took.get_or_insert(Millis(age_ms));
        // A tower that is killed while it ends the heal still knows why afterwards.
        let (own, noted) = (folder.clone(), state.clone());
        blocking(move || Ok(note(&own, &noted)?)).await?;
    }
    // Its own process has gone, or has to; whatever else carries its mark goes, too.
    let ended = stop::by_hand(folder, what, spec.stop_grace).await;
    // What has lost its mark and its parents is its shim's child, while that lives.
    let shim = state.shim.clone();
    let orphans = move || if shim.alive() { proc::family(shim.pid) } else { Vec::new() };
    for orphan in blocking(move || Ok(orphans())).await? {
        orphan.signal(Signal::KILL);
    }
    let left = match ended {
        Ok(()) => 0,
        Err(ProcessError::StillThere { .. }) => 1,
        Err(error) => return Err(error),
    };
    if !state.phase.is_final() {
        state.phase = Phase::Exited { exit: Exit::Unseen };
    }
    state.left = Some(left);
    let (own, noted) = (folder.clone(), state.clone());
    blocking(move || Ok(note(&own, &noted)?)).await?;
    Ok(Some(state))
}

/// Writes a state in the place of a shim that has gone, unless one has come.
fn note(folder: &Folder, state: &State) -> Result<(), record::RecordError> {
    let path = folder.path().join("shim.lock");
    let mut options = OpenOptions::new();
    let lock = options.create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(record::failed("open", &path))?;
    if lock.try_lock().is_ok() { state.save(folder.path()) } else { Ok(()) }
}

async fn read_output(
    folder: &Folder,
    printed: Option<u64>,
    bytes_max: usize,
) -> Result<String, ProcessError> {
    let own = folder.clone();
    let read = move || {
        let read = output::read(own.path(), printed, bytes_max);
        Ok(read.map_err(record::failed("read the output in", own.path()))?)
    };
    blocking(read).await
}

/// What came of an attempt to remove a run folder.
enum Removed {
    Gone,
    ShimLives,
    No,
}

fn remove_ended(folder: &Folder) -> Result<Removed, record::RecordError> {
    let path = folder.path();
    let Some(state) = State::load(path)? else {
        // Told and not taken up: it may start at any moment.
        return Ok(if folder.look()? == Look::Absent { Removed::Gone } else { Removed::No });
    };
    if !matches!(judge(&state), Look::Settled(status) if status.is_final()) {
        return Ok(Removed::No);
    }
    if state.shim.alive() {
        return Ok(Removed::ShimLives);
    }
    std::fs::remove_dir_all(path).map_err(record::failed("remove", path))?;
    Ok(Removed::Gone)
}
