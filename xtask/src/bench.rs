//! `cargo xtask bench AREA`: our figures beside those of the peers.

use crate::chore::Chore;
use crate::failure::Failure;
use crate::flags::Flags;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "bench",
    summary: "measures one area against installed peers",
    help: "\
usage: cargo xtask bench AREA [--json]

AREA is metrics, gateway, loop or logs. None of them has a benchmark yet: it arrives with the area itself.

example: cargo xtask bench gateway --json
",
    run,
};

/// What will be measured.
const AREAS: [&str; 4] = ["metrics", "gateway", "loop", "logs"];

fn run(args: &[String]) -> Result<(), Failure> {
    let flags = Flags::read(args, &["--json"], &[], 1)?;
    let area = flags.words.first().ok_or_else(|| Failure::usage("no area is named").hint(list()))?;
    if AREAS.contains(&area.as_str()) {
        Err(Failure::new(format!("there is no benchmark of `{area}` yet; nothing was measured")))
    } else {
        Err(Failure::usage(format!("unknown area `{area}`")).hint(list()))
    }
}

fn list() -> String {
    format!("areas are {}", AREAS.join(", "))
}
