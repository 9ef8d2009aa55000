//! Hostile bytes for every parser and decoder. What an input came to (read, or refused for which reason) guides the search in
//! place of coverage. Each target runs in a process of its own, with a bound on memory and on the time of one input; what
//! ends it is kept below `testdata/fuzz/` of the crate it is about, and is tried first from then on.

#![expect(
    clippy::disallowed_methods,
    reason = "it stands outside the program: it reads the clock and writes what it finds"
)]

mod corpus;
mod dice;
mod mutate;
mod run;
mod target;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask fuzz [--seconds N] [--seed S] [--seeds DIR]… [TARGET…]

Feeds mutated inputs to each target (all, when none is named), each in a process of its own with at most 1 GiB of memory
and 10 s for one input. Exits 1 when a target panics, is killed or hangs: the input is then kept in the folder that is
printed, and is tried first the next time.

  --seconds N   for each target (10)
  --seed S      same seed, same inputs, as far as the time goes (1)
  --seeds DIR   files below it are seeds, too; may be repeated
  --list        the names of all targets

example: cargo xtask fuzz --seconds 180 promql exposition
";

/// What is asked for.
pub(crate) struct Wishes {
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    pub(crate) seeds: Vec<PathBuf>,
    pub(crate) targets: Vec<String>,
    /// Runs one target here, and says where it is in this file.
    pub(crate) child: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--list") {
        for target in target::ALL {
            println!("{}", target.name);
        }
        return ExitCode::SUCCESS;
    }
    let outcome = read(&words).and_then(|wishes| match &wishes.child {
        Some(place) => watch::child(&wishes, place),
        None => watch::parent(&wishes),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}\nhint: cargo xtask fuzz --help");
            ExitCode::from(2)
        }
    }
}

fn read(words: &[String]) -> Result<Wishes, String> {
    let mut wishes = Wishes { seconds: 10, seed: 1, seeds: Vec::new(), targets: Vec::new(), child: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            target::named(word)?;
            wishes.targets.push(word.clone());
            continue;
        }
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let number = || value.parse().map_err(|_| format!("`{value}` is no number for `{word}`"));
        match word.as_str() {
            "--seconds" => wishes.seconds = number()?,
            "--seed" => wishes.seed = number()?,
            "--seeds" => wishes.seeds.push(PathBuf::from(value)),
            "--child" => wishes.child = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown option `{word}`")),
        }
    }
    Ok(wishes)
}
