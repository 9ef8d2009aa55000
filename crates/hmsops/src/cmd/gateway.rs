//! `hmsops gateway`: the data plane.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use hmsops_proxy::plane::{self, GatewayOptions};
use hmsops_server::door::folder;

use super::{machine, serve};
use crate::failure::{Exit, Failure};

/// Run a gateway: it splits traffic, shields users and counts. `serve` starts one for each in its settings
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  hmsops gateway --name public --listen 127.0.0.1:8080 --socket public.sock --state gateway"
)]
pub(super) struct Args {
    /// Its name in the tower's settings
    #[arg(long)]
    name: String,
    /// Where it takes requests
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The unix socket it makes for its tower
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The folder it keeps its last weights in
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Threads that carry requests, 1 to 64; by default as many as the machine has cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Take the place of the gateway on this socket: its port, its routes, its settings. It drains; no connection fails
    #[arg(long)]
    take_over: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    serve::logging();
    hmsops_act::core_file::withhold().map_err(|error| machine("forbid core files", &error))?;
    let wanted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if args.name.is_empty() || args.name.len() > 63 || !args.name.chars().all(wanted) {
        return Err(Failure::usage("`--name` is not 1 to 63 of A-Z, a-z, 0-9, `-` and `_`"));
    }
    let disk = folder::disk(&args.state).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot use the folder `{}`: {error}", args.state.display()))
    })?;
    let state = format!("gateway-{}.json", args.name);
    let mut options = GatewayOptions::new(&args.name, args.listen, args.socket, disk, &state);
    options.take_over = args.take_over;
    let runtime = runtime(args.threads).map_err(|error| machine("start a runtime", &error))?;
    runtime.block_on(plane::run(options)).map_err(|error| {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(message, ": {error}");
            cause = error.source();
        }
        Failure::new(Exit::Failed, message)
    })
}

/// One thread needs no queues that others could steal from.
fn runtime(threads: Option<u16>) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        Some(1) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(threads) = threads.filter(|threads| *threads > 1) {
        builder.worker_threads(usize::from(threads));
    }
    builder.enable_all().build()
}
