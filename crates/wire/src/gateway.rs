//! The gateway protocol, version 1: one JSON object a line, each with a `type`, over a unix socket on which
//! the gateway listens and the tower calls.
//!
//! After connecting, each side says `hello` once; the gateway's lists the routes in force. From then on the
//! tower speaks at least every [`hmsops_model::limits::GATEWAY_PING`]; a gateway that hears nothing for
//! [`hmsops_model::limits::GATEWAY_RETREAT_AFTER`] takes canary traffic back by itself. What is sent twice
//! does no harm: routes carry an epoch, a retreat names its release, ticks have a sequence number.
//!
//! A type that a side doesn't know is skipped and counted, so that a later version may add types and
//! fields without breaking an older peer. Meaning of what exists never changes within a version.

use std::collections::BTreeMap;

use hmsops_model::gateway::GatewaySettings;
use hmsops_model::limits::GATEWAY_LINE_BYTES_MAX;
use hmsops_model::route::Route;
use hmsops_model::{ReleaseId, ServiceName, Tick, UnixMillis, Weight};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version that this code speaks.
pub const PROTOCOL: u32 = 1;

/// What a tower tells a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToGateway {
    /// The first line of a connection.
    Hello {
        /// The highest version the tower speaks; both go on with the lower of the two.
        protocol: u32,
        /// A random number drawn when the tower process started.
        tower_run: u64,
    },
    /// Replaces one service's route. Answered `applied`, also when its epoch is already in force, or
    /// `refused` when the epoch is older or its canary has retreated.
    Set {
        /// The route.
        route: Route,
    },
    /// Stops serving a service. Answered like `set`.
    Remove {
        /// The service.
        service: ServiceName,
        /// Higher than the epoch in force.
        epoch: u64,
    },
    /// Takes a release's weight to 0 at once and for ever. The release id authorises it, whatever the epoch;
    /// doing it again changes nothing. Answered `retreated`.
    Retreat {
        /// The service.
        service: ServiceName,
        /// The release that is taken back.
        release: ReleaseId,
    },
    /// Replaces the settings, all of them or none. Answered `settings-applied`, also when they are in force
    /// already, or `settings-refused` with those before still in force.
    Settings {
        /// The settings.
        settings: GatewaySettings,
    },
    /// Says that the tower lives. Answered `pong`.
    Ping,
    /// The tower has kept all ticks up to this one.
    TickAck {
        /// The gateway process that numbered them; another's are not meant.
        gateway_run: u64,
        /// The last tick kept.
        seq: u64,
    },
    /// Asks the gateway to stop accepting, finish what runs, and exit.
    Shutdown {
        /// How long it may take, in milliseconds.
        drain_ms: u64,
    },
    /// A type of a later version. Never sent.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What a gateway tells its tower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "ticks are the large ones and by far the most")]
pub enum FromGateway {
    /// The first line of a connection.
    Hello {
        /// The highest version the gateway speaks; both go on with the lower of the two.
        protocol: u32,
        /// The gateway's name in `hmsops.yaml`.
        name: String,
        /// A random number drawn when the gateway process started.
        gateway_run: u64,
        /// Its process id.
        pid: u32,
        /// Where it takes requests, `host:port`.
        listen: String,
        /// What is in force.
        routes: Vec<RouteState>,
        /// The version of its program; empty before it was said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        program: String,
    },
    /// The route of this epoch is in force.
    Applied {
        /// The service.
        service: ServiceName,
        /// The epoch in force.
        epoch: u64,
    },
    /// The settings last sent are in force.
    SettingsApplied,
    /// Settings were not taken, or a file that they name has changed and can't be used; those before stay in force.
    SettingsRefused {
        /// For people.
        why: String,
    },
    /// A route was not taken; the one before stays in force.
    Refused {
        /// The service.
        service: ServiceName,
        /// The epoch that was offered.
        epoch: u64,
        /// For people.
        why: String,
    },
    /// A release has no weight any more and never will again.
    Retreated {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
        /// Who decided it.
        by: RetreatBy,
        /// When.
        at: UnixMillis,
        /// The weight it lost.
        weight_was: Weight,
    },
    /// The canary has no weight and no request waits for it any more: its instances may stop.
    Drained {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
    },
    /// What was counted. Sent again after a reconnect until acknowledged.
    Tick(Tick),
    /// What was refused and left alone so far; when it has changed, at most once a second.
    Counts {
        /// The gateway process that counted.
        gateway_run: u64,
        /// What it counted since its start.
        counts: GatewayCounts,
    },
    /// Answers `ping`.
    Pong,
    /// A type of a later version. Never sent.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// One service's route as a gateway has it in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteState {
    /// The service.
    pub service: ServiceName,
    /// The epoch in force. After a restart of the gateway one less than was set, so that the same route
    /// may be set again.
    pub epoch: u64,
    /// The release under watch, if one is.
    pub release: Option<ReleaseId>,
    /// The canary's weight in force.
    pub weight: Weight,
    /// Whether that release has retreated.
    pub retreated: bool,
}

