//! Where a look goes: the instance's own address, unless the check names another host or port.

use hmsops_model::probe::{Ask, Probe, Tls};

use super::seen::{Trouble, failed};

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// A name or an address; IPv6 in brackets.
    pub(super) host: String,
    /// 1 to 65535.
    pub(super) port: u16,
}

impl Place {
    /// Of a look at the instance at `own` (`host:port`).
    pub(super) fn of(probe: &Probe, own: &str) -> Result<Self, Trouble> {
        if let Some(host) = &probe.host {
            return Ok(Self { host: host.clone(), port: probe.port.unwrap_or(usual_port(&probe.ask)) });
        }
        let place = own.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) =
            place.ok_or_else(|| failed(format!("cannot connect: `{own}` is not `host:port`")))?;
        Ok(Self { host: host.to_owned(), port: probe.port.unwrap_or(port) })
    }

    /// `host:port`.
    pub(super) fn addr(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Of another host, when no port is named.
const fn usual_port(ask: &Ask) -> u16 {
    match ask {
        Ask::Http { tls: Tls::Plain, .. } => 80,
        _ => 443,
    }
}
