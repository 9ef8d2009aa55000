//! `hmsops shim`: stands behind one started service.

use std::path::PathBuf;

use crate::failure::{Exit, Failure};

/// Stand behind one started service and own its output and exit status. The tower starts these itself
#[derive(clap::Args)]
#[command(after_help = "Example:\n  hmsops shim --dir hmsops-data/run/i-7")]
pub(super) struct Args {
    /// The folder with its spec.json
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match hmsops_act::shim::run(&args.dir) {
        0 => Ok(()),
        _ => Err(Failure::Silent(Exit::Failed)),
    }
}
