//! The tower's process and what it says.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::processes::{self, MARK};
use super::settings::Settings;
use super::{text_of, wait_for};
use crate::failure::{Failure, Trying as _};

/// A running `hmsops serve`.
#[derive(Debug)]
pub(crate) struct Tower {
    child: Child,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Tower {
    /// Starts it; what it says is appended to the lab's `tower.log`.
    pub(crate) fn start(settings: &Settings, program: &Path) -> Result<Self, Failure> {
        let path = log_path(&settings.state);
        let log = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .trying(format!("open `{}`", path.display()))?;
        let errors = log.try_clone().trying("share the tower's log")?;
        let child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(settings.state.join("hmsops.yaml"))
            .arg("--data")
            .arg(settings.state.join("data"))
            .arg("--repo")
            .arg(settings.state.join("repo"))
            .arg("--listen")
            .arg(settings.tower.to_string())
            .arg("--grpc-listen")
            .arg(settings.grpc.to_string())
            .env(MARK, text_of(&settings.state))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .trying(format!("start `{} serve`", program.display()))?;
        Ok(Self { child, started: Instant::now() })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end as a supervisor would, and ends it when it does not within 15 s; says how it went.
    pub(crate) fn stop(&mut self) -> Result<String, Failure> {
        let pid = self.pid();
        if let Some(status) = self.ended() {
            return Ok(format!("tower {pid} (had ended: {status})"));
        }
        processes::send("TERM", pid)?;
        if wait_for(Duration::from_secs(15), || self.ended().is_some()) {
            return Ok(format!("tower {pid}"));
        }
        self.child.kill().and_then(|()| self.child.wait()).trying("end the tower")?;
        Ok(format!("tower {pid} (by force)"))
    }
}

/// What the tower has said, line by line.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    read: u64,
    /// A line whose end has not been written yet.
    begun: String,
}

impl Log {
    /// From the beginning.
    pub(crate) fn new(state: &Path) -> Self {
        Self { path: log_path(state), read: 0, begun: String::new() }
    }

    /// The whole lines since the last look.
    pub(crate) fn fresh_lines(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        if file.seek(SeekFrom::Start(self.read)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
            return Vec::new();
        }
        self.read += bytes.len() as u64;
        self.begun.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.begun.rfind('\n') else { return Vec::new() };
        let rest = self.begun.split_off(end + 1);
        std::mem::replace(&mut self.begun, rest).lines().map(str::to_owned).collect()
    }

    /// Its last lines, for a failure's explanation.
    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(15)..];
        format!("last lines of {}:\n  {}", self.path.display(), last.join("\n  "))
    }
}

fn log_path(state: &Path) -> PathBuf {
    state.join("tower.log")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_come_whole_and_once() {
        let state = std::env::temp_dir().join(format!("hmsops-log-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let mut file = File::create(log_path(&state)).unwrap();
        let mut log = Log::new(&state);
        assert_eq!(log.fresh_lines(), [""; 0]);
        write!(file, "one\ntw").unwrap();
        assert_eq!(log.fresh_lines(), ["one"]);
        assert_eq!(log.fresh_lines(), [""; 0]);
        write!(file, "o\nthree\n").unwrap();
        assert_eq!(log.fresh_lines(), ["two", "three"]);
        assert!(log.tail().ends_with("one\n  two\n  three"));
        std::fs::remove_dir_all(&state).unwrap();
    }
}
