//! From a run folder with a spec to a shim that has taken it up, and what that tells.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hmsops_model::Secret;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::folder::{self, Folder, Look};
use super::{ProcessError, Status, ask, cannot_start};
use crate::core_file;
use crate::shim::{self, Request};

/// A shim writes its first state in milliseconds; on a machine that is short of everything it may take this.
const START_WAIT: Duration = Duration::from_secs(10);
/// How often a folder is looked at while something is awaited from its shim.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What is known now. A shim that lives is asked, because its disk may be full and what is written old.
pub(crate) async fn status(folder: &Folder) -> Result<Status, ProcessError> {
    Ok(match look(folder).await? {
        Look::Absent => Status::Absent,
        Look::Unclaimed | Look::Abandoned | Look::Pending => Status::Starting,
        Look::Settled(status) => status,
    })
}

async fn look(folder: &Folder) -> Result<Look, ProcessError> {
    let look = folder.look()?;
    if look != Look::Pending {
        return Ok(look);
    }
    match ask::ask(folder, Request::Status).await {
        Ok(state) => Ok(folder::judge(&state)),
        // It may just have ended: what it wrote last is the truth then.
        Err(_) => Ok(folder.look()?),
    }
}

/// Waits until the folder says something definite; `None` when the shim has to be started (again). `what` is whom
/// it is for, in sentences.
pub(crate) async fn settle(
    folder: &Folder,
    what: &str,
    shim_wait: Duration,
) -> Result<Option<Status>, ProcessError> {
    let begun_at = Instant::now();
    loop {
        match look(folder).await? {
            Look::Settled(status) => return Ok(Some(status)),
            Look::Absent | Look::Abandoned => return Ok(None),
            Look::Unclaimed if begun_at.elapsed() >= shim_wait => return Ok(None),
            Look::Pending if begun_at.elapsed() >= START_WAIT => {
                return Err(cannot_start(what, "its shim gave no answer in 10 s"));
            }
            Look::Unclaimed | Look::Pending => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}

/// Starts `exe shim --dir DIR`. Secrets go by its environment: that is read by the same user alone, and lies on no disk.
pub(crate) fn spawn_shim(
    exe: &Path,
    folder: &Folder,
    what: &str,
    secrets: &BTreeMap<String, Secret>,
) -> Result<Child, ProcessError> {
    let mut command = Command::new(exe);
    // Not in a group of its own: the leader of a group cannot make the session that a shim lives in.
    command.arg("shim").arg("--dir").arg(folder.path()).current_dir("/");
    // Nothing of the tower's environment that could be a secret is in the shim's.
    command.env_clear();
    for name in shim::PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(limit) = core_file::told() {
        command.env(core_file::VARIABLE, limit);
    }
    for (name, value) in secrets {
        command.env(format!("{}{name}", shim::SECRET), value.expose());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
        .spawn()
        .map_err(|error| cannot_start(what, &format!("its shim `{}` does not start: {error}", exe.display())))
}

/// Waits for the first news from a shim that was started just now, or for its end.
pub(crate) async fn first_status(
    folder: &Folder,
    what: &str,
    mut shim: Child,
) -> Result<Status, ProcessError> {
    let mut stderr = shim.stderr.take();
    let (ended_in, mut ended) = oneshot::channel();
    // Goes on after us, so that a shim that ends much later is collected.
    tokio::spawn(async move { ended_in.send(shim.wait().await.is_ok_and(|status| status.success())) });
    let begun_at = Instant::now();
    let mut gave_up = false;
    loop {
        // One that ends well without a word has found another shim at work, which has not written yet.
        gave_up |= ended.try_recv() == Ok(false);
        match look(folder).await? {
            Look::Settled(status) => return Ok(status),
            Look::Absent | Look::Unclaimed | Look::Abandoned if gave_up => break,
            _ if begun_at.elapsed() >= START_WAIT => {
                return Err(cannot_start(what, "its shim gave no answer in 10 s"));
            }
            _ => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
    let mut said = Vec::new();
    if let Some(stderr) = &mut stderr {
        // It has ended, so all it said is in the pipe.
        let _ = stderr.take(4096).read_to_end(&mut said).await;
    }
    let said = String::from_utf8_lossy(&said);
    // A panic's last line is a hint to programmers; what happened stands above it.
    let tells = |line: &&str| !line.trim().is_empty() && !line.starts_with("note: ");
    let line = said.lines().rfind(tells).unwrap_or("it said nothing");
    Err(cannot_start(what, &format!("its shim gave up: {}", line.trim())))
}
