//! The settings in force: checked whole, replaced by one pointer store, kept on disk for the next start.
//!
//! They are read by a task of their own: a disk that hangs must not hold up a retreat.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hmsops_disk::Disk;
use hmsops_model::gateway::GatewaySettings;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::journal::Journal;
use super::link::Event;
use super::tls::{Stamps, Tickets, Tls, TlsError, stamps};
use super::{GatewayError, Plane};

/// The largest settings file that is read.
const BYTES_MAX: usize = 4 << 20;

/// Between two looks at the files that settings name.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The version of [`Kept`].
const KEPT_VERSION: u32 = 1;

/// What a gateway keeps of its settings on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    settings: GatewaySettings,
}

/// Settings, and what was made of them.
pub(super) struct InForce {
    pub(super) settings: GatewaySettings,
    pub(super) journal: Option<Arc<Journal>>,
    /// `None`: plain HTTP.
    pub(super) tls: Option<Tls>,
    tickets: Tickets,
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file of settings holds something else.
    #[error("cannot read the gateway's settings: {0}")]
    Unreadable(String),
    /// The access log can't be written.
    #[error(
        "cannot open the access log `{path}`; its folder must be there and writable for the gateway's user"
    )]
    AccessLog {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Who carries the requests can't change under them.
    #[error("the gateway carries requests itself; stop it, and its tower starts one that drives HAProxy")]
    Haproxy,
}

impl InForce {
    /// The files as they were when they were read.
    fn stamps(&self) -> Stamps {
        self.tls.as_ref().map(|tls| tls.seen.clone()).unwrap_or_default()
    }

    /// Makes of settings what requests need at the start. Reads the files that they name. Without a place for its access
    /// log the gateway starts all the same: users matter more.
    pub(super) fn new(settings: GatewaySettings, tickets: &Tickets) -> Result<Self, SettingsError> {
        let tls = Tls::open(&settings.tls, tickets)?;
        let journal = journal(&settings).unwrap_or_else(|error| {
            tracing::error!(%error, "requests are not logged");
            None
        });
        Ok(Self { settings, journal, tls, tickets: tickets.clone() })
    }

    /// What other settings come to.
    pub(super) fn with(&self, settings: GatewaySettings) -> Result<Self, SettingsError> {
        if settings.haproxy.is_some() {
            return Err(SettingsError::Haproxy);
        }
        let tls = Tls::open(&settings.tls, &self.tickets)?;
        let is_same = self.journal.is_some() && self.settings.access_log == settings.access_log;
        let journal = if is_same { self.journal.clone() } else { journal(&settings)? };
        Ok(Self { settings, journal, tls, tickets: self.tickets.clone() })
    }
}

fn journal(settings: &GatewaySettings) -> Result<Option<Arc<Journal>>, SettingsError> {
    let open = |path: &String| {
        let failed = |source| SettingsError::AccessLog { path: path.clone(), source };
        Journal::open(path).map(Arc::new).map_err(failed)
    };
    settings.access_log.as_ref().map(open).transpose()
}

/// Puts what is `wanted` into force, and again what is in force when a file that it names has changed and stands
/// still. What came of it is told as an event.
pub(super) async fn run(
    plane: Arc<Plane>,
    mut wanted: mpsc::Receiver<GatewaySettings>,
    events: mpsc::Sender<Event>,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    let mut tried = plane.in_force.load().stamps();
    loop {
        let told = tokio::select! {
            settings = wanted.recv() => match settings { Some(settings) => Some(settings), None => return },
            _ = look.tick() => None,
        };
        let is_told = told.is_some();
        let (in_force, before, seen) = (plane.in_force.load_full(), last.take(), tried.clone());
        let work = tokio::task::spawn_blocking(move || attempt(&in_force, told, before.as_ref(), &seen));
        let Ok((now, outcome)) = work.await else { continue };
        last = now;
        let Some(outcome) = outcome else { continue };
        let settled = match outcome {
            Ok(Some(new)) => {
                tried = new.stamps();
                let kept = keep_settings(&new.settings);
                plane.in_force.store(Arc::new(new));
                tracing::info!("new settings are in force");
                Settled::Applied(Some(kept))
            }
            Ok(None) => Settled::Applied(None),
            Err(error) => {
                if !is_told && let Some(now) = &last {
                    // Said once for each change.
                    tried.clone_from(now);
                }
                let why = error.to_string();
                tracing::error!(why, "settings are refused; those before stay in force");
                Settled::Refused(why)
            }
        };
        if events.send(Event::Settled(settled)).await.is_err() {
            return;
        }
    }
}

/// What a look came to: the files as they are, and what they make, if they had to be read.
type Attempt = (Option<Stamps>, Option<Result<Option<InForce>, SettingsError>>);

fn attempt(
    in_force: &InForce,
    told: Option<GatewaySettings>,
    last: Option<&Stamps>,
    tried: &Stamps,
) -> Attempt {
    let now = stamps(&in_force.settings.tls);
    let Some(settings) = told else {
        let stands_still = last == Some(&now);
        let outcome =
            (stands_still && now != *tried).then(|| in_force.with(in_force.settings.clone()).map(Some));
        return (Some(now), outcome);
    };
    if settings == in_force.settings && now == in_force.stamps() {
        return (Some(now), Some(Ok(None)));
    }
    (Some(now), Some(in_force.with(settings).map(Some)))
}

/// What came of settings.
pub(super) enum Settled {
    /// They are in force; with bytes to keep if they are new.
    Applied(Option<Vec<u8>>),
    /// Those before stay in force.
    Refused(String),
}

/// The settings that were kept; the default when none were. What can't be read is an error: a gateway that forgot its
/// certificates would answer in clear.
pub(super) fn load(disk: &dyn Disk, file: &str) -> Result<GatewaySettings, GatewayError> {
    let unreadable =
        |why: String| GatewayError::Settings(SettingsError::Unreadable(format!("`{file}`: {why}")));
    if !disk.exists(file).map_err(|error| unreadable(error.to_string()))? {
        return Ok(GatewaySettings::default());
    }
    let bytes = disk.read(file, BYTES_MAX).map_err(|error| unreadable(error.to_string()))?;
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if kept.version != KEPT_VERSION {
        let why = format!("it has version {}; this program knows {KEPT_VERSION}", kept.version);
        return Err(unreadable(why));
    }
    Ok(kept.settings)
}

/// The settings' file of the gateway `name`, in its folder.
pub fn settings_file(name: &str) -> String {
    format!("gateway-{name}.settings.json")
}

/// As bytes for [`settings_file`]: what a gateway starts with before its tower calls.
pub fn keep_settings(settings: &GatewaySettings) -> Vec<u8> {
    let kept = Kept { version: KEPT_VERSION, settings: settings.clone() };
    serde_json::to_vec(&kept).expect("settings are texts and numbers")
}
