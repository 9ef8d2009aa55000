//! What this machine is called: its host name and the addresses that it can be reached at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of one certificate; machines with more addresses name the wanted ones in the settings.
const NAMES_MAX: usize = 100;

/// `localhost`, this machine's host name and its addresses, and before them those that are wanted.
pub(super) fn all(wanted: &[String], listeners: &[IpAddr]) -> Vec<String> {
    let mut names: Vec<String> = wanted.to_vec();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names.extend(listeners.iter().filter(|ip| !ip.is_unspecified()).map(ToString::to_string));
    if let Ok(name) = read("/proc/sys/kernel/hostname") {
        names.extend(Some(name.trim().to_ascii_lowercase()).filter(|name| is_host(name)));
    }
    names.extend(v4(&read("/proc/net/fib_trie").unwrap_or_default()).iter().map(ToString::to_string));
    names.extend(v6(&read("/proc/net/if_inet6").unwrap_or_default()).iter().map(ToString::to_string));
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) && found.len() < NAMES_MAX {
            found.push(name);
        }
    }
    found
}

/// What the kernel says, at most 1 MiB.
fn read(path: &str) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Addresses of the kernel's table of routes: an entry `|-- 10.0.0.4` with `/32 host LOCAL` below is one of ours.
fn v4(table: &str) -> Vec<Ipv4Addr> {
    let (mut found, mut last) = (Vec::new(), None);
    for line in table.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last.filter(|ip| !ip.is_loopback() && !found.contains(ip)));
        }
    }
    found
}

/// Addresses of `/proc/net/if_inet6`: 32 digits each at the beginning of a line. Those of one link only are left out.
fn v6(table: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        let ip = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
        (!ip.is_loopback() && !ip.is_unicast_link_local()).then_some(ip)
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_read() {
        let trie = "Main:\n  +-- 10.0.0.0/24 2 0 2\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.4\n        \
                    /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n     |-- 10.0.0.4\n        /32 host LOCAL\n";
        assert_eq!(v4(trie), [Ipv4Addr::new(10, 0, 0, 4)]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000000000000000000004 02 40 00 80 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\nrubbish\n";
        assert_eq!(v6(inet6), ["2001:db8::4".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn wanted_names_come_first_and_each_once() {
        let all = all(&["tower.csac.gov".into(), "localhost".into()], &[Ipv4Addr::UNSPECIFIED.into()]);
        assert_eq!(all.first().map(String::as_str), Some("tower.csac.gov"));
        assert_eq!(all.iter().filter(|name| *name == "localhost").count(), 1);
        assert!(all.contains(&"127.0.0.1".to_owned()) && !all.contains(&"0.0.0.0".to_owned()), "{all:?}");
    }
}
