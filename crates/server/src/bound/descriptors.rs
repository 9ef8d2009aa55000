//! Descriptors of this process: connections must leave some for files, gateways and shims.

use hmsops_model::limits::{COLLECTOR_CONNECTIONS_MAX, WEB_CONNECTIONS_MAX};
use rustix::process::{Resource, getrlimit, setrlimit};

/// What is kept for everything that is no connection of a door.
const KEPT: u64 = 256;

/// Doors that take connections.
const DOORS: u64 = 2;

/// Raises what this process may open to what it needs, as far as it is granted: a shell's usual 1024 are too few. No
/// further, since services inherit it.
pub(super) fn raise() {
    let needed = KEPT * 2 + (WEB_CONNECTIONS_MAX + COLLECTOR_CONNECTIONS_MAX) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(limit.maximum.map_or(needed, |most| most.min(needed)));
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!("tower: cannot raise the limit of open files: {error}");
        }
    }
}

/// Connections that a door may have at a time: what it wants, or its part of what this process may open.
pub(super) fn places(wanted: usize) -> usize {
    let may_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let part = may_open.saturating_sub(KEPT) / DOORS;
    wanted.min(usize::try_from(part).unwrap_or(usize::MAX)).max(1)
}
