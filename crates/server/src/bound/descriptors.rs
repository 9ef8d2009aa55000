//! Descriptors of this process: connections must leave some for files, gateways and shims.

use rustix::process::{Resource, getrlimit};

/// What is kept for everything that is no connection of a door.
const KEPT: u64 = 256;

/// Doors that take connections.
const DOORS: u64 = 2;

/// Connections that a door may have at a time: what it wants, or its part of what this process may open.
pub(crate) fn places(wanted: usize) -> usize {
    let may_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let part = may_open.saturating_sub(KEPT) / DOORS;
    wanted.min(usize::try_from(part).unwrap_or(usize::MAX)).max(1)
}
