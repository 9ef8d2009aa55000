//! The process driver: versions run as processes on this machine, each behind a shim that outlives the tower.
//!
//! Everything it knows is in the run folders, so a new driver on the same root knows as much as the old one.
//! All operations are idempotent by instance id.

pub(crate) mod ask;
pub(crate) mod folder;
mod ports;
pub(crate) mod stop;
pub(crate) mod uptake;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmsops_model::instance::Instance;
use hmsops_model::{InstanceId, Millis, Secret, ServiceName, Version};
use tokio::time::MissedTickBehavior;

use self::folder::Folder;
use crate::image::{self, ImageError};
use crate::record::RecordError;
use crate::shim::{self, Exit, Request, Spec};

/// A folder with a spec and no state: its shim may be about to write, or was never started.
pub(crate) const SHIM_WAIT: Duration = Duration::from_secs(1);
/// How often a process is looked for of which no shim tells.
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);
/// Run folders kept of each service after their instances have ended.
const ENDED_KEPT: usize = 10;
/// The longest `tail`.
const TAIL_BYTES_MAX: usize = 1 << 20;

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartSpec {
    /// The copy; its id makes starting idempotent.
    pub instance: Instance,
    /// The version's folder, `{tag}` already replaced.
    pub image_dir: PathBuf,
    /// The command; `{port}` and `{port:NAME}` are replaced.
    pub run: Vec<String>,
    /// Ports by name; `None` is `auto`.
    pub ports: BTreeMap<String, Option<u16>>,
    /// Further variables of its environment; `{port}` and `{port:NAME}` are replaced.
    pub env: BTreeMap<String, String>,
    /// Variables that nobody else may know: they are written nowhere.
    pub secrets: BTreeMap<String, Secret>,
    /// Between SIGTERM and SIGKILL when it is stopped.
    pub stop_grace: Millis,
}

/// A service's process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its pid.
    pub pid: u32,
    /// The ports it was given, by name.
    pub ports: BTreeMap<String, u16>,
    /// It ran already.
    pub adopted: bool,
}

/// What is known of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing was ever started under this id, or it has been forgotten.
    Absent,
    /// Between the decision and the process. Also after a crash in between: then `start` has to be called again.
    Starting,
    /// It runs.
    Running {
        /// Its pid.
        pid: u32,
        /// Its ports, by name.
        ports: BTreeMap<String, u16>,
    },
    /// It ran and has ended.
    Exited(Exit),
    /// It could not be started; the reason is a whole sentence.
    Failed(String),
}

impl Status {
    /// Whether it has ended, or never began.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Absent | Self::Exited(_) | Self::Failed(_))
    }
}

/// Ends a sentence that starts with the service's name.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("was never started"),
            Self::Starting => f.write_str("is starting"),
            Self::Running { pid, .. } => write!(f, "runs as pid {pid}"),
            Self::Exited(exit) => exit.fmt(f),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// What a driver finds after a restart.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Every instance that has a folder, in order of service and id.
    pub instances: Vec<(Instance, Status)>,
    /// Folders that could not be understood, a sentence each. They are left alone.
    pub unreadable: Vec<String>,
}

/// Why the driver could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The command could not be started; the text is a whole sentence.
    #[error("{0}")]
    CannotStart(String),
    /// The version's folder is not there.
    #[error("cannot start {service} {version}: {source}")]
    Image {
        /// The service.
        service: ServiceName,
        /// The version.
        version: Version,
        /// What is wrong with the folder.
        source: ImageError,
    },
    /// It ran under this id and has ended, long ago or at once; ids are not used twice.
    #[error("cannot start {service} {version}: `{id}` {exit}")]
    Exited {
        /// The service.
        service: ServiceName,
        /// The version.
        version: Version,
        /// The instance.
        id: InstanceId,
        /// How it ended.
        exit: Exit,
    },
    /// It does not end, not even by SIGKILL.
    #[error("cannot stop {what}: pid {pid} is still there after SIGKILL")]
    StillThere {
        /// Service and version, or the heal.
        what: String,
        /// Its process, or one of its descendants.
        pid: u32,
    },
    /// A run folder could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Held by who starts or stops an instance.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Starts, stops and watches processes. Cheap to share behind an `Arc`; several on one root do not disturb each
