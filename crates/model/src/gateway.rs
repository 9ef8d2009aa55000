//! What a gateway is set up with, as `gateways:` of `hmsops.yaml` declares it, besides its address and its routes.
//!
//! A tower sends the whole of it each time it calls; the gateway keeps it on disk. New settings are new fields with
//! a default: an older gateway skips what it does not know.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// A gateway's settings. The default is what an empty map means: plain HTTP, usual limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// Certificates; empty: plain HTTP. A client that names no host, or none of theirs, gets the first.
    pub tls: Vec<TlsCertificate>,
    /// An upgraded connection on which nothing came for so long, either way, is closed.
    pub tunnel_idle: Millis,
    /// The HAProxy that carries the requests in this gateway's place; `None`: it carries them itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub haproxy: Option<Box<HaproxySettings>>,
}

/// An upgraded connection may be silent for so long: what HAProxy's manual advises for `timeout tunnel`, and far
/// above the minute after which clients of WebSocket usually ping.
pub const TUNNEL_IDLE_DEFAULT: Millis = Millis::from_mins(60);

impl Default for GatewaySettings {
    fn default() -> Self {
        Self { tls: Vec::new(), tunnel_idle: TUNNEL_IDLE_DEFAULT, haproxy: None }
    }
}

/// A certificate with its key, and the hosts it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsCertificate {
    /// Names as clients give them (SNI), lower case; `*.csac.gov` stands for one label. Empty: those that the
    /// certificate itself names.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The file of the certificate and those that signed it, PEM, the server's own first.
    pub cert: String,
    /// The file of its key, PEM; nobody but its owner and group may read it.
    pub key: String,
}

/// An HAProxy that is driven by its runtime socket: one backend with two servers, whose weights, addresses and states
/// are the gateway's to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaproxySettings {
    /// Its runtime socket: a path, or `IP:PORT` on loopback. Its level must be `admin`.
    pub socket: String,
    /// The backend.
    pub backend: String,
    /// The server in it that carries the version users are safe on.
    pub stable: String,
    /// The server in it that carries the version under watch.
    pub canary: String,
    /// The file name of the map in which HAProxy looks up the canary's share, in basis points, under the backend's
    /// name. `None`: the share is set by the servers' weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
}
