//! `hmsops version`.

use serde_json::json;

use crate::failure::Failure;
use crate::print;

/// Print this program's version
#[derive(clap::Args)]
#[command(after_help = "Example:\n  hmsops version --json")]
pub(super) struct Args {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        print::json(&json!({ "version": version }))
    } else {
        print::line(&format!("hmsops {version}"))
    }
}
