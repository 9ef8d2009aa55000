//! `hmsops serve`: the tower.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use hmsops_server::serve::{ServeError, ServeOptions};
use tracing_subscriber::EnvFilter;

use super::machine;
use crate::failure::{Exit, Failure};
use crate::{paint, session};

/// Run the tower: state, doors, pages. It may be stopped at any moment and no user of a service notices
#[derive(clap::Args)]
#[command(after_help = "Example:\n  hmsops serve --config hmsops.yaml --repo .")]
pub(super) struct Args {
    /// Settings; none are needed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [default: $HMSOPS_DATA, else ./hmsops-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where pages and API listen [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where metrics come in, over gRPC and plain HTTP [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<SocketAddr>,
    /// A folder with a team's files, watched; can be given more than once
    #[arg(long, value_name = "DIR")]
    repo: Vec<PathBuf>,
    /// Everyone on this machine has all rights
    #[arg(long)]
    no_auth: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    logging();
    hmsops_act::core_file::withhold().map_err(|error| machine("forbid core files", &error))?;
    let exe = std::env::current_exe().map_err(|error| machine("find our own program", &error))?;
    let options = ServeOptions {
        config: args.config,
        data: args.data.unwrap_or_else(session::data_folder),
        listen: args.listen,
        grpc_listen: args.grpc_listen,
        repo: args.repo,
        no_auth: args.no_auth,
        exe,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| machine("start a runtime", &error))?;
    runtime.block_on(hmsops_server::serve::run(options)).map_err(|error| {
        let exit = match error {
            ServeError::Config(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        let failure = Failure::new(exit, error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// Log lines go to stderr; HMSOPS_LOG says which (`debug`, `hmsops_server=trace`, …).
pub(super) fn logging() {
    let filter = EnvFilter::try_from_env("HMSOPS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(paint::errors() && std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
