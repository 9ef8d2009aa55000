//! One shim stands behind each started service, or heal: it owns the service's output, exit status and process
//! group, and outlives the tower, so that a service's pid does not change because the tower restarted.
//!
//! In its folder are `spec.json` (told), `state.json` (telling), `shim.sock` (asked), `shim.lock` (held as
//! long as a shim lives: two of them never own one folder) and the output. Threads only, no runtime: a shim
//! waits nearly all of its life.

mod door;
mod output;
mod spec;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use hmsops_model::Millis;
use rustix::process::{Signal, WaitOptions};

use crate::core_file;
use crate::proc::{self, MARK, ProcessKey};
use crate::record::RecordError;

pub use self::spec::Exit;

pub(crate) use self::door::{Board, Request, SocketPath};
pub(crate) use self::output::{Ends, Output, ends, tail};
pub(crate) use self::spec::{Owner, Phase, Spec, State};

/// Variables of the tower's environment that a service gets; nothing else of it, because tokens are in there.
pub(crate) const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Before the names of secret variables in a shim's environment: there they mean nothing to the shim itself.
pub(crate) const SECRET: &str = "HMSOPS_SECRET_";
/// Where commands are looked for when the tower itself has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// After the service has ended, so long is waited for what is still in its pipe.
const PIPE_WAIT: Duration = Duration::from_millis(300);
/// After a service has ended by itself, so long its other processes have to end, too.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// While processes are being ended, this often is looked whether they have.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);
/// SIGKILL works at once, unless a process hangs in the kernel: then it is given up after this.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// A state that could not be written is written again this much later.
const SAVE_RETRY: Duration = Duration::from_secs(1);

/// What can wake a shim.
#[derive(Debug)]
pub(crate) enum Event {
    /// The service's process has ended.
    Exited(Exit),
    /// Nobody will write into its pipe any more.
    PipeClosed,
    /// Somebody wants it stopped.
    Stop(Millis),
}

