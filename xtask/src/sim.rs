//! `cargo xtask sim`: the seeded simulator.

use crate::checkout;
use crate::chore::Chore;
use crate::failure::Failure;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "sim",
    summary: "runs the seeded simulator",
    help: "\
usage: cargo xtask sim [OPTION…]

Builds the simulator and hands it all options; it explains them itself. Says on standard error how far it is.
Exits 1 when an invariant did not hold; when the 99 % upper bound of the rate of false rollbacks, of a detector or in
all, is over 1.5 α and there were rollouts enough to show that it is not (some 9 000; fewer say `too few to tell` unless even
the lower bound is over it); and when a goal of detection is missed by 200 rollouts a row or more.
A core simulates about 17 healthy rollouts a second: 20 000 of them take ten minutes on two.

  --rollouts N   healthy rollouts to simulate, on which false alarms are counted (200)
  --rough N      rollouts with faults of theirs and ours, on which invariants are checked (200)
  --timed N      rollouts of each fault that detection is timed on, of ours and of modelled peers (50)
  --claims N     rollouts of slightly worse versions, on which the claims of promotions are counted (100)
  --kills        tower, gateway and shims killed at every state of every step, and at every write of the ledger
  --seed S       the first seed; same seed, same run, on any number of threads (1)
  --threads N    how many stories are told at a time (one a core)
  --only SEED    one seed, told in full, twice
  --json         ends with one line of JSON instead of a table

example: cargo xtask sim --rollouts 20000 --rough 0 --seed 7 --json
",
    run,
};

fn run(args: &[String]) -> Result<(), Failure> {
    simulate(args)
}

/// Runs the simulator with these arguments.
pub(crate) fn simulate(args: &[String]) -> Result<(), Failure> {
    // Optimised: thousands of rollouts take seconds instead of minutes, which pays for the build at once.
    let mut command = checkout::cargo();
    checkout::run(command.args(["run", "--quiet", "--release", "--package", "hmsops-sim", "--"]).args(args))
}
