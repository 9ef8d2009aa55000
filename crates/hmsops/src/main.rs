//! `hmsops`, one binary: the tower, its gateway, its shims, and the verbs that speak with a tower.
//!
//! Refuses: logic. A verb reads its arguments, asks the tower and prints the answer. One file per verb in
//! [`cmd`]; data goes to stdout, talk to stderr; [`failure`] holds the exit codes.

mod caret;
mod client;
mod cmd;
mod contexts;
mod failure;
mod glob;
mod moment;
mod pages;
mod paint;
mod password;
mod print;
mod secret;
mod session;
mod spark;
mod table;
mod trust;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match cmd::Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => return cmd::mistyped(&wrong),
    };
    match cmd::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
