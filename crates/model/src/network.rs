//! Ranges of addresses, as in `10.0.0.0/8`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// All addresses that begin with the same bits (RFC 4632 §3.1). An IPv4 address and the same one mapped into IPv6 are
/// one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    /// Bits that count: 0 to 32, or 0 to 128.
    bits: u8,
}

/// A text that names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkError;

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address or a network, like `10.0.0.1` or `10.0.0.0/8`")
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or(NetworkError)?
            }
            Some(_) => return Err(NetworkError),
            None => most,
        };
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// The part of an address that one client is taken to have: all of IPv4, and of IPv6 the /64 that a subscriber is given
/// (RFC 6177 §2).
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// What an address is when it is not one of the public network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Where a cloud hands out its machines' credentials.
    Metadata,
    /// This machine.
    Loopback,
    /// A network of its own: RFC 1918, RFC 4193, RFC 6598.
    Private,
    /// The same wire: RFC 3927, RFC 4291 §2.5.6.
    LinkLocal,
    /// No machine at all: unspecified, multicast, broadcast, reserved, documentation, benchmarks (RFC 6890).
    Nobody,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "where a cloud hands out credentials",
            Self::Loopback => "this machine itself",
            Self::Private => "a private address",
            Self::LinkLocal => "an address of the local link",
            Self::Nobody => "no machine's address",
        })
    }
}

/// Where clouds hand out credentials, by their own documentation: EC2, Azure, GCP, OCI and others; ECS; EKS; Azure's
/// host; Alibaba; Oracle's classic one; EC2, EKS and GCP over IPv6.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The IPv4 address that an IPv6 address leads to: mapped (RFC 4291 §2.5.5.2), compatible (§2.5.5.1), through NAT64
/// (RFC 6052 §2.1) or 6to4 (RFC 3056 §2).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        // `::` and `::1` are what they are.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => Some(join(high, low)),
        _ => None,
    }
}

/// What is special about an address; `None`: it is one of the public network. An address that leads to another one
/// ([RFC 6052](https://www.rfc-editor.org/rfc/rfc6052) and its like) is what that one is.
pub fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => special_v4(address),
            None => special_v6(address),
        },
    }
}

/// What stands against an upstream, `host:port`, that is written as an address: never where a cloud hands out
/// credentials, the local link only when one of these networks allows it. This machine and private networks are where
/// upstreams are; what a name means is judged when it is looked up.
pub fn against_upstream(upstream: &str, allowed: &[Network]) -> Option<Special> {
    let address = upstream.parse::<SocketAddr>().ok()?.ip();
    let is_allowed = allowed.iter().any(|network| network.contains(address));
    match special(address)? {
        Special::Metadata => Some(Special::Metadata),
        Special::LinkLocal if !is_allowed => Some(Special::LinkLocal),
        _ => None,
    }
}

/// RFC 6890, table by table.
fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        _ if METADATA_V4.contains(&address) => Special::Metadata,
        (127, ..) => Special::Loopback,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Special::Private,
        (169, 254, _) => Special::LinkLocal,
        (0 | 224..=255, ..)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Special::Nobody,
        _ => return None,
    })
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    let [a, b, c, ..] = address.segments();
    Some(match (a, b, c) {
        _ if METADATA_V6.contains(&address) => Special::Metadata,
        _ if address == Ipv6Addr::LOCALHOST => Special::Loopback,
        // Unique local addresses, what was site-local before them, and a NAT64 of one's own (RFC 8215).
        (0xfc00..=0xfdff | 0xfec0..=0xfeff, ..) | (0x64, 0xff9b, _) => Special::Private,
        (0xfe80..=0xfebf, ..) => Special::LinkLocal,
        // Global unicast is 2000::/3; of it Teredo, ORCHID and documentation lead nowhere or to anywhere.
        (0x2001, 0 | 0xdb8 | 0x10..=0x2f, _) | (0x3fff, 0..=0xfff, _) => Special::Nobody,
        (0x2000..=0x3fff, ..) => return None,
        _ => Special::Nobody,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_alone() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::/0", "2001:db8::", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), is_in, "{network} {address}");
        }
        for wrong in
            ["", "10.0.0.0/33", "10.0.0/8", "a", "::1/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_upstream_is_anywhere_but_where_credentials_are() {
        let link = ["169.254.0.0/16".parse().unwrap()];
        for (upstream, is) in [
            ("169.254.169.254:80", Some(Special::Metadata)),
            ("[fd00:ec2::254]:80", Some(Special::Metadata)),
            ("[::ffff:169.254.169.254]:80", Some(Special::Metadata)),
            ("169.254.7.7:8080", Some(Special::LinkLocal)),
            ("127.0.0.1:8080", None),
            ("10.0.0.4:8080", None),
            ("portal.csac.gov:8080", None),
        ] {
            assert_eq!(against_upstream(upstream, &[]), is, "{upstream}");
        }
        assert_eq!(against_upstream("169.254.7.7:8080", &link), None);
        assert_eq!(against_upstream("169.254.169.254:80", &link), Some(Special::Metadata));
    }

    #[test]
    fn a_subscriber_has_a_64() {
        let one = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(one("2001:db8::1"), one("2001:db8::ffff:1"));
        assert_ne!(one("2001:db8::1"), one("2001:db8:0:1::1"));
        assert_ne!(one("192.0.2.7"), one("192.0.2.8"));
    }

    #[test]
    fn addresses_that_are_not_of_the_public_network_are_known_in_every_form() {
        let known = |text: &str| special(text.parse().unwrap());
        for (is, texts) in [
            (
                Some(Special::Metadata),
                "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254 \
                 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 ::169.254.169.254",
            ),
            (
                Some(Special::Loopback),
                "127.0.0.1 127.255.0.1 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::",
            ),
            (
                Some(Special::Private),
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fc00::1 fdff::1 fec0::1 \
                 64:ff9b:1::a00:1 ::ffff:10.0.0.1",
            ),
            (Some(Special::LinkLocal), "169.254.0.1 fe80::1 febf::1"),
            (
                Some(Special::Nobody),
                "0.0.0.0 0.1.2.3 :: 224.0.0.1 255.255.255.255 240.0.0.1 192.0.2.1 198.18.0.1 ff02::1 2001:db8::1 \
                 2001::1 100::1 5f00::1 ::ffff:0.0.0.0",
            ),
            (
                None,
                "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 169.253.0.1 192.0.1.1 \
                 2606:4700::1111 2a00::1 64:ff9b::808:808 2002:808:808:: ::ffff:8.8.8.8",
            ),
        ] {
            for text in texts.split_whitespace() {
                assert_eq!(known(text), is, "{text}");
            }
        }
    }
}
