//! Who listens on a port, for messages like `127.0.0.1:3000 is taken by pid 4711 (python3)`.

use std::collections::BTreeSet;
use std::fs;

use crate::proc;

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN` in Linux's `tcp_states.h`).
const LISTEN: &str = "0A";

/// Who listens on this TCP port, on any address: `pid 4711 (python3)`. `None` when nobody does. A process whose
/// descriptors we may not see is `a process of another user`.
pub fn holder(port: u16) -> Option<String> {
    let inodes: BTreeSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let names: BTreeSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut found: Vec<proc::Stat> = proc::all().into_iter().filter(|stat| holds(stat.pid, &names)).collect();
    found.sort_by_key(|stat| stat.pid);
    Some(found.first().map_or_else(
        || "a process of another user".to_owned(),
        |stat| format!("pid {} ({})", stat.pid, stat.command),
    ))
}

/// The inodes of the sockets that listen on the port, of a table as in proc_net_tcp(5).
fn listeners(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|fields| {
        fields.get(1).is_some_and(|local| local.ends_with(&suffix)) && fields.get(3) == Some(&LISTEN)
    })
    .filter_map(|fields| fields.get(9).map(|inode| (*inode).to_owned()))
    .collect()
}

fn holds(pid: u32, names: &BTreeSet<String>) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.to_str().is_some_and(|target| names.contains(target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = holder(port).unwrap();
        assert!(text.starts_with(&format!("pid {} (", std::process::id())), "{text}");
        drop(listener);
        assert_eq!(holder(port), None);
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 111 1\n\
                     1: 0100007F:0BB8 0100007F:1234 01 00000000:00000000 00:00000000 00000000 0 0 222 1\n\
                     2: 0100007F:1234 0100007F:0BB8 0A 00000000:00000000 00:00000000 00000000 0 0 333 1\n\
                     3: cut off\n";
        assert_eq!(listeners(table, 3000), ["111"]);
    }
}
