//! What a gateway is set up with, as `gateways:` of `hmsops.yaml` declares it, besides its address and its routes.
//!
//! A tower sends the whole of it each time it calls; the gateway keeps it on disk. New settings are new fields with
//! a default: an older gateway skips what it does not know.

use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::network::Network;

/// A gateway's settings. The default is what an empty map means: plain HTTP, usual limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// Certificates; empty: plain HTTP. A client that names no host, or none of theirs, gets the first.
    pub tls: Vec<TlsCertificate>,
    /// An upgraded connection on which nothing came for so long, either way, is closed.
    pub tunnel_idle: Millis,
    /// What clients and upstreams may take.
    pub limits: GatewayLimits,
    /// Peers that are believed about whom they ask for: their `X-Forwarded-*` fields are kept.
    pub trusted_proxies: Vec<Network>,
    /// Where a line for each request goes: a file's path, or `stdout`; `None`: nowhere.
    pub access_log: Option<String>,
    /// The HAProxy that carries the requests in this gateway's place; `None`: it carries them itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub haproxy: Option<Box<HaproxySettings>>,
}

/// What one gateway grants. Rates hold for each service on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayLimits {
    /// The longest request body in bytes.
    pub body_max: u64,
    /// Bytes a second that a request's body, or an answer's reader, must make on average; 0: any.
    pub body_rate_min: u64,
    /// Connections of one client address at a time; trusted proxies are not counted.
    pub client_connections: u32,
    /// Requests to one service, all clients together; `None`: any.
    pub service_rate: Option<Rate>,
    /// Requests of one client address to one service; `None`: any.
    pub client_rate: Option<Rate>,
    /// Requests in flight at one upstream.
    pub upstream_requests: u32,
    /// Requests that wait for a place at one upstream.
    pub upstream_waiting: u32,
    /// How long one waits for a place.
    pub upstream_wait: Millis,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body_max: BODY_BYTES_DEFAULT,
            body_rate_min: BODY_RATE_DEFAULT,
            client_connections: CLIENT_CONNECTIONS_DEFAULT,
            service_rate: None,
            client_rate: None,
            upstream_requests: UPSTREAM_REQUESTS_DEFAULT,
            upstream_waiting: UPSTREAM_WAITING_DEFAULT,
            upstream_wait: UPSTREAM_WAIT_DEFAULT,
        }
    }
}

/// So many requests in so long, and at most so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Requests, at least 1.
    pub count: u32,
    /// In this time, at least 1 ms.
    pub per: Millis,
}

/// Bodies stream through and cost no memory, so this only ends what never ends: scans and videos pass.
pub const BODY_BYTES_DEFAULT: u64 = 1 << 30;

/// Apache's mod_reqtimeout and HAProxy's advice against slow-loris begin at some hundred bytes a second; the
/// slowest mobile link in use has ten times that.
pub const BODY_RATE_DEFAULT: u64 = 256;

/// One address can't have more than half of a gateway's 10 000 places.
pub const CLIENT_CONNECTIONS_DEFAULT: u32 = 5000;

/// 9 000 requests a second at almost half a second each: past that an upstream only gets slower.
pub const UPSTREAM_REQUESTS_DEFAULT: u32 = 4096;

/// A quarter of those in flight: more would wait longer than anyone stays.
pub const UPSTREAM_WAITING_DEFAULT: u32 = 1024;

/// A user who has waited a second for a place is better told to come back.
pub const UPSTREAM_WAIT_DEFAULT: Millis = Millis(1000);

fn loopback() -> Vec<Network> {
    ["127.0.0.0/8", "::1"].iter().filter_map(|text| text.parse().ok()).collect()
}

/// An upgraded connection may be silent for so long: what HAProxy's manual advises for `timeout tunnel`, and far
/// above the minute after which clients of WebSocket usually ping.
pub const TUNNEL_IDLE_DEFAULT: Millis = Millis::from_mins(60);

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            tls: Vec::new(),
            tunnel_idle: TUNNEL_IDLE_DEFAULT,
            limits: GatewayLimits::default(),
            trusted_proxies: loopback(),
            access_log: None,
            haproxy: None,
        }
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