/// other.
#[derive(Debug)]
pub struct ProcessDriver {
    root: PathBuf,
    exe: PathBuf,
    /// One at a time starts or stops an instance.
    turns: Mutex<BTreeMap<(ServiceName, InstanceId), Turn>>,
}

impl ProcessDriver {
    /// With run folders under `root` (`DATA/run`), and our own program `exe`, which is started as
    /// `exe shim --dir DIR`.
    pub fn new(root: PathBuf, exe: PathBuf) -> Self {
        // A shim runs in another folder than we do.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self { root: absolute(root), exe: absolute(exe), turns: Mutex::default() }
    }

    fn folder(&self, instance: &Instance) -> Folder {
        Folder::new(&self.root, &instance.service, instance.id)
    }

    /// Waits until nobody else starts or stops this instance.
    async fn turn(&self, instance: &Instance) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry((instance.service.clone(), instance.id)).or_default())
        };
        turn.lock_owned().await
    }

    /// Starts the instance, or finds that it runs already. Returns when the process runs; whether it is any good
    /// is for the probes.
    pub async fn start(&self, spec: StartSpec) -> Result<Started, ProcessError> {
        let folder = self.folder(&spec.instance);
        let _turn = self.turn(&spec.instance).await;
        self.check_owner(&folder, &spec.instance).await?;
        let known = uptake::settle(&folder, &named(&spec.instance), SHIM_WAIT).await?;
        if let Some(status) = known {
            return outcome(status, &spec.instance, true);
        }
        image::check_present(&spec.image_dir).map_err(|source| ProcessError::Image {
            service: spec.instance.service.clone(),
            version: spec.instance.version.clone(),
            source,
        })?;
        let (instance, secrets) = (spec.instance.clone(), spec.secrets.clone());
        self.write_spec(&folder, spec).await?;
        let what = named(&instance);
        let shim = uptake::spawn_shim(&self.exe, &folder, &what, &secrets)?;
        let status = uptake::first_status(&folder, &what, shim).await?;
        outcome(status, &instance, false)
    }

    /// Numbers begin anew with a new ledger: a folder that another instance left under the same number is neither
    /// adopted nor stopped.
    async fn check_owner(&self, folder: &Folder, instance: &Instance) -> Result<(), ProcessError> {
        let path = folder.path().to_owned();
        let spec = blocking(move || Spec::load(&path).map_err(ProcessError::from)).await?;
        match spec {
            Some(spec) if spec.instance() != Some(instance) => {
                let why = format!(
                    "its run folder `{}` belongs to {} of an earlier ledger; stop that and remove the folder",
                    folder.path().display(),
                    spec.owner,
                );
                Err(cannot_start(&named(instance), &why))
            }
            _ => Ok(()),
        }
    }

    /// Chooses ports and writes the spec; once it is written, its ports are taken.
    async fn write_spec(&self, folder: &Folder, spec: StartSpec) -> Result<(), ProcessError> {
        let (root, folder) = (self.root.clone(), folder.clone());
        let write = move || {
            // One at a time chooses ports, also among several towers.
            let _lock = folder::lock(&root, "ports.lock")?;
            let ports = ports::choose(&root, &folder, &spec)?;
            let told = ports::fill_in(spec, ports)?;
            folder.create()?;
            told.save(folder.path()).map_err(ProcessError::from)
        };
        blocking(write).await
    }

    /// Stops the instance: SIGTERM, after its grace SIGKILL, to all that it has started. Returns when nothing is
    /// left, with how it ended; `None` when it never ran. Works without its shim, too.
    pub async fn stop(&self, instance: &Instance) -> Result<Option<Exit>, ProcessError> {
        let _turn = self.turn(instance).await;
        self.check_owner(&self.folder(instance), instance).await?;
        stop::stop(&self.folder(instance), &named(instance)).await
    }

    /// What is known of the instance now.
    pub async fn status(&self, instance: &Instance) -> Result<Status, ProcessError> {
        uptake::status(&self.folder(instance)).await
    }

    /// Everything that was started under this root, for a tower that comes back.
    pub async fn adopt_all(&self) -> Result<Adopted, ProcessError> {
        let root = self.root.clone();
        let folders = blocking(move || Ok(folder::all(&root)?)).await?;
        let mut adopted = Adopted::default();
        for folder in folders {
            let Some(spec) = Spec::load(folder.path()).unwrap_or_else(|error| {
                adopted.unreadable.push(error.to_string());
                None
            }) else {
                continue;
            };
            // A heal's folder is not an instance's; there is none under this root.
            let Some(instance) = spec.instance() else { continue };
            match uptake::status(&folder).await {
                Ok(status) => adopted.instances.push((instance.clone(), status)),
                Err(error) => adopted.unreadable.push(error.to_string()),
            }
        }
        adopted.instances.sort_by(|(a, _), (b, _)| (&a.service, a.id).cmp(&(&b.service, b.id)));
        Ok(adopted)
    }

    /// Returns when the instance has ended, at once if it has already. May be dropped at any time.
    pub async fn watch(&self, instance: &Instance) -> Result<Status, ProcessError> {
        let folder = self.folder(instance);
        let mut look = tokio::time::interval(LIVENESS_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The shim answers at the end, or its connection closes. Without a shim the process is looked for.
            let mut shim = std::pin::pin!(ask::ask(&folder, Request::Wait));
            let mut asked = true;
            while asked {
                tokio::select! {
                    _ = &mut shim => asked = false,
                    _ = look.tick() => {}
                }
                let known = uptake::status(&folder).await?;
                if known.is_final() {
                    return Ok(known);
                }
            }
            look.tick().await;
        }
    }

    /// The last `bytes` (at most 1 MiB) that the instance printed, for people; empty when there is nothing.
    pub async fn tail(&self, instance: &Instance, bytes: usize) -> Result<String, ProcessError> {
        let folder = self.folder(instance);
        let read = move || {
            let bytes = shim::tail(folder.path(), bytes.min(TAIL_BYTES_MAX));
            let bytes = bytes.map_err(crate::record::failed("read the output in", folder.path()))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        blocking(read).await
    }

    /// Removes the folders of instances of the service that have ended, but for the last ten. Returns how many.
    pub async fn forget(&self, service: &ServiceName) -> Result<usize, ProcessError> {
        let (root, service) = (self.root.clone(), service.clone());
        blocking(move || Ok(folder::remove_ended(&root, &service, ENDED_KEPT)?)).await
    }
}

