//! Hosts, ports and listeners.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hmsops_model::network::Network;

use crate::diagnostic::{Findings, shown};
use crate::scalar;
use crate::yaml::{Entry, Node};

/// A gateway's name.
pub(crate) fn gateway_name(node: &Node, out: &mut Findings) -> Option<String> {
    let written = scalar::text(node, "a gateway's name", "gateway: public", out)?;
    if !is_label(written) {
        out.error(node.at, format!("`{}` is not a gateway's name", shown(written)), GATEWAY_NAMES);
        return None;
    }
    Some(written.to_owned())
}

pub(crate) const GATEWAY_NAMES: &str =
    "use 1 to 63 of a-z, 0-9 and `-`, starting and ending with a letter or digit";

/// A DNS label in lower case.
pub(crate) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Networks that one key lists.
const NETWORKS_MAX: usize = 32;

/// Networks that are not public and may be asked all the same.
pub(crate) fn networks(entry: &Entry, out: &mut Findings) -> Option<Vec<Network>> {
    const EXAMPLE: &str = "allow_private: [10.0.0.0/8]";
    let nodes = scalar::list(entry, EXAMPLE, out)?;
    if nodes.len() > NETWORKS_MAX {
        let message = format!("{} networks are more than {NETWORKS_MAX}", nodes.len());
        out.error(entry.at, message, "name larger ones");
        return None;
    }
    scalar::each(nodes, |node| {
        let written = scalar::text(node, "a network", EXAMPLE, out)?;
        let network = written.parse::<Network>();
        network
            .map_err(|error| {
                out.error(node.at, format!("`{}` is {error}", shown(written)), format!("write `{EXAMPLE}`"));
            })
            .ok()
    })
}

/// A host name as it stands in a `Host` header, without a port; in lower case.
pub(crate) fn host(node: &Node, out: &mut Findings) -> Option<String> {
    let written = scalar::text(node, "a host", "host: portal.csac.gov", out)?;
    let host = written.to_ascii_lowercase();
    if is_host(&host) {
        return Some(host);
    }
    let hint = if written.contains("://") {
        "write the host alone, without a scheme"
    } else if written.contains('/') {
        "write the host alone, without a path"
    } else if written.contains(':') {
        "write the host alone, without a port"
    } else if written.contains('*') {
        "leave `host` out for any host; patterns are not read"
    } else {
        "use names of letters, digits and `-`, with dots between them"
    };
    out.error(node.at, format!("`{}` is not a host", shown(written)), hint);
    None
}

/// A host name, or an address without a port; in lower case.
pub(crate) fn host_or_ip(node: &Node, out: &mut Findings) -> Option<String> {
    let written = scalar::text(node, "a name", "tower.csac.gov", out)?;
    match written.parse::<IpAddr>() {
        Ok(ip) => Some(ip.to_string()),
        Err(_) => host(node, out),
    }
}

/// A host, or `*.` and a host, which stands for one label before it (RFC 6125 §6.4.3).
pub(crate) fn host_or_any_label(node: &Node, out: &mut Findings) -> Option<String> {
    let written = scalar::text(node, "a host", "portal.csac.gov", out)?;
    match written.strip_prefix("*.").map(str::to_ascii_lowercase) {
        Some(rest) if is_host(&rest) && rest.contains('.') => Some(format!("*.{rest}")),
        Some(_) => {
            let message = format!("`{}` is not a host", shown(written));
            out.error(node.at, message, "write `*.csac.gov`, with at least two labels after the `*`");
            None
        }
        None => host(node, out),
    }
}

fn is_host(host: &str) -> bool {
    host.len() <= 253
        && host
            .split('.')
            .all(|label| is_label(label) || (label.contains('_') && is_label(&label.replace('_', "a"))))
}

/// `host:port`, `10.0.0.4:8080` or `[::1]:8080`; in lower case. `what` and `example` are for messages.
pub(crate) fn host_and_port(node: &Node, what: &str, example: &str, out: &mut Findings) -> Option<String> {
    let written = scalar::text(node, what, example, out)?;
    let (host, port) = written.rsplit_once(':').unwrap_or((written, ""));
    let host_fits = is_host_or_ip(host);
    let port_fits = !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    if host_fits && port_fits {
        return Some(written.to_ascii_lowercase());
    }
    let message = match (written.contains("://"), host_fits, written.contains(':')) {
        (false, _, false) => format!("`{}` has no port", shown(written)),
        (false, true, true) => format!("`{}` is not a port", shown(port)),
        _ => format!("`{}` is not an address with a port", shown(written)),
    };
    out.error(node.at, message, format!("write an address and a port: `{example}`"));
    None
}

/// A name, an address of IPv4, or one of IPv6 in brackets.
pub(crate) fn is_host_or_ip(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        // Digits and dots alone are an address, or one mistyped; never a name.
        None if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') => host.parse::<IpAddr>().is_ok(),
        None => is_host(&host.to_ascii_lowercase()),
    }
}

/// An address to listen on.
pub(crate) fn listener(node: &Node, out: &mut Findings) -> Option<SocketAddr> {
    let written = scalar::text(node, "`listen`", "listen: \"127.0.0.1:8080\"", out)?;
    match written.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Some(address),
        Ok(_) => {
            out.error(node.at, "port 0 is another one at each start", "choose a port: `127.0.0.1:8080`");
            None
        }
        Err(_) => {
            let hint =
                "write an IP address and a port, `127.0.0.1:8080` or `[::1]:8080`; names are not looked up";
            out.error(node.at, format!("`{}` is not an address to listen on", shown(written)), hint);
            None
        }
    }
}
