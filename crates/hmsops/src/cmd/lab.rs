//! `hmsops lab`: the running lab, for a shell.

use std::path::Path;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::print;

/// The file a running lab leaves for shells, below the folder of its checkout.
const ENV: &str = "lab/.state/env";

/// The lab's settings; larger, it is something else.
const ENV_BYTES_MAX: u64 = 64 << 10;

/// Work with a running lab
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print what a shell needs to know the lab
    #[command(after_help = "Example:\n  eval \"$(hmsops lab env)\"")]
    Env,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match args.verb {
        Verb::Env => print::data(&env()?),
    }
}

/// From the folder here or one above it, else beside the program itself, which stands in its checkout.
fn env() -> Result<String, Failure> {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let starts = [here.as_deref(), program.as_deref().and_then(Path::parent)];
    let files = starts.into_iter().flatten().flat_map(Path::ancestors).map(|folder| folder.join(ENV));
    for file in files {
        match std::fs::metadata(&file) {
            Ok(meta) if meta.is_file() && meta.len() <= ENV_BYTES_MAX => {
                return std::fs::read_to_string(&file).map_err(|error| {
                    Failure::new(Exit::Failed, format!("cannot read `{}`: {error}", file.display()))
                });
            }
            _ => {}
        }
    }
    Err(Failure::new(Exit::NotFound, format!("no lab runs: there is no `{ENV}` here or in a folder above"))
        .hint("start one with: cargo xtask lab"))
}