/// Why a shim could not do its work.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error("cannot {doing}: {source}")]
    System { doing: &'static str, source: std::io::Error },
    #[error("nothing to run in `{0}`: it has no spec.json")]
    NoSpec(String),
    #[error(transparent)]
    Record(#[from] RecordError),
}

fn system<E: Into<std::io::Error>>(doing: &'static str) -> impl FnOnce(E) -> ShimError {
    move |source| ShimError::System { doing, source: source.into() }
}

/// Does what `hmsops shim --dir DIR` is for: starts what `DIR/spec.json` says, stays with it, and returns the
/// exit code for the shim itself once the service has ended and that is written down: 0, or 1 when it could
/// not do its work, with one line on stderr. Takes over the process: its session, signals and children.
pub fn run(dir: &Path) -> i32 {
    match run_in(dir) {
        Ok(()) => 0,
        Err(error) => {
            // The tower may have gone, and with it who reads this.
            let _ = writeln!(std::io::stderr(), "{error}");
            1
        }
    }
}

fn run_in(dir: &Path) -> Result<(), ShimError> {
    leave_terminal()?;
    core_file::give_back();
    let Some(_lock) = lock(dir)? else { return Ok(()) };
    let spec = Spec::load(dir)?.ok_or_else(|| ShimError::NoSpec(dir.display().to_string()))?;
    if was_started(dir, &spec)? {
        return Ok(());
    }
    let own = ProcessKey::of(std::process::id())
        .ok_or_else(|| system("read `/proc`")(std::io::Error::from(std::io::ErrorKind::NotFound)))?;
    let state = State::starting(own, spec.ports.clone());
    state.save(dir)?;
    let board = Arc::new(Board::new(state.clone()));
    let (events_in, events) = channel();
    door::open(dir, &board, &events_in).map_err(system("open `shim.sock`"))?;
    let printed = Arc::new(AtomicU64::new(0));
    let mut keeper = Keeper {
        dir,
        spec: &spec,
        board: &board,
        state,
        saved: true,
        printed: Arc::clone(&printed),
        pipe_open: true,
        kill_at: None,
    };
    match start(&spec, dir, &events_in, printed) {
        Ok(service) => keeper.keep(&service, &events),
        Err(reason) => {
            keeper.state.left = Some(0);
            keeper.enter(Phase::Failed { reason });
        }
    }
    // Whoever asked is answered although the disk may be full.
    board.close();
    keeper.save_at_last();
    door::remove(dir);
    Ok(())
}

/// A session of its own: no terminal's Ctrl-C or hang-up reaches it, nor does the end of the tower's group.
fn leave_terminal() -> Result<(), ShimError> {
    let own = rustix::process::getpid();
    // Asked of `/proc`: where the session's leader is outside of our pid namespace its id reads 0, which
    // getsid's own type cannot hold.
    let pid = std::process::id();
    if proc::stat(pid).is_none_or(|stat| stat.session != pid) {
        rustix::process::setsid().map_err(system("leave the session of the tower"))?;
    }
    // What the service leaves behind becomes our child, also when it has made a session of its own.
    rustix::process::set_child_subreaper(Some(own)).map_err(system("take over orphans"))?;
    // Caught, not ignored: what is ignored would stay ignored in the service.
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [1, 2, 3, 15] {
        signal_hook::flag::register(signal, Arc::clone(&seen)).map_err(system("catch signals"))?;
    }
    Ok(())
}

/// The lock on the folder, held until this process ends; `None` when another shim has it.
fn lock(dir: &Path) -> Result<Option<File>, ShimError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options.open(dir.join("shim.lock")).map_err(system("open `shim.lock`"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(system("lock `shim.lock`")(source)),
    }
}

/// Whether an earlier shim of this folder got so far that nothing may be started again. One that was killed
/// while starting left perhaps a process that nobody knows the pid of: it is ended here. A service is started
/// once more then; a heal is not, because it may have done half of its work.
fn was_started(dir: &Path, spec: &Spec) -> Result<bool, ShimError> {
    let Some(mut state) = State::load(dir)? else { return Ok(false) };
    match (&state.phase, &state.service) {
        (Phase::Starting, None) => {
            for stray in proc::marked(dir) {
                stray.signal(Signal::KILL);
            }
            if spec.instance().is_some() {
                return Ok(false);
            }
            state.phase = Phase::Exited { exit: Exit::Unseen };
            state.save(dir)?;
        }
        (Phase::Starting | Phase::Running, _) if !state.service_alive() => {
            state.phase = Phase::Exited { exit: Exit::Unseen };
            state.save(dir)?;
        }
        _ => {}
    }
    Ok(true)
}

/// Starts the service and the threads that listen to it.
fn start(
    spec: &Spec,
    dir: &Path,
    events: &Sender<Event>,
    printed: Arc<AtomicU64>,
) -> Result<ProcessKey, String> {
    let cannot = |what: String| format!("cannot start {}: {what}", spec.owner);
    let (reader, writer) = std::io::pipe().map_err(|error| cannot(format!("no pipe: {error}")))?;
    let pid = spawn(spec, dir, writer).map_err(|error| cannot(why(spec, &error)))?;
    // A child that has ended but was not waited for still has its start time.
    let service =
        proc::stat(pid).map(|stat| stat.key()).ok_or_else(|| cannot("it is not in `/proc`".into()))?;
    let output = Output::open(dir, spec.output_bytes_max);
    let (own_events, named) = (events.clone(), std::thread::Builder::new().name("output".into()));
    let drained = named.spawn(move || drain(reader, output, &printed, &own_events));
    let (own_events, named) = (events.clone(), std::thread::Builder::new().name("reap".into()));
    let reaped = named.spawn(move || reap(pid, &own_events));
    if let Err(error) = drained.and(reaped) {
        service.signal_group(Signal::KILL);
        return Err(cannot(format!("no thread for its shim: {error}")));
    }
    Ok(service)
}

fn spawn(spec: &Spec, dir: &Path, writer: std::io::PipeWriter) -> std::io::Result<u32> {
    use std::os::unix::process::CommandExt;
    let Some((program, args)) = spec.run.split_first() else {
        return Err(std::io::Error::other("its command is empty"));
    };
    let mut command = if program.contains('/') {
        let mut command = Command::new(spec.dir.join(program));
        command.arg0(program);
        command
    } else {
        Command::new(program)
    };
    command.args(args).current_dir(&spec.dir).env_clear();
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", PATH_DEFAULT);
    }
    for name in &spec.secrets {
        let value = std::env::var_os(format!("{SECRET}{name}"));
        let value = value.ok_or_else(|| std::io::Error::other(format!("nobody told the secret `{name}`")))?;
        command.env(name, value);
    }
    command.envs(&spec.env).env(MARK, dir).process_group(0);
    let second = writer.try_clone()?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    command.spawn().map(|child| child.id())
}

