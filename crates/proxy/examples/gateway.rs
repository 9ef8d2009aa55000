//! The data plane without the rest of the program, so that its speed can be looked into after a minute of compiling
//! instead of ten. It takes the flags of `hmsops gateway` that a benchmark gives, and runs on one thread.
//!
//! usage: gateway gateway --name NAME --listen ADDR --socket PATH --state DIR [--library-clock]
//!
//! `--library-clock`: under valgrind the kernel's own page of clocks can't be read as the gateway reads it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hmsops_disk::RealDisk;
use hmsops_model::{Millis, Now, UnixMillis};
use hmsops_proxy::plane::{self, Clock, GatewayOptions};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The standard library's clocks.
struct LibraryClock(Instant);

impl Clock for LibraryClock {
    fn now(&self) -> Now {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Now {
            wall: UnixMillis(since.as_millis() as i64),
            steady: Millis(self.0.elapsed().as_millis() as u64 + 1000),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock begins here")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let flag = |name: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).ok_or_else(|| format!("`{name}` is missing"))
    };
    let disk = Arc::new(RealDisk::new(Path::new(flag("--state")?))?);
    let socket = PathBuf::from(flag("--socket")?);
    let mut options =
        GatewayOptions::new(flag("--name")?, flag("--listen")?.parse()?, socket, disk, "gateway.json");
    if args.iter().any(|arg| arg == "--library-clock") {
        options.clock = Arc::new(LibraryClock(Instant::now()));
    }
    Ok(plane::run(options).await?)
}
