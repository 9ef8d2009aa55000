//! `cargo xtask load`: traffic against any server, for a look or for another test.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use super::arrivals::Pacing;
use super::{Load, Plan};
use crate::chore::Chore;
use crate::failure::Failure;
use crate::flags::Flags;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "load",
    summary: "sends steady traffic to a server and reports what came back",
    help: "\
usage: cargo xtask load HOST:PORT [OPTION…]

Sends the lab's mix (70 % GET /, 20 % GET /ideas, 10 % POST /login) from users with a session cookie each.
Requests leave on time whether or not earlier ones were answered. Exits 1 when an idempotent request failed.

  --rate N       requests a second (200)
  --seconds N    how long (10)
  --clients N    users (2000)
  --seed N       same seed, same requests (1)
  --even         at equal distances instead of Poisson arrivals

example: cargo xtask load 127.0.0.1:8080 --rate 300 --seconds 30
",
    run,
};

fn run(args: &[String]) -> Result<(), Failure> {
    let flags = Flags::read(args, &["--even"], &["--rate", "--seconds", "--clients", "--seed"], 1)?;
    let server = flags.words.first().ok_or_else(|| {
        Failure::usage("no server is named").hint("for example: cargo xtask load 127.0.0.1:8080")
    })?;
    let address = server
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| Failure::usage(format!("`{server}` is not HOST:PORT")))?;
    let mut plan = Plan::new(
        address,
        flags.number("--rate", 200.0, 0.1..=20_000.0)?,
        flags.number("--seed", 1, 0..=u64::MAX)?,
    );
    plan.clients = flags.number("--clients", plan.clients, 1..=10_000_000)?;
    if flags.has("--even") {
        plan.pacing = Pacing::Even;
    }
    let seconds: u64 = flags.number("--seconds", 10, 1..=86_400)?;
    let load = Load::start(plan)?;
    let mut before = load.tally();
    for second in 1..=seconds {
        std::thread::sleep(Duration::from_secs(second).saturating_sub(load.elapsed()));
        let now = load.tally();
        eprintln!("{second:>5} s  {}", now.line_since(&before));
        before = now;
    }
    let tally = load.stop();
    print!("{tally}");
    if tally.idempotent.count > 0 {
        return Err(Failure::new(format!("{} idempotent requests failed", tally.idempotent.count)));
    }
    Ok(())
}