/// Why a command could not be started, for the person who wrote it.
fn why(spec: &Spec, error: &std::io::Error) -> String {
    let dir = spec.dir.display();
    let program = spec.run.first().map_or("", String::as_str);
    if !spec.dir.is_dir() {
        let whose = if spec.instance().is_some() { "version folder" } else { "folder" };
        return format!("{whose} {dir} is missing");
    }
    // ENOEXEC has no kind of its own.
    let no_program = error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error());
    match error.kind() {
        std::io::ErrorKind::NotFound if !program.contains('/') => {
            format!("{program}: no such command in PATH")
        }
        std::io::ErrorKind::NotFound if spec.dir.join(program).exists() => {
            format!("{program}: the interpreter that its first line names is missing")
        }
        std::io::ErrorKind::NotFound => format!("{program}: no such file in {dir}"),
        std::io::ErrorKind::PermissionDenied => format!("{program}: not executable in {dir}; use chmod +x"),
        _ if no_program => {
            format!("{program}: neither a program for this machine nor a script with a #! line")
        }
        _ => format!("{program}: {error}"),
    }
}

/// Reads what the service prints until nobody can print any more.
fn drain(mut reader: std::io::PipeReader, mut output: Output, printed: &AtomicU64, events: &Sender<Event>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                output.take(&buffer[..n]);
                printed.fetch_add(n as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = events.send(Event::PipeClosed);
}

/// Collects the service's exit status, and orphans, which have become our children.
fn reap(service: u32, events: &Sender<Event>) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().cast_unsigned() == service => {
                let exit = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => continue,
                };
                let _ = events.send(Event::Exited(exit));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No child is left.
            Err(_) => return,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a shim is a process of its own: the real clock is the only one"
)]
fn now() -> Instant {
    Instant::now()
}

/// Stays with one service or heal.
struct Keeper<'a> {
    dir: &'a Path,
    spec: &'a Spec,
    board: &'a Board,
    state: State,
    /// Whether `state.json` holds `state`.
    saved: bool,
    /// How many bytes were printed so far.
    printed: Arc<AtomicU64>,
    /// Whether somebody may still print.
    pipe_open: bool,
    /// When it is killed that was asked to end.
    kill_at: Option<Instant>,
}

