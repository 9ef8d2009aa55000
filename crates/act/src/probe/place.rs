//! Where a look goes: the instance's own address, unless the check names another host or port.

use hmsops_model::network::Network;
use hmsops_model::probe::{Ask, Probe, Tls};
use tokio::net::TcpStream;

use super::seen::{Trouble, failed, guard_trouble};
use crate::guard::Guard;

/// A host, a port, and what stands in front of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// A name or an address; IPv6 in brackets.
    pub(super) host: String,
    /// 1 to 65535.
    pub(super) port: u16,
    /// An instance may be anywhere; another host only where the service's file allows it.
    guard: Guard,
}

impl Place {
    /// Of a look at the instance at `own` (`host:port`). `allowed`: networks that are not public and may be asked.
    pub(super) fn of(probe: &Probe, own: &str, allowed: &[Network]) -> Result<Self, Trouble> {
        if let Some(host) = &probe.host {
            let port = probe.port.unwrap_or(usual_port(&probe.ask));
            return Ok(Self { host: host.clone(), port, guard: Guard::elsewhere(allowed.to_vec()) });
        }
        let place = own.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) =
            place.ok_or_else(|| failed(format!("cannot connect: `{own}` is not `host:port`")))?;
        Ok(Self { host: host.to_owned(), port: probe.port.unwrap_or(port), guard: Guard::own() })
    }

    /// A connection that sends small requests at once.
    pub(super) async fn connect(&self) -> Result<TcpStream, Trouble> {
        let stream =
            self.guard.connect(&self.host, self.port).await.map_err(|error| guard_trouble(&error))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
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
