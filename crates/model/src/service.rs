//! What a team declares about a service (`dev/cd/services.yaml`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::freeze::{Freeze, RollbackWindow};
use crate::network::Network;
use crate::release::HealthCheck;
use crate::{SecretRef, ServiceName, Version};

/// A service as declared, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name.
    pub name: ServiceName,
    /// The system it belongs to; by default the text before the name's first `-`.
    pub system: String,
    /// Who is told, a mail address.
    pub owner: Option<String>,
    /// How its versions run.
    pub driver: Driver,
    /// Where its traffic enters; `None`: no gateway of ours carries it.
    pub route: Option<RouteSpec>,
    /// Who counts as one client.
    pub identity: Identity,
    /// Whether a client stays on the arm it was given.
    pub sticky: bool,
    /// Which answers are bad.
    pub bad: Vec<BadRule>,
    /// The version that is started when none has ever run.
    pub stable: Option<Version>,
    /// Checks that hold for every version, beside a release's own.
    pub health: Vec<HealthCheck>,
    /// When no release of it begins or goes further, besides the tower's own such times.
    #[serde(default)]
    pub freeze: Vec<Freeze>,
    /// Which earlier versions are deployed without a canary.
    #[serde(default)]
    pub rollback_window: RollbackWindow,
    /// Requests a second that one address of it can take, in thousandths; `None`: not known.
    #[serde(default)]
    pub capacity_milli: Option<u64>,
    /// Networks that are not public in which its checks may ask another host than an instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_private: Vec<Network>,
}

/// How versions of a service run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum Driver {
    /// A process on this machine, owned by a shim.
    Process {
        /// Folder of a version, with `{tag}` for the version: `/srv/csac-portal/{tag}`.
        image_dir: String,
        /// The command, run in that folder; `{port}` stands for the port named `http`, `{port:NAME}` for another.
        run: Vec<String>,
        /// Ports by name; `None` is `auto`. `http` is always there; each is also in `$PORT` (http) or `$NAME_PORT`.
        ports: BTreeMap<String, Option<u16>>,
        /// Further environment variables.
        env: BTreeMap<String, String>,
        /// Environment variables whose values are secrets, and where each is when an instance is started.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        secrets: BTreeMap<String, SecretRef>,
    },
    /// Runs elsewhere; we only shift its traffic.
    External {
        /// Addresses `host:port` of each version.
        upstreams: BTreeMap<Version, Vec<String>>,
    },
}

/// Where a service's traffic enters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// The gateway's name.
    pub gateway: String,
    /// The host it answers for; `None`: any.
    pub host: Option<String>,
    /// What its versions speak.
    #[serde(default, skip_serializing_if = "Protocol::is_http1")]
    pub protocol: Protocol,
}

/// What a version speaks with its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112).
    #[default]
    Http1,
    /// HTTP/2 in clear, known beforehand (RFC 9113 §3.3): what gRPC needs.
    H2c,
}

impl Protocol {
    /// Whether it is the usual one, which is not written out: lines of before it was known stay as they are.
    pub fn is_http1(&self) -> bool {
        *self == Self::Http1
    }
}

/// Who counts as one client when traffic is split and bad answers are counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// Each request for itself.
    #[default]
    Request,
    /// The value of this cookie; requests without it count for themselves.
    Cookie(String),
    /// The value of this header; requests without it count for themselves.
    Header(String),
    /// The first address of `X-Forwarded-For`, else the peer's.
    Xff,
}

/// Which answers are bad for the release that gave them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadRule {
    /// Status 500 to 599. A refused or broken connection counts with it.
    #[serde(rename = "5xx")]
    Status5xx,
    /// No answer in time.
    Timeout,
    /// One of these statuses, on this path (exact, without the query) or on any.
    Answer {
        /// The path, `None`: any.
        path: Option<String>,
        /// Statuses, 100 to 599, not empty.
        status: Vec<u16>,
    },
}

impl BadRule {
    /// What is bad when a service declares nothing: `[5xx, timeout]`.
    pub fn defaults() -> Vec<Self> {
        vec![Self::Status5xx, Self::Timeout]
    }
}