impl Keeper<'_> {
    /// From its start until nothing of it is left.
    fn keep(&mut self, service: &ProcessKey, events: &Receiver<Event>) {
        let begun_at = now();
        self.state.service = Some(service.clone());
        self.enter(Phase::Running);
        let end_at = self.spec.time_limit.map(|limit| begun_at + Duration::from_millis(limit.0));
        let (exit, ended_by) = self.await_exit(service, end_at, events);
        let took = u64::try_from(begun_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.state.took = (exit != Exit::Unseen).then_some(Millis(took));
        // What it printed last is there when its end is known, unless another process holds the pipe.
        self.await_pipe(events);
        self.enter(Phase::Exited { exit });
        self.state.left = Some(sweep(events, ended_by, &mut self.pipe_open));
        self.await_pipe(events);
        self.state.output_bytes = Some(self.printed.load(Ordering::Relaxed));
        self.enter(Phase::Exited { exit });
    }

    /// Until the service's process has ended. Returns until when its other processes may take.
    fn await_exit(
        &mut self,
        service: &ProcessKey,
        end_at: Option<Instant>,
        events: &Receiver<Event>,
    ) -> (Exit, Instant) {
        let mut killed = false;
        loop {
            let retry = (!self.saved).then_some(SAVE_RETRY);
            let until = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now()));
            let until_end = until(end_at.filter(|_| !self.state.timed_out));
            let wait = [retry, until(self.kill_at), until_end].into_iter().flatten().min();
            match events.recv_timeout(wait.unwrap_or(Duration::from_hours(1))) {
                Ok(Event::Exited(exit)) if killed => return (exit, now()),
                Ok(Event::Exited(exit)) => {
                    return (exit, self.kill_at.unwrap_or_else(|| now() + ORPHAN_GRACE));
                }
                Ok(Event::PipeClosed) => self.pipe_open = false,
                Ok(Event::Stop(grace)) => self.ask_to_end(service, grace),
                Err(RecvTimeoutError::Timeout) => self.save(),
                // Impossible while `run_in` holds a sender; a service must not be left over it.
                Err(RecvTimeoutError::Disconnected) => return (Exit::Unseen, now()),
            }
            if !self.state.timed_out && end_at.is_some_and(|at| at <= now()) {
                self.state.timed_out = true;
                self.ask_to_end(service, self.spec.stop_grace);
                self.saved = false;
                self.save();
            }
            if self.kill_at.is_some_and(|at| at <= now()) {
                if killed && end_at.is_some() {
                    // It hangs in the kernel. A service is waited for; a heal has to end for those who wait.
                    return (Exit::Unseen, now());
                }
                service.signal_group(Signal::KILL);
                killed = true;
                self.kill_at = Some(now() + KILL_WAIT);
            }
        }
    }

    /// The first time it is asked to end; later ones can only make it sooner.
    fn ask_to_end(&mut self, service: &ProcessKey, grace: Millis) {
        let asked = now() + Duration::from_millis(grace.min(self.grace_max()).0);
        if self.kill_at.is_none() {
            service.signal_group(Signal::TERM);
        }
        self.kill_at = Some(self.kill_at.map_or(asked, |at| at.min(asked)));
    }

    /// Gives those who read the pipe a little time for the rest of it.
    fn await_pipe(&mut self, events: &Receiver<Event>) {
        let until = now() + PIPE_WAIT;
        while self.pipe_open {
            match events.recv_timeout(until.saturating_duration_since(now())) {
                Ok(Event::PipeClosed) => self.pipe_open = false,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// An hour, or what the service's owner allows if that is longer.
    fn grace_max(&self) -> Millis {
        self.spec.stop_grace.max(Millis::from_mins(60))
    }

    fn enter(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.saved = false;
        self.save();
        self.board.set(self.state.clone());
    }

    fn save(&mut self) {
        if !self.saved {
            self.saved = self.state.save(self.dir).is_ok();
        }
    }

    /// Until it is written, or nobody can want it any more because the folder is gone.
    fn save_at_last(&mut self) {
        while !self.saved && self.dir.exists() {
            std::thread::park_timeout(SAVE_RETRY);
            self.save();
        }
    }
}

/// Ends all that is left of the service: asks now, kills at `kill_at`. Returns how many could not be ended.
fn sweep(events: &Receiver<Event>, kill_at: Instant, pipe_open: &mut bool) -> u32 {
    let own = std::process::id();
    let mut asked: Vec<ProcessKey> = Vec::new();
    let give_up_at = kill_at.max(now()) + KILL_WAIT;
    loop {
        let left = proc::family(own);
        if left.is_empty() || now() >= give_up_at {
            return u32::try_from(left.len()).unwrap_or(u32::MAX);
        }
        for process in left {
            if now() >= kill_at {
                process.signal(Signal::KILL);
            } else if !asked.contains(&process) {
                process.signal(Signal::TERM);
                asked.push(process);
            }
        }
        // Whoever asks now to stop it waits for the end of this anyway.
        if matches!(events.recv_timeout(SWEEP_INTERVAL), Ok(Event::PipeClosed)) {
            *pipe_open = false;
        }
    }
}
