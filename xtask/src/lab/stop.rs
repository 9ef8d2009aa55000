//! How a lab learns that it is to end.
//!
//! The standard library cannot catch Ctrl-C. So the chore becomes a few lines of Python, which the lab needs anyway:
//! they catch the signals and run the lab in a session of its own, where neither Ctrl-C nor a signal to the whole
//! group reaches it or what it starts. A signal makes the file `stop` in the state folder, and so does
//! `cargo xtask lab down`. The lab looks at that file.

use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Trying as _};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a terminal or a supervisor had switched off (as `nohup` does) stays off.
const WATCHER: &str = r#"
import os, signal, subprocess, sys

stop, command = sys.argv[1], sys.argv[2:]

def ask(*_):
    try:
        open(stop, "w").close()
    except OSError as error:
        print("cannot write %s: %s" % (stop, error), file=sys.stderr)

if os.path.exists(stop):
    os.remove(stop)
lab = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, ask)
code = lab.wait()
sys.exit(code if code >= 0 else 1)
"#;

/// Becomes the watcher that runs `cargo xtask CHORE ARGS` inside; returns only if that fails.
pub(crate) fn run_inside(chore: &str, state: &Path, args: &[String]) -> Failure {
    let program = match std::env::current_exe().trying("find our own program") {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    let mut watcher = Command::new("python3");
    watcher
        .args(["-S", "-E", "-c", WATCHER])
        .arg(file(state))
        .arg(program)
        .arg(chore)
        .args(args)
        .arg("--inside");
    if !args.iter().any(|arg| arg.starts_with("--state")) {
        watcher.arg("--state").arg(state);
    }
    Failure::new(format!("cannot start `python3`, which the lab needs: {}", watcher.exec()))
        .hint("apt-get install python3")
}

/// Asks the lab of that folder to end.
pub(crate) fn ask(state: &Path) -> Result<(), Failure> {
    let file = file(state);
    std::fs::write(&file, "").trying(format!("write `{}`", file.display()))
}

fn file(state: &Path) -> PathBuf {
    state.join("stop")
}

/// Whether the lab is to end.
#[derive(Debug)]
pub(crate) struct Stop {
    file: PathBuf,
    /// The watcher; if it is gone, so is whoever wanted the lab.
    parent: u32,
}

impl Stop {
    /// For the lab of that folder.
    pub(crate) fn new(state: &Path) -> Self {
        Self { file: file(state), parent: parent_id() }
    }

    /// Whether it was asked to end.
    pub(crate) fn is_set(&self) -> bool {
        self.file.exists() || parent_id() != self.parent
    }

    /// Waits so long, or until it is asked to end, which it then says.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        self.wait_for(time, || false) == Waited::Stopped
    }

    /// Waits until something holds, the time is up, or it is asked to end.
    pub(crate) fn wait_for(&self, timeout: Duration, mut holds: impl FnMut() -> bool) -> Waited {
        let deadline = Instant::now() + timeout;
        loop {
            if holds() {
                return Waited::Held;
            }
            if self.is_set() {
                return Waited::Stopped;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// What was waited for holds.
    Held,
    /// The time was up.
    TimedOut,
    /// The lab is to end.
    Stopped,
}
