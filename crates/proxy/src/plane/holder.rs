//! Who holds a port that can't be had. Best effort: another user's processes may not be looked into.

use std::fs;
use std::net::SocketAddr;

/// The `LISTEN` state in `/proc/net/tcp` (`TCP_LISTEN` of the kernel's `tcp_states.h`).
const LISTEN: &str = "0A";

/// `nginx (pid 812)`, when it can be found out.
pub(super) fn holder(address: SocketAddr) -> Option<String> {
    let table = if address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    // A socket bound to all IPv6 addresses may hold an IPv4 port as well.
    let tables = [table, "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        listening_inode(&table, address.port()).map(str::to_owned)
    })?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pid = processes.filter_map(|entry| entry.file_name().into_string().ok()?.parse::<u32>().ok()).find(
        |pid| {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            files
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|link| link.as_os_str() == socket.as_str())
        },
    )?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("`{}` (pid {pid})", name.trim()))
}

/// The inode of the socket that listens on a port, from the kernel's table: its columns are number, local
/// address, remote address, state, queues, timer, retransmits, user, time-out, inode.
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).find_map(|columns| {
        let is_it = columns.get(1)?.ends_with(&port) && *columns.get(3)? == LISTEN;
        is_it.then(|| columns.get(9).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_of_a_port_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1\n";
        assert_eq!(listening_inode(table, 8080), Some("222"));
        assert_eq!(listening_inode(table, 8081), None);
        assert_eq!(listening_inode("", 8080), None);
    }
}
