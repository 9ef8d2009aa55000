//! Sets HAProxy and reads back whether it is set.

use hmsops_model::gateway::HaproxySettings;

use super::answer::{AnswerError, Reading};
use super::setting::Setting;
use super::socket::{Socket, SocketError};

/// One HAProxy.
pub(super) struct Driver {
    pub(super) settings: HaproxySettings,
    socket: Socket,
}

/// Why HAProxy is not set, or not known to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    /// It may work all the same: nothing is known.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// It answers, and not as it should.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It answers, and what was set is not in force.
    #[error("{missing} after it was set{}", said.as_ref().map(|said| format!("; HAProxy said `{said}`")).unwrap_or_default())]
    NotInForce { missing: String, said: Option<String> },
}

impl DriveError {
    /// Whether HAProxy itself is why, not that it can't be reached.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::NotInForce { .. })
    }
}

impl Driver {
    pub(super) fn new(settings: HaproxySettings) -> Self {
        Self { socket: Socket::new(&settings.socket), settings }
    }

    /// What is in force.
    pub(super) async fn read(&self) -> Result<Reading, DriveError> {
        let answer = self.socket.ask(&Reading::question(&self.settings)).await?;
        Ok(Reading::parse(&answer, &self.settings)?)
    }

    /// Sets what a setting asks for. It counts only when it is read back.
    pub(super) async fn set(&self, setting: &Setting) -> Result<Reading, DriveError> {
        let said = self.socket.ask(&setting.commands(&self.settings)).await?;
        let reading = self.read().await?;
        let Some(missing) = setting.missing(&reading, &self.settings) else { return Ok(reading) };
        // A changed address is said too, and is no complaint.
        let is_complaint = |line: &&str| {
            !line.is_empty() && (!line.contains("changed from") && !line.starts_with("no need"))
        };
        let said = said.lines().map(str::trim).find(is_complaint);
        let said = said.map(|said| said.chars().take(200).collect());
        Err(DriveError::NotInForce { missing, said })
    }
}
