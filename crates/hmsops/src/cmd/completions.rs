//! `hmsops completions`: for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use crate::failure::Failure;
use crate::print;

/// Print a shell's completions
#[derive(clap::Args)]
#[command(after_help = "Example:\n  hmsops completions bash > hmsops.bash")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hmsops", &mut text);
    print::data(&String::from_utf8_lossy(&text))
}
