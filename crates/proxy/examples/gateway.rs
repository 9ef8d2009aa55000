//! The data plane without the rest of the program, so that its speed can be looked into after a minute of compiling
//! instead of ten. It takes the flags of `hmsops gateway` that a benchmark gives, and runs on one thread.
//!
//! usage: gateway gateway --name NAME --listen ADDR --socket PATH --state DIR

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmsops_disk::RealDisk;
use hmsops_proxy::plane::{self, GatewayOptions};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let flag = |name: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).ok_or_else(|| format!("`{name}` is missing"))
    };
    let disk = Arc::new(RealDisk::new(Path::new(flag("--state")?))?);
    let socket = PathBuf::from(flag("--socket")?);
    let options = GatewayOptions::new(flag("--name")?, flag("--listen")?.parse()?, socket, disk, "gateway.json");
    Ok(plane::run(options).await?)
}
