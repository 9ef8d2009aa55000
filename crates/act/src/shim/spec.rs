//! What a shim is told (`spec.json`) and what it tells (`state.json`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hmsops_model::Millis;
use hmsops_model::instance::Instance;
use serde::{Deserialize, Serialize};

use crate::proc::ProcessKey;
use crate::record::{self, RecordError};

/// The form of both files. A newer tower meets shims of older ones: a form, once released, stays readable.
const FORMAT: u32 = 1;

/// One file of output holds so much; there are three of them.
pub(crate) const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// What to run. Written once, by the driver, before the shim starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) format: u32,
    /// Whom it is for: the key `instance` or `heal`.
    #[serde(flatten)]
    pub(crate) owner: Owner,
    /// The command; the first word with a `/` in it is looked for in `dir`.
    pub(crate) run: Vec<String>,
    /// The version's folder, in which it runs.
    pub(crate) dir: PathBuf,
    /// Its environment beside the few variables that are passed on.
    pub(crate) env: BTreeMap<String, String>,
    /// Names of further variables, whose values only the shim's environment has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<String>,
    /// The ports it was told to listen on, by name.
    pub(crate) ports: BTreeMap<String, u16>,
    /// Between SIGTERM and SIGKILL.
    pub(crate) stop_grace: Millis,
    /// How long one file of its output may become.
    pub(crate) output_bytes_max: u64,
    /// From its start on; what takes longer is ended. Services have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time_limit: Option<Millis>,
}

/// Whom a shim works for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Owner {
    /// A copy of a service.
    Instance(Instance),
    /// One run of what heals. It is started at most once, whatever happens to its shim.
    Heal {
        id: String,
        /// For people: `restart dmv-photo`.
        name: String,
    },
}

/// As it is named in sentences: `csac-portal 1.8.0`, `heal h-7 (restart dmv-photo)`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(instance) => write!(f, "{} {}", instance.service, instance.version),
            Self::Heal { id, name } => write!(f, "heal `{id}` ({name})"),
        }
    }
}

/// What became of it. Written by the shim alone, while it holds `shim.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// The shim that wrote this.
    pub(crate) shim: ProcessKey,
    /// The service's process; `None` before it was started.
    pub(crate) service: Option<ProcessKey>,
    /// As in the spec that this shim read.
    pub(crate) ports: BTreeMap<String, u16>,
    #[serde(flatten)]
    pub(crate) phase: Phase,
    /// It was told to end because its time was over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) timed_out: bool,
    /// From its start to the end of its first process; `None` before that, or when nobody saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) took: Option<Millis>,
    /// How many of its processes not even SIGKILL could end; `None` while they are being ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left: Option<u32>,
    /// How much it has printed, kept or not; `None` before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output_bytes: Option<u64>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub(crate) enum Phase {
    Starting,
    Running,
    Exited { exit: Exit },
    Failed { reason: String },
}

/// How a service's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody saw it: its shim had been killed, or the machine went down.
    Unseen,
}

/// Ends a sentence that starts with the service's name: `exited with code 1`, `was ended by SIGKILL`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by signal {number}"),
            },
            Self::Unseen => f.write_str("ended while nobody watched it"),
        }
    }
}

/// Linux's numbers on x86 and Arm, of the signals that end services (signal(7)).
const fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => return None,
    })
}

impl Spec {
    /// Of a service's copy, complete from what the driver knows.
    pub(crate) fn new(
        instance: Instance,
        run: Vec<String>,
        dir: PathBuf,
        env: BTreeMap<String, String>,
        ports: BTreeMap<String, u16>,
        stop_grace: Millis,
    ) -> Self {
        Self {
            format: FORMAT,
            owner: Owner::Instance(instance),
            run,
            dir,
            env,
            secrets: Vec::new(),
            ports,
            stop_grace,
            output_bytes_max: OUTPUT_BYTES_MAX,
            time_limit: None,
        }
    }

    /// Of a heal.
    pub(crate) fn of_heal(
        owner: Owner,
        run: Vec<String>,
        dir: PathBuf,
        env: BTreeMap<String, String>,
        stop_grace: Millis,
        output_bytes_max: u64,
        time_limit: Millis,
    ) -> Self {
        let (ports, secrets, time_limit) = (BTreeMap::new(), Vec::new(), Some(time_limit));
        Self {
            format: FORMAT,
            owner,
            run,
            dir,
            env,
            secrets,
            ports,
            stop_grace,
            output_bytes_max,
            time_limit,
        }
    }

    /// The copy it is for, if it is for one.
    pub(crate) fn instance(&self) -> Option<&Instance> {
        match &self.owner {
            Owner::Instance(instance) => Some(instance),
            Owner::Heal { .. } => None,
        }
    }

    /// From the run folder; `None` when nothing was ever started there.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, RecordError> {
        let spec: Option<Self> = record::read(folder, "spec.json")?;
        spec.map(|spec| known(spec.format, &folder.join("spec.json")).map(|()| spec)).transpose()
    }

    /// Into the run folder, durably.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), RecordError> {
        record::replace(folder, "spec.json", self)
    }
}

impl State {
    /// Before the service is started.
    pub(crate) fn starting(shim: ProcessKey, ports: BTreeMap<String, u16>) -> Self {
        Self {
            format: FORMAT,
            shim,
            service: None,
            ports,
            phase: Phase::Starting,
            timed_out: false,
            took: None,
            left: None,
            output_bytes: None,
        }
    }

    /// From the run folder; `None` when no shim has written there yet.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, RecordError> {
        let state: Option<Self> = record::read(folder, "state.json")?;
        state.map(|state| known(state.format, &folder.join("state.json")).map(|()| state)).transpose()
    }

    /// Into the run folder, durably.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), RecordError> {
        record::replace(folder, "state.json", self)
    }

    /// Whether the service's process runs at this moment, whatever was written last.
    pub(crate) fn service_alive(&self) -> bool {
        self.service.as_ref().is_some_and(ProcessKey::alive)
    }
}

impl Phase {
    /// Whether nothing will come after it.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Failed { .. })
    }
}

fn known(format: u32, path: &Path) -> Result<(), RecordError> {
    if format == FORMAT {
        return Ok(());
    }
    let reason = format!("it has format {format}, this version of hmsops reads format {FORMAT}");
    Err(RecordError::Content { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_of_an_older_version_is_read_and_written_as_it_was() {
        let text = r#"{"format":1,"instance":{"id":"i-7","service":"csac-portal","version":"1.8.0","digest":null},"run":["./portal"],"dir":"/srv/1.8.0","env":{},"ports":{"http":20001},"stop_grace":10000,"output_bytes_max":1048576}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert_eq!((spec.owner.to_string().as_str(), spec.time_limit), ("csac-portal 1.8.0", None));
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);
    }

    #[test]
    fn a_state_of_an_older_version_is_read_and_written_as_it_was() {
        let text = r#"{"format":1,"shim":{"pid":7,"started":70,"boot":"b"},"service":null,"ports":{},"phase":"exited","exit":{"code":3}}"#;
        let state: State = serde_json::from_str(text).unwrap();
        assert_eq!(state.phase, Phase::Exited { exit: Exit::Code(3) });
        assert_eq!((state.timed_out, state.took, state.left), (false, None, None));
        assert_eq!(serde_json::to_string(&state).unwrap(), text);
    }
}
