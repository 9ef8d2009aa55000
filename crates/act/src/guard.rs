//! What may be connected to on behalf of a file: never where a cloud hands out credentials, and of networks that are
//! not public only what somebody allowed.
//!
//! A name is looked up once, all its addresses are judged, and one of exactly these is connected to: what the name
//! means a moment later (DNS rebinding) does not matter. No caller follows redirects.

use std::net::{IpAddr, SocketAddr};

use hmsops_model::network::{self, Network, Special};
use tokio::net::TcpStream;

/// Addresses of one name that are tried: each may take the whole time of the caller.
const ADDRESSES_MAX: usize = 16;

/// Where somebody may have us connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The address is one of ours by another way than its name: an instance of a service, or written out by whoever
    /// may decide that.
    is_own: bool,
    allowed: Vec<Network>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Nothing allows it.
    #[error("`{host}` is {}, {is}{}", found(.host, *.address), hint(*.is))]
    Refused {
        /// As it was asked for.
        host: String,
        /// What it means.
        address: IpAddr,
        /// What that is.
        is: Special,
    },
    /// The name means nothing.
    #[error("`{0}` has no address")]
    NoAddress(String),
    /// The system said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn found(host: &str, address: IpAddr) -> String {
    if host == address.to_string() { "refused".to_owned() } else { address.to_string() }
}

const fn hint(is: Special) -> &'static str {
    match is {
        Special::Metadata => ", which is never asked",
        _ => ", and nothing allows it: `allow_private` names networks that may be asked",
    }
}

impl Guard {
    /// For an instance of a service: wherever it runs.
    pub fn own() -> Self {
        Self { is_own: true, allowed: Vec::new() }
    }

    /// For another host that a file names: public addresses, and these networks.
    pub fn elsewhere(allowed: Vec<Network>) -> Self {
        Self { is_own: false, allowed }
    }

    /// For a host in a file whose writer decides what may be asked: an address (or `localhost`) that is written out
    /// is thereby allowed, a name is not, because somebody else says what it means.
    pub fn written(host: &str, allowed: Vec<Network>) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_own = bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok();
        Self { is_own, allowed }
    }

    /// What stands against an address.
    pub fn objection(&self, address: IpAddr) -> Option<Special> {
        let is = network::special(address)?;
        let is_allowed = self.is_own || self.allowed.iter().any(|network| network.contains(address));
        (is == Special::Metadata || !is_allowed).then_some(is)
    }

    /// What a name means now. One address that may not be asked refuses the name: whoever gave it the others gave it
    /// this one, too.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let found = tokio::net::lookup_host((bare, port)).await?;
        let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
        for address in &found {
            if let Some(is) = self.objection(address.ip()) {
                return Err(GuardError::Refused { host: host.to_owned(), address: address.ip(), is });
            }
        }
        if found.is_empty() { Err(GuardError::NoAddress(host.to_owned())) } else { Ok(found) }
    }

    /// A connection to one of the addresses that a name means now, in their order.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, GuardError> {
        let addresses = self.resolve(host, port).await?;
        Ok(TcpStream::connect(addresses.as_slice()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(guard: &Guard, host: &str) -> Option<String> {
        guard.resolve(host, 80).await.err().map(|error| error.to_string())
    }

    #[tokio::test]
    async fn every_way_to_write_an_address_is_judged_by_what_it_means() {
        let guard = Guard::elsewhere(Vec::new());
        let hosts = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "localhost",
            "[::1]",
            "::ffff:127.0.0.1",
            "[64:ff9b::7f00:1]",
            "0.0.0.0",
            "0",
            "10.0.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "fe80::1",
        ];
        for host in hosts {
            let refused = refusal(&guard, host).await.unwrap_or_else(|| panic!("{host} is not refused"));
            assert!(refused.contains("`allow_private`"), "{refused}");
        }
        assert_eq!(refusal(&guard, "1.1.1.1").await, None);
        assert_eq!(
            refusal(&guard, "10.0.0.1").await.unwrap(),
            "`10.0.0.1` is refused, a private address, and nothing allows it: `allow_private` names networks that \
             may be asked"
        );
    }

    #[tokio::test]
    async fn credentials_of_a_cloud_are_never_asked_for() {
        let everything = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        let guards =
            [Guard::own(), Guard::elsewhere(everything), Guard::written("169.254.169.254", Vec::new())];
        for guard in guards {
            for host in [
                "169.254.169.254",
                "2852039166",
                "[fd00:ec2::254]",
                "::ffff:169.254.169.254",
                "64:ff9b::a9fe:a9fe",
            ] {
                let refused = refusal(&guard, host).await.unwrap_or_else(|| panic!("{host} is not refused"));
                assert!(refused.contains("which is never asked"), "{refused}");
            }
        }
    }

    #[test]
    fn only_what_is_allowed_is_allowed() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let guard = Guard::elsewhere(vec!["10.2.0.0/16".parse().unwrap()]);
        assert_eq!(guard.objection(at("10.2.3.4")), None);
        assert_eq!(guard.objection(at("::ffff:10.2.3.4")), None);
        assert_eq!(guard.objection(at("10.3.3.4")), Some(Special::Private));
        assert_eq!(Guard::own().objection(at("127.0.0.1")), None);
        assert_eq!(Guard::written("localhost", Vec::new()).objection(at("127.0.0.1")), None);
        assert_eq!(Guard::written("[::1]", Vec::new()).objection(at("::1")), None);
        let rebound = Guard::written("pager.csac.gov", Vec::new()).objection(at("127.0.0.1"));
        assert_eq!(rebound, Some(Special::Loopback), "a name that comes to mean this machine");
    }
}
