//! What the system writes of a process that crashes: all its memory, with every secret in it (core(5)). Ours leave none.
//! Services are somebody else's, and keep the limit that the tower was started with.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// In a shim's environment: the limit for its service, in bytes.
pub(crate) const VARIABLE: &str = "HMSOPS_CORE_LIMIT";

/// What a limit of any size is written as.
const ANY: &str = "unlimited";

/// The limit before it was taken away.
static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// From now on this process, and what it starts, leaves no core file; an error of the system: it still may.
pub fn withhold() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Core);
    BEFORE.get_or_init(|| limit.current);
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit })?)
}

/// For [`VARIABLE`]; `None` when nothing was taken away.
pub(crate) fn told() -> Option<String> {
    let before = *BEFORE.get()?;
    Some(before.map_or(ANY.to_owned(), |bytes| bytes.to_string()))
}

/// Gives this process the limit that it was told, or leaves it as it is.
pub(crate) fn give_back() {
    let Some(told) = std::env::var(VARIABLE).ok() else { return };
    let current = match told.as_str() {
        ANY => None,
        bytes => match bytes.parse() {
            Ok(bytes) => Some(bytes),
            Err(_) => return,
        },
    };
    // Refused when the most it may be has become less meanwhile: then it stays at nothing.
    let _refused = setrlimit(Resource::Core, Rlimit { current, ..getrlimit(Resource::Core) });
}
