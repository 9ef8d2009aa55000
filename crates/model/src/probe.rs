//! How an instance is looked at, and what a look found.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{PROBE_INTERVAL, PROBE_TIMEOUT};
use crate::{InstanceId, Millis, ServiceName};

/// How a check looks at an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub ask: Ask,
    /// Another host than the instance's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Another port than the instance's own; of a `host` it has to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// From the start of one scheduled look to the start of the next.
    pub every: Millis,
    /// A look that takes longer has failed; at most `every`.
    pub timeout: Millis,
    /// What has to hold of the answer, as written, see [`crate::condition`]; each in the place of what holds of
    /// its subject by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

impl Probe {
    /// This question in the usual rhythm of a release's checks, of the instance itself.
    pub fn of(ask: Ask) -> Self {
        let (every, timeout) = (PROBE_INTERVAL, PROBE_TIMEOUT);
        Self { ask, host: None, port: None, every, timeout, conditions: Vec::new() }
    }

    /// The plain form: a GET of `path`, or, where that is empty, a connection.
    pub fn of_path(path: &str) -> Self {
        Self::of(if path.is_empty() {
            Ask::Tcp { send: None, expect: None }
        } else {
            Ask::Http { method: Method::Get, path: path.to_owned(), headers: Vec::new(), tls: Tls::Plain }
        })
    }
}

/// What a look asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ask {
    /// One request of HTTP/1.1.
    Http {
        /// GET or HEAD.
        method: Method,
        /// Starts with `/`.
        path: String,
        /// Further headers, in order; a `host` here takes the place of ours.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
        /// Whether it is encrypted.
        #[serde(default)]
        tls: Tls,
    },
    /// A connection, and perhaps a few bytes each way.
    Tcp {
        /// Sent as soon as it is connected.
        send: Option<String>,
        /// What has to come back, anywhere in the first 4 KiB.
        expect: Option<String>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked about; empty: the server as a whole.
        service: String,
        /// Whether it is encrypted.
        #[serde(default)]
        tls: Tls,
    },
    /// One question to a resolver (RFC 1035).
    Dns {
        /// The name asked for, without the dot at its end.
        name: String,
        /// The type of record.
        record: RecordType,
        /// `host:port`; `None`: the first one that this machine is set up with.
        resolver: Option<String>,
    },
    /// A handshake, for the certificate's sake.
    Tls {
        /// So many days it has to be valid yet.
        days: u32,
        /// The name that is asked for in the handshake; `None`: the host.
        server_name: Option<String>,
    },
    /// A program on the tower's machine.
    Exec {
        /// Program and arguments, no shell; `{host}`, `{port}` and `{version}` are the instance's.
        argv: Vec<String>,
    },
}

impl Ask {
    /// `http`, `tcp`, `grpc`, `dns`, `tls` or `exec`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Tcp { .. } => "tcp",
            Self::Grpc { .. } => "grpc",
            Self::Dns { .. } => "dns",
            Self::Tls { .. } => "tls",
            Self::Exec { .. } => "exec",
        }
    }
}

/// How a request is made; a look changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Get { "GET" } else { "HEAD" })
    }
}

/// Whether a connection is encrypted, and whose certificate is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Not encrypted.
    #[default]
    Plain,
    /// Encrypted; the certificate is valid today, for this host, and by an authority that this machine trusts.
    Trusted,
    /// Encrypted; any certificate that is valid today.
    Any,
}

/// A type of DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// Mail exchangers.
    Mx,
    /// Name servers.
    Ns,
    /// A pointer.
    Ptr,
    /// Start of authority.
    Soa,
    /// A service's place.
    Srv,
    /// Text.
    Txt,
}

impl RecordType {
    /// All, in the order of their names.
    pub const ALL: [Self; 9] =
        [Self::A, Self::Aaaa, Self::Cname, Self::Mx, Self::Ns, Self::Ptr, Self::Soa, Self::Srv, Self::Txt];

    /// As zone files write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Soa => "SOA",
            Self::Srv => "SRV",
            Self::Txt => "TXT",
        }
    }

    /// Its number in questions and answers (RFC 1035 section 3.2.2; AAAA: RFC 3596; SRV: RFC 2782).
    pub const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Cname => 5,
            Self::Soa => 6,
            Self::Ptr => 12,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// One probe of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// The service.
    pub service: ServiceName,
    /// The instance that was asked.
    pub instance: InstanceId,
    /// The check's name, which of an HTTP check in the plain form is its path.
    pub path: String,
    /// Whether it came on schedule; a recheck after a failure does not count for `3 fails/60 s`.
    pub scheduled: bool,
    /// What came of it.
    pub verdict: ProbeVerdict,
}

/// What came of a probe. Unknown is not healthy and not failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeVerdict {
    /// The answer came in time, and all that had to hold of it did.
    Pass {
        /// Until the answer, in milliseconds.
        millis: u32,
    },
    /// A wrong answer, none in time, or no connection.
    Fail {
        /// For people: `answered 500`, `no answer in 500 ms`, `NOT_SERVING`, `certificate expired 3 d ago
        /// (2026-11-19)`.
        reason: String,
    },
    /// The prober itself was late: says nothing about the target.
    Overloaded,
}
