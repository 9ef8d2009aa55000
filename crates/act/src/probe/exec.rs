//! A program as a check: exit code 0 passes. No shell, an environment of our own making, and nothing of it is left
//! when its time is over.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::Target;
use super::place::Place;
use super::seen::{Seen, Trouble, failed, io_trouble};
use crate::proc;
use crate::shim::PASSED_ON;

/// Kept of each stream; the rest is read and dropped, so that the program doesn't hang on a full pipe.
const OUTPUT_BYTES_MAX: usize = 4096;
/// What a program has written is there when it has ended; only what escaped its group can hold the pipe longer.
const PIPE_WAIT: std::time::Duration = std::time::Duration::from_millis(50);

/// Runs it to its end. Whoever drops this ends it, and all that it has started.
pub(super) async fn ask(target: &Target, place: &Place, argv: &[String]) -> Result<Seen, Trouble> {
    let fill = |word: &String| {
        word.replace("{port}", &place.port.to_string())
            .replace("{host}", &place.host)
            .replace("{version}", target.version.as_str())
    };
    let argv: Vec<String> = argv.iter().map(fill).collect();
    let Some((program, arguments)) = argv.split_first() else { return Err(failed("has no program to run")) };
    let dir = target.dir.as_deref().unwrap_or(Path::new("/"));
    // A first word with a `/` is looked for in the version's folder, as that of `run:` is.
    let path = if program.contains('/') { dir.join(program) } else { program.into() };
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("HMS_SERVICE", target.service.as_str())
        .env("HMS_VERSION", target.version.as_str())
        .env("HMS_INSTANCE", target.instance.to_string())
        .env("HMS_ADDR", place.addr())
        .env("PORT", place.port.to_string())
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match io_trouble(&error) {
        Trouble::Overloaded => Trouble::Overloaded,
        Trouble::Failed(_) => failed(format!("cannot run `{program}`: {error}")),
    })?;
    let mut group = Group { leader: child.id().unwrap_or(0), ended: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = {
        let reading = async { tokio::join!(keep(stdout, &mut out), keep(stderr, &mut err)) };
        tokio::pin!(reading);
        tokio::select! {
            // Both streams at their end: it has ended, or is about to.
            _ = &mut reading => child.wait().await,
            status = child.wait() => {
                group.end();
                let _ = tokio::time::timeout(PIPE_WAIT, reading).await;
                status
            }
        }
    };
    group.end();
    let status = status.map_err(|error| failed(format!("cannot wait for `{program}`: {error}")))?;
    out.extend_from_slice(&err);
    let output = Some(String::from_utf8_lossy(&out).trim_end().to_owned());
    match status.code() {
        Some(code) => Ok(Seen { exit: Some(code), output, ..Seen::default() }),
        None => {
            use std::os::unix::process::ExitStatusExt as _;
            Err(failed(format!("was ended by signal {}", status.signal().unwrap_or(0))))
        }
    }
}

/// Reads to the end, keeps the beginning.
async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        let room = OUTPUT_BYTES_MAX - kept.len();
        kept.extend(piece.iter().take(count.min(room)));
    }
}

/// The processes of a check.
struct Group {
    leader: u32,
    ended: bool,
}

impl Group {
    /// Its leader has ended: what is left in its group ends, too.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            signal(self.leader);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            // While the leader lives, what left its group is still found as its child.
            for process in proc::family(self.leader) {
                process.signal(Signal::KILL);
            }
            signal(self.leader);
        }
    }
}

fn signal(leader: u32) {
    if let Some(leader) = i32::try_from(leader).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw) {
        let _ = kill_process_group(leader, Signal::KILL);
    }
}
