//! The run folder of one instance, `ROOT/SERVICE/i-7/`, or of one heal, `ROOT/h-7/`, and what can be read from it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hmsops_model::{InstanceId, ServiceName};

use super::Status;
use crate::record::{self, RecordError};
use crate::shim::{Exit, Phase, Spec, State};

/// More folders than this under one root were not made by us.
const FOLDERS_MAX: usize = 100_000;

/// Where an instance's records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// What a folder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing was told.
    Absent,
    /// Told, but no shim has taken it up yet.
    Unclaimed,
    /// A shim took it up and was killed before anything was started.
    Abandoned,
    /// A shim lives and is about to say more.
    Pending,
    /// This is how it is.
    Settled(Status),
}

impl Folder {
    pub(super) fn new(root: &Path, service: &ServiceName, id: InstanceId) -> Self {
        Self::at(root.join(service.as_str()).join(id.to_string()))
    }

    /// The run folder with this absolute path.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it.
    pub(crate) fn create(&self) -> Result<(), RecordError> {
        make(&self.path)
    }

    pub(crate) fn look(&self) -> Result<Look, RecordError> {
        if let Some(state) = State::load(&self.path)? {
            return Ok(judge(&state));
        }
        Ok(if self.path.join("spec.json").exists() { Look::Unclaimed } else { Look::Absent })
    }
}

/// What a state means at this moment, given which processes live.
pub(crate) fn judge(state: &State) -> Look {
    match &state.phase {
        Phase::Exited { exit } => Look::Settled(Status::Exited(*exit)),
        Phase::Failed { reason } => Look::Settled(Status::Failed(reason.clone())),
        Phase::Starting | Phase::Running => match &state.service {
            Some(service) if service.alive() => {
                Look::Settled(Status::Running { pid: service.pid, ports: state.ports.clone() })
            }
            _ if state.shim.alive() => Look::Pending,
            Some(_) => Look::Settled(Status::Exited(Exit::Unseen)),
            None => Look::Abandoned,
        },
    }
}

/// A lock of the root, as `ports.lock`, under which ports are chosen and written down; held until the file is
/// dropped. Blocks.
pub(crate) fn lock(root: &Path, name: &str) -> Result<File, RecordError> {
    make(root)?;
    let path = root.join(name);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(record::failed("open", &path))?;
    file.lock().map_err(record::failed("lock", &path))?;
    Ok(file)
}

/// Makes a folder for its owner alone: in there are services' environments and sockets that stop them.
fn make(path: &Path) -> Result<(), RecordError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(record::failed("make", path))
}

/// Every run folder under the root.
pub(super) fn all(root: &Path) -> Result<Vec<Folder>, RecordError> {
    let mut folders = Vec::new();
    for service in names(root)? {
        let Ok(service) = ServiceName::new(service) else { continue };
        folders.extend(of_service(root, &service)?);
        if folders.len() > FOLDERS_MAX {
            let reason = format!("it holds more than {FOLDERS_MAX} folders");
            return Err(RecordError::Content { path: root.to_owned(), reason });
        }
    }
    Ok(folders)
}

/// The run folders of one service, in order of id.
fn of_service(root: &Path, service: &ServiceName) -> Result<Vec<Folder>, RecordError> {
    let names = names(&root.join(service.as_str()))?;
    let mut ids: Vec<InstanceId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids.into_iter().map(|id| Folder::new(root, service, id)).collect())
}

/// Removes all but the last `kept` of those that have ended.
pub(super) fn remove_ended(root: &Path, service: &ServiceName, kept: usize) -> Result<usize, RecordError> {
    let mut ended = Vec::new();
    for folder in of_service(root, service)? {
        let Ok(Some(state)) = State::load(folder.path()) else { continue };
        // A shim that lives is still writing there.
        if matches!(judge(&state), Look::Settled(status) if status.is_final()) && !state.shim.alive() {
            ended.push(folder);
        }
    }
    // They stand in order of id.
    ended.truncate(ended.len().saturating_sub(kept));
    for folder in &ended {
        fs::remove_dir_all(folder.path()).map_err(record::failed("remove", folder.path()))?;
    }
    Ok(ended.len())
}

/// Ports that instances were given which live or may yet live.
pub(super) fn ports_in_use(root: &Path, except: &Folder) -> Result<Vec<u16>, RecordError> {
    let mut ports = Vec::new();
    for folder in all(root)? {
        if folder == *except {
            continue;
        }
        // A folder that cannot be understood is no reason not to start another instance.
        let settled = matches!(folder.look(), Ok(Look::Settled(status)) if status.is_final());
        if let (false, Ok(Some(spec))) = (settled, Spec::load(folder.path())) {
            ports.extend(spec.ports.into_values());
        }
    }
    Ok(ports)
}

fn names(dir: &Path) -> Result<Vec<String>, RecordError> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(record::failed("list", dir)(error)),
    }
}
