//! Every chore of the project: `cargo xtask help`. Standard library only, so that it builds at once.
//!
//! One file per chore; what several need is a noun of its own (`json`, `http`, `checkout`).

#![expect(
    clippy::disallowed_methods,
    reason = "the chores stand outside the program: they read clocks, write scratch files and wait for processes"
)]

mod bench;
mod checkout;
mod chore;
mod dice;
mod failure;
mod flags;
mod flips;
mod fuzz;
mod http;
mod json;
mod lab;
mod load;
mod openmetrics;
mod promqltest;
mod queries;
mod ruletests;
mod sim;
mod spike;
mod stores;
mod test;
mod tidy;
mod ui;

use std::process::ExitCode;

use chore::Chore;

/// In the order in which a newcomer meets them.
const CHORES: &[Chore] = &[
    lab::CHORE,
    test::CHORE,
    tidy::CHORE,
    sim::CHORE,
    bench::CHORE,
    load::chore::CHORE,
    flips::CHORE,
    spike::CHORE,
    promqltest::CHORE,
    queries::CHORE,
    ruletests::CHORE,
    openmetrics::CHORE,
    fuzz::CHORE,
    ui::CHORE,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(args: &[String]) -> Result<(), failure::Failure> {
    let Some((name, rest)) = args.split_first() else {
        print!("{}", chore::overview(CHORES));
        return Ok(());
    };
    match name.as_str() {
        "help" | "--help" | "-h" => match rest.first() {
            Some(topic) => print!("{}", chore::named(CHORES, topic)?.help),
            None => print!("{}", chore::overview(CHORES)),
        },
        name => {
            let chore = chore::named(CHORES, name)?;
            if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
                print!("{}", chore.help);
            } else {
                (chore.run)(rest)?;
            }
        }
    }
    Ok(())
}
