//! `cargo xtask fuzz`: hostile bytes for every parser and decoder.

use std::path::PathBuf;

use crate::checkout;
use crate::chore::Chore;
use crate::failure::Failure;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "fuzz",
    summary: "feeds hostile bytes to every parser and decoder",
    help: "\
usage: cargo xtask fuzz [--seconds N] [--seed S] [--seeds DIR]… [TARGET…]

Feeds mutated inputs to each target (all, when none is named), each in a process of its own with at most 1 GiB of memory
and 10 s for one input. Exits 1 when a target panics, is killed or hangs: the input is then kept below `testdata/fuzz/`
of the crate it is about, and is tried first the next time. What an input came to (which error, or that it was read) guides
the search; there is no coverage. Files of ../shared/conformance are seeds, too, where it is.

  --seconds N   for each target (10)
  --seed S      same seed, same inputs, as far as the time goes (1)
  --seeds DIR   files below it are seeds, too; may be repeated
  --list        the names of all targets

example: cargo xtask fuzz --seconds 180 promql exposition
",
    run,
};

fn run(args: &[String]) -> Result<(), Failure> {
    feed(args)
}

/// Feeds with these arguments.
pub(crate) fn feed(args: &[String]) -> Result<(), Failure> {
    // Unoptimized: arithmetic is checked.
    let mut command = checkout::cargo();
    command.args(["run", "--quiet", "--package", "hmsops-fuzz", "--"]).args(args);
    let shared = PathBuf::from("../shared/conformance");
    if shared.is_dir() && !args.iter().any(|arg| arg == "--list") {
        command.arg("--seeds").arg(shared);
    }
    checkout::run(&mut command)
}
