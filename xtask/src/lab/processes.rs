//! The processes that a lab has started, found by a mark in their environment: gateway, shims and services outlive
//! the tower on purpose, so nobody's child list names them all.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{text_of, wait_for};
use crate::failure::{Failure, Trying as _};

/// The environment variable that marks a lab's processes with its state folder.
pub(crate) const MARK: &str = "HMSOPS_LAB_PROCESS";

/// Running processes of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Processes(Vec<Process>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// `tower`, `gateway`, `shim`, `portal`, `photo`, else its program.
    role: String,
}

impl Processes {
    /// All that run now and belong to the lab of that folder.
    pub(crate) fn of(state: &Path) -> Self {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Self(Vec::new());
        };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut found: Vec<Process> = pids
            .filter(|pid| *pid != std::process::id() && is_of(*pid, state))
            .filter_map(|pid| Some(Process { pid, role: role(pid)? }))
            .collect();
        found.sort_by_key(|process| process.pid);
        Self(found)
    }

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first that is that: `tower`, `gateway`, …
    pub(crate) fn pid_of(&self, role: &str) -> Option<u32> {
        self.0.iter().find(|process| process.role == role).map(|process| process.pid)
    }

    /// Asks each to end, waits, and ends those that do not; says what was ended.
    pub(crate) fn end(&self, patience: Duration) -> Result<String, Failure> {
        signal("TERM", &self.0)?;
        let is_alive = |process: &Process| role(process.pid).is_some_and(|role| role == process.role);
        let left =
            || -> Vec<Process> { self.0.iter().filter(|process| is_alive(process)).cloned().collect() };
        wait_for(patience, || left().is_empty());
        let stubborn = left();
        signal("KILL", &stubborn)?;
        wait_for(Duration::from_secs(5), || left().is_empty());
        let forced =
            if stubborn.is_empty() { String::new() } else { format!(" (by force: {})", Self(stubborn)) };
        Ok(format!("{self}{forced}"))
    }
}

impl fmt::Display for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> =
            self.0.iter().map(|process| format!("{} {}", process.role, process.pid)).collect();
        f.write_str(if shown.is_empty() { "nothing" } else { "" })?;
        f.write_str(&shown.join(", "))
    }
}

/// Whether the process carries the lab's mark, or was started for its data folder: shims get a clean environment
/// and name the folder as an argument; services get it in `HMS_RUN_DIR`.
fn is_of(pid: u32, state: &Path) -> bool {
    let data = text_of(&state.join("data"));
    let mark = format!("{MARK}={}", text_of(state));
    let service = format!("HMS_RUN_DIR={data}/");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    if variables.any(|variable| variable == mark.as_bytes() || variable.starts_with(service.as_bytes())) {
        return true;
    }
    let args = args(pid);
    let is_hmsops = args.first().is_some_and(|program| program.ends_with("hmsops"));
    is_hmsops && args.iter().any(|arg| Path::new(arg).starts_with(&data))
}

fn args(pid: u32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .filter(|arg| !arg.is_empty())
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect()
}

/// What a process is, `None` once it has ended (also as a zombie, which has no arguments).
fn role(pid: u32) -> Option<String> {
    let args = args(pid);
    let program = args.first()?;
    let is_hmsops = program.ends_with("hmsops");
    Some(match args.get(1).map(String::as_str) {
        Some("serve") if is_hmsops => "tower".into(),
        Some(verb) if is_hmsops => verb.to_owned(),
        Some(script) if script.ends_with("portal") => "portal".into(),
        Some(script) if script.ends_with("photo") => "photo".into(),
        _ => program.rsplit('/').next().unwrap_or(program).to_owned(),
    })
}

/// Sends a signal; processes that are already gone do not matter.
fn signal(name: &str, processes: &[Process]) -> Result<(), Failure> {
    for process in processes {
        Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &process.pid.to_string()])
            .stderr(Stdio::null())
            .status()
            .trying("run `sh` to end a process")?;
    }
    Ok(())
}

/// Sends a signal to one process.
pub(crate) fn send(name: &str, pid: u32) -> Result<(), Failure> {
    signal(name, &[Process { pid, role: String::new() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_processes_are_found_and_ended_and_others_left_alone() {
        let state = Path::new("/a lab that is not there");
        let start = |mark: &str| {
            Command::new("sleep").arg("600").env(MARK, mark).stdin(Stdio::null()).spawn().unwrap()
        };
        let (mut ours, mut other) = (start(&text_of(state)), start("another"));
        let expected = Processes(vec![Process { pid: ours.id(), role: "sleep".into() }]);
        // Between fork and exec a child has our name and no mark yet.
        assert!(wait_for(Duration::from_secs(5), || Processes::of(state) == expected));
        assert_eq!(expected.end(Duration::from_secs(5)), Ok(format!("sleep {}", ours.id())));
        assert!(Processes::of(state).is_empty());
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn services_and_shims_are_known_by_the_data_folder() {
        let state = Path::new("/a third lab that is not there");
        let mut service = Command::new("sleep")
            .arg("600")
            .env_clear()
            .env("HMS_RUN_DIR", state.join("data/run/csac-portal/1"))
            .spawn()
            .unwrap();
        let mut neighbour = Command::new("sleep")
            .arg("600")
            .env("HMS_RUN_DIR", "/a third lab that is not there either")
            .spawn()
            .unwrap();
        let expected = Processes(vec![Process { pid: service.id(), role: "sleep".into() }]);
        assert!(wait_for(Duration::from_secs(5), || Processes::of(state) == expected));
        for child in [&mut service, &mut neighbour] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn one_that_does_not_listen_is_ended_by_force() {
        let state = Path::new("/another lab that is not there");
        let mut deaf = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do read -r line; done"])
            .env(MARK, state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(deaf.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let ended = Processes::of(state).end(Duration::from_millis(200)).unwrap();
        assert!(ended.contains("by force: sh"), "{ended}");
        deaf.wait().unwrap();
    }
}