/// File work of the driver is small, but a disk may stall: the runtime's own threads go on meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProcessError> + Send + 'static,
) -> Result<T, ProcessError> {
    tokio::task::spawn_blocking(work).await.expect("invariant: file work neither panics nor is aborted")
}

/// As an instance is named in sentences.
fn named(instance: &Instance) -> String {
    format!("{} {}", instance.service, instance.version)
}

pub(crate) fn cannot_start(what: &str, why: &str) -> ProcessError {
    ProcessError::CannotStart(format!("cannot start {what}: {why}"))
}

fn outcome(status: Status, instance: &Instance, adopted: bool) -> Result<Started, ProcessError> {
    match status {
        Status::Running { pid, ports } => Ok(Started { pid, ports, adopted }),
        Status::Failed(reason) => Err(ProcessError::CannotStart(reason)),
        Status::Exited(exit) => Err(ProcessError::Exited {
            service: instance.service.clone(),
            version: instance.version.clone(),
            id: instance.id,
            exit,
        }),
        Status::Absent | Status::Starting => Err(cannot_start(&named(instance), "its shim said nothing")),
    }
}

/// Where the run folder of an instance is, for people who look for its output.
pub fn run_folder(root: &Path, instance: &Instance) -> PathBuf {
    Folder::new(root, &instance.service, instance.id).path().to_owned()
}
