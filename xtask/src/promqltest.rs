//! `cargo xtask promqltest`: scripts in Prometheus' test language.

use crate::checkout;
use crate::chore::Chore;
use crate::failure::Failure;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "promqltest",
    summary: "runs scripts in Prometheus' test language",
    help: "\
usage: cargo xtask promqltest DIR…

Runs every `.test` file of the folders (a file stands for itself), prints each eval that does not come out as expected, and
last `N passed, M failed`. A construct that is not understood counts as failed.

example: cargo xtask promqltest ../shared/conformance/promqltest
",
    run,
};

fn run(args: &[String]) -> Result<(), Failure> {
    if args.is_empty() {
        return Err(Failure::usage("promqltest needs at least one folder of scripts")
            .hint("cargo xtask promqltest ../shared/conformance/promqltest"));
    }
    let mut command = checkout::cargo();
    let package = ["run", "--quiet", "--package", "hmsops-promql", "--bin", "promqltest", "--"];
    checkout::run(command.args(package).args(args))
}
