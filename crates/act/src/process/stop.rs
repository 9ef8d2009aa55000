//! Stopping: through the shim while it lives, by hand when it does not.

use std::fs::OpenOptions;
use std::time::Duration;

use hmsops_model::Millis;
use rustix::process::Signal;
use tokio::time::Instant;

use super::folder::Folder;
use super::uptake::settle;
use super::{ProcessError, SHIM_WAIT, Status, ask, blocking};
use crate::proc::{self, ProcessKey};
use crate::record;
use crate::shim::{Exit, Phase, Request, Spec, State};

/// What a shim takes beyond the grace: SIGKILL, sweeping, writing.
const SHIM_MARGIN: Duration = Duration::from_secs(6);
/// A process that SIGKILL has not ended by then hangs in the kernel.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// While processes are being ended, this often is looked whether they have.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// Ends all that belongs to the folder. `what` is whom it is for, in sentences.
pub(super) async fn stop(folder: &Folder, what: &str) -> Result<Option<Exit>, ProcessError> {
    let Some(spec) = Spec::load(folder.path())? else { return Ok(None) };
    let status = match settle(folder, what, SHIM_WAIT).await? {
        Some(status) => status,
        None if claim(folder).await? => return Ok(None),
        // A shim was quicker.
        None => settle(folder, what, SHIM_WAIT).await?.unwrap_or(Status::Starting),
    };
    let state = State::load(folder.path())?;
    if state.as_ref().is_some_and(|state| state.shim.alive())
        && let Some(exit) = through_shim(folder, spec.stop_grace).await
    {
        return Ok(exit);
    }
    by_hand(folder, what, spec.stop_grace).await?;
    Ok(match status {
        Status::Exited(exit) => Some(exit),
        Status::Running { .. } => Some(Exit::Unseen),
        Status::Absent | Status::Starting | Status::Failed(_) => None,
    })
}

/// `None` when the shim did not do it.
async fn through_shim(folder: &Folder, grace: Millis) -> Option<Option<Exit>> {
    let limit = Duration::from_millis(grace.0) + SHIM_MARGIN;
    let asked = tokio::time::timeout(limit, ask::ask(folder, Request::Stop { grace_ms: grace })).await;
    let state = match asked {
        Ok(Ok(state)) => state,
        // It ended while we asked, or it hangs.
        Ok(Err(_)) | Err(_) => State::load(folder.path()).ok()??,
    };
    let left = folder.path().to_owned();
    let nothing_left = blocking(move || Ok(proc::marked(&left).is_empty())).await.unwrap_or(false);
    match state.phase {
        Phase::Exited { exit } if nothing_left => Some(Some(exit)),
        Phase::Failed { .. } if nothing_left => Some(None),
        _ => None,
    }
}

/// Takes a folder that no shim has taken up, so that a late one does not start what was stopped. False when a
/// shim has it.
async fn claim(folder: &Folder) -> Result<bool, ProcessError> {
    let folder = folder.clone();
    let claim = move || {
        let path = folder.path().join("shim.lock");
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(record::failed("open", &path))?;
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        let own = ProcessKey::of(std::process::id());
        let own = own
            .ok_or(std::io::ErrorKind::NotFound.into())
            .map_err(record::failed("read", "/proc".as_ref()))?;
        let mut state = State::starting(own, std::collections::BTreeMap::new());
        // Ended at once, and by nobody: there was no process, and none is left of an earlier shim.
        for stray in proc::marked(folder.path()) {
            stray.signal(Signal::KILL);
        }
        state.phase = Phase::Failed { reason: "it was stopped before it was started".into() };
        state.save(folder.path())?;
        Ok(true)
    };
    blocking(claim).await
}

/// Without a shim: SIGTERM to the group and all that carries the folder's mark, after the grace SIGKILL.
pub(crate) async fn by_hand(folder: &Folder, what: &str, grace: Millis) -> Result<(), ProcessError> {
    let kill_at = Instant::now() + Duration::from_millis(grace.0);
    let give_up_at = kill_at + KILL_WAIT;
    let mut asked: Vec<ProcessKey> = Vec::new();
    loop {
        let path = folder.path().to_owned();
        let left = blocking(move || left_of(&path)).await?;
        let Some(first) = left.first() else { return Ok(()) };
        if Instant::now() >= give_up_at {
            return Err(ProcessError::StillThere { what: what.to_owned(), pid: first.pid });
        }
        for process in left {
            if Instant::now() >= kill_at {
                process.signal(Signal::KILL);
            } else if !asked.contains(&process) {
                process.signal(Signal::TERM);
                asked.push(process);
            }
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// All processes of an instance whose shim is gone. While the service's own process lives, its descendants are
/// its; what is left after it is known by its environment.
fn left_of(dir: &std::path::Path) -> Result<Vec<ProcessKey>, ProcessError> {
    let mut left = proc::marked(dir);
    if let Some(service) = State::load(dir)?.and_then(|state| state.service)
        && service.alive()
    {
        left.push(service.clone());
        left.extend(proc::family(service.pid));
    }
    left.sort_unstable_by_key(|process| process.pid);
    left.dedup();
    Ok(left)
}
