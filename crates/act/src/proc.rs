//! What `/proc` tells about processes. A pid alone names nothing for long: it is used again after its
//! process has gone, so a process is named by pid, start time and boot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// The variable that a service's process and all that descend from it carry; its value is the run folder.
pub(crate) const MARK: &str = "HMS_RUN_DIR";

/// One process, unmistakably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessKey {
    /// Its pid.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`, see proc_pid_stat(5)).
    pub(crate) started: u64,
    /// `/proc/sys/kernel/random/boot_id`: after a reboot, pids and ticks begin anew.
    pub(crate) boot: String,
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) command: String,
    /// `Z` and `X` are processes that have ended and wait to be collected.
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    pub(crate) started: u64,
}

impl ProcessKey {
    /// The process that has this pid now; `None` when there is none, or it has ended and waits to be collected.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        stat(pid).filter(Stat::runs).map(|stat| stat.key())
    }

    /// Whether it still runs.
    pub(crate) fn alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// How long ago it started; `None` for a process of another boot.
    pub(crate) fn age(&self) -> Option<Duration> {
        if self.boot != boot() {
            return None;
        }
        // Field 22 counts on the clock that also counts suspended time (proc_pid_stat(5)).
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let now_ms = u64::try_from(now.tv_sec).ok()? * 1000 + u64::try_from(now.tv_nsec).ok()? / 1_000_000;
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        Some(Duration::from_millis(
            now_ms.saturating_sub(self.started.saturating_mul(1000) / ticks_per_second),
        ))
    }

    /// Sends the signal, unless the process has gone: then it says false and nobody else is hit.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = as_pid(self.pid) else { return false };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // From here on the handle keeps naming the process that is checked next.
            Ok(handle) => self.alive() && rustix::process::pidfd_send_signal(handle, signal).is_ok(),
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                self.alive() && rustix::process::kill_process(pid, signal).is_ok()
            }
            Err(_) => false,
        }
    }

    /// Sends the signal to the process group that this process leads, while it lives.
    pub(crate) fn signal_group(&self, signal: Signal) -> bool {
        self.alive()
            && as_pid(self.pid).is_some_and(|pid| rustix::process::kill_process_group(pid, signal).is_ok())
    }
}

impl Stat {
    /// False for what has ended and only waits to be collected.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Names the process.
    pub(crate) fn key(&self) -> ProcessKey {
        ProcessKey { pid: self.pid, started: self.started, boot: boot().to_owned() }
    }
}

/// 0 and 1 are nobody we may signal.
fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    })
}

/// What `/proc/PID/stat` says; `None` when there is no such process.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(line: &[u8]) -> Option<Stat> {
    // The command may hold spaces and parentheses: it ends at the last one.
    let line = String::from_utf8_lossy(line);
    let (head, tail) = line.rsplit_once(')')?;
    let (pid, command) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    // `fields[0]` is field 3 of the manual page.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        pid: pid.trim().parse().ok()?,
        command: command.to_owned(),
        state: field(3)?.chars().next()?,
        parent: field(4)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        started: field(22)?.parse().ok()?,
    })
}

/// Every process that runs now.
pub(crate) fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat).filter(Stat::runs).collect()
}

/// What `leader` has to answer for: all that is in its session or descends from it, but not itself.
pub(crate) fn family(leader: u32) -> Vec<ProcessKey> {
    let all = all();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for stat in &all {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    let mut found: BTreeSet<u32> = BTreeSet::new();
    let mut next: Vec<u32> = all.iter().filter(|stat| stat.session == leader).map(|stat| stat.pid).collect();
    next.push(leader);
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found.remove(&leader);
    all.iter().filter(|stat| found.contains(&stat.pid)).map(Stat::key).collect()
}

/// All processes whose environment says that they belong to this run folder.
pub(crate) fn marked(dir: &Path) -> Vec<ProcessKey> {
    let mut mark = format!("{MARK}=").into_bytes();
    mark.extend_from_slice(dir.as_os_str().as_bytes());
    all()
        .iter()
        .filter(|stat| {
            let environ = fs::read(format!("/proc/{}/environ", stat.pid)).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == mark)
        })
        .map(Stat::key)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = b"42 (a) b (c) S 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 1 2";
        let stat = parse_stat(line).unwrap();
        assert_eq!(
            (stat.pid, stat.command.as_str(), stat.state, stat.parent, stat.session, stat.started),
            (42, "a) b (c", 'S', 7, 9, 777)
        );
        assert_eq!(parse_stat(b"42 (cut off) S 7"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn a_process_is_as_old_as_the_time_since_its_start() {
        let own = ProcessKey::of(std::process::id()).unwrap();
        let age = own.age().unwrap();
        assert!(age < Duration::from_hours(1), "{age:?}: this test has just started");
        let older = ProcessKey { started: own.started.saturating_sub(own.started / 2), ..own.clone() };
        assert!(older.age().unwrap() > age);
        assert_eq!(ProcessKey { boot: "another".into(), ..own }.age(), None);
    }

    #[test]
    fn a_process_is_no_longer_itself_when_its_pid_is_another_s() {
        let own = ProcessKey::of(std::process::id()).unwrap();
        assert!(own.alive());
        let other = ProcessKey { started: own.started + 1, ..own.clone() };
        assert!(!other.alive());
        assert!(!other.signal(Signal::KILL), "we would be dead");
        assert!(!ProcessKey { boot: "another".into(), ..own }.alive());
    }
}
