//! Who calls: the peer of the connection, or whom a trusted proxy says it calls for.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_model::network::{Network, subscriber};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The chain of addresses that a request has come by.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its address, of IPv4 where that is what is meant.
    pub(super) address: IpAddr,
    /// The same as a field's value, made once for all its requests.
    text: HeaderValue,
}

impl Peer {
    pub(super) fn new(peer: SocketAddr) -> Self {
        let address = peer.ip().to_canonical();
        let text = HeaderValue::try_from(address.to_string()).expect("an address is printable ASCII");
        Self { address, text }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    /// The other end of the connection.
    pub(super) peer: &'a Peer,
    /// The client, as far as trusted proxies vouch for it.
    pub(super) address: IpAddr,
    /// Whether the peer is believed about whom it asks for.
    pub(super) is_trusted: bool,
}

impl<'a> Caller<'a> {
    /// `has_chain`: whether the head has an `X-Forwarded-For` at all.
    pub(super) fn new(headers: &HeaderMap, peer: &'a Peer, trusted: &[Network], has_chain: bool) -> Self {
        let is_trusted = is_in(trusted, peer.address);
        let named = if is_trusted && has_chain { named(headers, trusted).and_then(address) } else { None };
        Self { peer, address: named.unwrap_or(peer.address), is_trusted }
    }
}

/// The last address of the chain that is no trusted proxy's: those before it anybody can have written. `None` when
/// nothing is said.
pub(super) fn named<'a>(headers: &'a HeaderMap, trusted: &[Network]) -> Option<&'a [u8]> {
    let mut first = None;
    for value in headers.get_all(&FORWARDED_FOR).iter().rev() {
        for hop in value.as_bytes().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if hop.is_empty() {
                continue;
            }
            if !address(hop).is_some_and(|address| is_in(trusted, address)) {
                return Some(hop);
            }
            first = Some(hop);
        }
    }
    first
}

fn is_in(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// An address, perhaps with a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// The value of `X-Forwarded-For` for what comes from it.
/// `has_chain` says whether there is one already.
pub(super) fn chain(headers: &HeaderMap, caller: &Caller<'_>, has_chain: bool) -> Option<HeaderValue> {
    if !caller.is_trusted || !has_chain {
        return Some(caller.peer.text.clone());
    }
    let before: Vec<_> = headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let list = [before.join(&b", "[..]).as_slice(), b", ", caller.peer.text.as_bytes()].concat();
    HeaderValue::from_bytes(&list).ok()
}

/// How many connections each client address has.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<HashMap<IpAddr, u32>>);

/// One connection's entry; gone when dropped.
pub(super) struct Guest {
    guests: Arc<Guests>,
    address: IpAddr,
}

impl Guests {
    /// Lets a connection in unless its address has `most` already.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr, most: u32) -> Option<Guest> {
        let address = subscriber(peer.ip());
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = guests.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest { guests: Arc::clone(self), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = guests.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of(chain: &[&str], peer: &str) -> IpAddr {
        let mut headers = HeaderMap::new();
        for value in chain {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let peer = Peer::new(SocketAddr::new(peer.parse().unwrap(), 1));
        Caller::new(&headers, &peer, &trusted, !chain.is_empty()).address
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (chain, peer, found) in [
            (&["198.51.100.1"][..], "203.0.113.9", "203.0.113.9"),
            (&["198.51.100.1"], "10.0.0.1", "198.51.100.1"),
            (&["1.1.1.1, 198.51.100.1, 10.0.0.2"], "10.0.0.1", "198.51.100.1"),
            (&["1.1.1.1", "198.51.100.1:4000 ,10.0.0.2"], "::1", "198.51.100.1"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.1", "10.0.0.3"),
            (&["[2001:db8::1]:99"], "10.0.0.1", "2001:db8::1"),
            (&["unknown"], "10.0.0.1", "10.0.0.1"),
            (&["", ", ,"], "10.0.0.1", "10.0.0.1"),
            (&[], "::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(address_of(chain, peer), found.parse::<IpAddr>().unwrap(), "{chain:?} {peer}");
        }
    }

    #[test]
    fn each_address_has_so_many_connections() {
        let guests = Arc::new(Guests::default());
        let peer = |text: &str| text.parse().unwrap();
        let first = guests.admit(peer("192.0.2.1:1"), 1);
        assert!(first.is_some() && guests.admit(peer("192.0.2.1:2"), 1).is_none());
        assert!(guests.admit(peer("192.0.2.2:1"), 1).is_some());
        drop(first);
        assert!(guests.admit(peer("192.0.2.1:3"), 1).is_some());
        assert!(guests.0.lock().unwrap().is_empty(), "nobody is remembered");
    }
}
