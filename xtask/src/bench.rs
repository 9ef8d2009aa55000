//! `cargo xtask bench AREA`: our figures beside those of the peers.

mod gateway;
mod metrics;
pub(crate) mod peers;
pub(crate) mod tower;
mod writes;
mod wrk;

use std::path::Path;

use crate::chore::Chore;
use crate::failure::Failure;
use crate::flags::Flags;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "bench",
    summary: "measures one area against installed peers",
    help: "\
usage: cargo xtask bench AREA [--json] [--rounds N] [--seconds N] [--program F]

AREA is metrics, writes, gateway, loop or logs; only metrics, writes and gateway have a benchmark yet.

metrics: queries over 100 000 series, written to us, to Prometheus and to VictoriaMetrics, whichever are installed, by remote
write. Rounds are interleaved; a figure is the median of its rounds, from the question to the end of the answer over HTTP.

writes: samples a second of 100 000 series by remote write 1.0 and 2.0, on four connections, 2 000 series of eight labels with
one sample each in a request, and the processor time of the store. Requests are blocks of literals: unpacking costs less,
and the socket more, than with a sender that compresses.

gateway: requests a second, latency and processor time of `hmsops gateway` with a 1 % canary, beside a bare hyper
forwarder, HAProxy, nginx and Caddy, whichever are installed. Each has one thread on one core; wrk and the upstream (nginx)
have another. Rounds are interleaved; a figure is the median of its rounds. No round begins after five minutes; building
the two programs with optimisation comes before, if `--program` is not given.

  --json        ends with one line of JSON
  --rounds N    1 to 100, by default 5; of metrics and writes 1 to 1000, by default 20
  --seconds N   of each round, 1 to 60, by default 3 (gateway)
  --program F   an hmsops that is built already, for gateway with `examples/forwarder` beside it

example: cargo xtask bench gateway --json
",
    run,
};

/// What will be measured.
const AREAS: [&str; 5] = ["metrics", "writes", "gateway", "loop", "logs"];

fn run(args: &[String]) -> Result<(), Failure> {
    let flags = Flags::read(args, &["--json"], &["--rounds", "--seconds", "--program"], 1)?;
    let area = flags.words.first().ok_or_else(|| Failure::usage("no area is named").hint(list()))?;
    match area.as_str() {
        "gateway" => gateway::bench(
            flags.number("--rounds", 5_usize, 1..=100)?,
            flags.number("--seconds", 3_u32, 1..=60)?,
            flags.has("--json"),
            flags.text("--program").map(Path::new),
        ),
        "metrics" => metrics::bench(
            flags.number("--rounds", 20_usize, 1..=1000)?,
            flags.has("--json"),
            flags.text("--program").map(Path::new),
        ),
        "writes" => writes::bench(
            flags.number("--rounds", 20_usize, 1..=1000)?,
            flags.has("--json"),
            flags.text("--program").map(Path::new),
        ),
        area if AREAS.contains(&area) => {
            Err(Failure::new(format!("there is no benchmark of `{area}` yet; nothing was measured")))
        }
        area => Err(Failure::usage(format!("unknown area `{area}`")).hint(list())),
    }
}

fn list() -> String {
    format!("areas are {}", AREAS.join(", "))
}
