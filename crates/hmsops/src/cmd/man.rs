//! `hmsops man`: manual pages.

use clap::CommandFactory as _;

use super::Cli;
use crate::failure::{Exit, Failure};
use crate::print;

/// Print a manual page
#[derive(clap::Args)]
#[command(after_help = "Example:\n  hmsops man > hmsops.1\n  hmsops man release watch | man -l -")]
pub(super) struct Args {
    /// The verb, in one or two words; the program as a whole, if none
    verb: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    for word in &args.verb {
        command = command.find_subcommand(word).ok_or_else(|| {
            let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            Failure::new(Exit::NotFound, format!("there is no verb `{}`", print::plain(word)))
                .hint(format!("there are {}", known.join(", ")))
        })?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    print::data(&String::from_utf8_lossy(&text))
}
