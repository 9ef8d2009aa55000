//! The settings in force: checked whole, replaced by one pointer store, kept on disk for the next start.

use hmsops_disk::Disk;
use hmsops_model::gateway::GatewaySettings;
use serde::{Deserialize, Serialize};

use super::GatewayError;

/// The largest settings file that is read.
const BYTES_MAX: usize = 4 << 20;

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
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file of settings holds something else.
    #[error("cannot read the gateway's settings: {0}")]
    Unreadable(String),
}

impl InForce {
    /// Makes of settings what requests need. Reads the files that they name.
    pub(super) fn new(settings: GatewaySettings) -> Result<Self, SettingsError> {
        Ok(Self { settings })
    }
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
