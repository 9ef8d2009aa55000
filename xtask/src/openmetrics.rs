//! `cargo xtask openmetrics`: texts against the OpenMetrics specification.

use crate::checkout;
use crate::chore::Chore;
use crate::failure::Failure;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "openmetrics",
    summary: "holds texts against the OpenMetrics specification",
    help: "\
usage: cargo xtask openmetrics DIR…

Each folder in DIR that has a `test.json` is a case: its text has to be read or to be refused, as `shouldParse` says (a
folder with a `test.json` stands for itself). Prints each that is judged otherwise, and last `N passed, M failed`.

example: cargo xtask openmetrics ../shared/conformance/openmetrics/parsers
",
    run,
};

fn run(args: &[String]) -> Result<(), Failure> {
    if args.is_empty() {
        return Err(Failure::usage("openmetrics needs at least one folder of cases")
            .hint("cargo xtask openmetrics ../shared/conformance/openmetrics/parsers"));
    }
    let mut command = checkout::cargo();
    let package = ["run", "--quiet", "--package", "hmsops-wire", "--bin", "openmetrics", "--"];
    checkout::run(command.args(package).args(args))
}