/// What a gateway process counted since its start, beside its ticks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayCounts {
    /// Requests and connections that it refused, by reason; reasons without any are left out.
    pub refused: BTreeMap<String, u64>,
    /// Times that an upstream was left alone because it failed more than the others.
    pub ejections: u64,
    /// Retries that the budget did not allow.
    pub over_budget: u64,
    /// Lines of the access log that could not be kept.
    pub unlogged: u64,
    /// Upstreams that are left alone now.
    pub ejected: Vec<EjectedUpstream>,
}

/// An upstream that gets no requests for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EjectedUpstream {
    /// The service that it belongs to.
    pub service: ServiceName,
    /// Its address.
    pub upstream: String,
}

/// Who decided a retreat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetreatBy {
    /// The tower, or a person through it.
    Tower,
    /// The gateway, because it had not heard from its tower.
    Gateway,
}

/// A message of this protocol, in either direction.
pub trait Message: Serialize + DeserializeOwned {
    /// Whether it is of a type that this version doesn't know.
    fn is_unknown(&self) -> bool;
}

impl Message for ToGateway {
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

impl Message for FromGateway {
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// Why a line could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It would be longer than [`GATEWAY_LINE_BYTES_MAX`], or no newline came within it.
    #[error("line of the gateway protocol is longer than {GATEWAY_LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON, or a known type with wrong fields.
    #[error("line of the gateway protocol can't be read: {reason}; it starts `{start}`")]
    Malformed {
        /// What the JSON reader said.
        reason: String,
        /// The line's first 80 characters.
        start: String,
    },
    /// An `Unknown` was to be sent.
    #[error("message can't be written: {0}")]
    Unwritable(String),
}

/// Writes a message as one line, newline included. Fails when it is too long or `Unknown`.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(message).map_err(|error| LineError::Unwritable(error.to_string()))?;
    line.push(b'\n');
    if line.len() > GATEWAY_LINE_BYTES_MAX { Err(LineError::TooLong) } else { Ok(line) }
}

/// Reads one line, with or without its newline.
pub fn decode<M: Message>(line: &[u8]) -> Result<M, LineError> {
    if line.len() > GATEWAY_LINE_BYTES_MAX {
        return Err(LineError::TooLong);
    }
    serde_json::from_slice(line).map_err(|error| LineError::Malformed {
        reason: error.to_string(),
        start: String::from_utf8_lossy(line).chars().take(80).collect(),
    })
}

/// Cuts a stream of bytes into messages. Holds at most one line and what came after it.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already handed out.
    taken: usize,
    /// Bytes of `buffer` known to hold no newline, so that a long line is scanned once.
    scanned: usize,
    unknown: u64,
}

impl Reader {
    /// Adds what was read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.scanned = self.scanned.saturating_sub(self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that this version knows; `None` until more bytes come. After an error the
    /// connection is to be closed: where the next line starts is then not certain.
    pub fn next_message<M: Message>(&mut self) -> Result<Option<M>, LineError> {
        loop {
            let from = self.scanned.max(self.taken);
            let Some(end) = self.buffer.iter().skip(from).position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                let waiting = self.buffer.len() - self.taken;
                return if waiting > GATEWAY_LINE_BYTES_MAX { Err(LineError::TooLong) } else { Ok(None) };
            };
            let end = from + end;
            let line = self.buffer.get(self.taken..end).unwrap_or_default();
            let message = if line.is_empty() { None } else { Some(decode::<M>(line)?) };
            self.taken = end + 1;
            self.scanned = self.taken;
            match message {
                Some(message) if message.is_unknown() => self.unknown += 1,
                Some(message) => return Ok(Some(message)),
                None => {}
            }
        }
    }

    /// How many messages of an unknown type were skipped.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }
}

#[cfg(test)]
mod tests;
