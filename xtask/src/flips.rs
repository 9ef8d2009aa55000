//! `cargo xtask flips`: no request fails while a gateway's weights, settings and process change under it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::peers::{self, Ground};
use crate::bench::tower::Tower;
use crate::chore::Chore;
use crate::failure::Failure;
use crate::flags::Flags;
use crate::load::closed::{Count, Plan, Users};

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "flips",
    summary: "changes a gateway's weights and settings under traffic; no request may fail",
    help: "\
usage: cargo xtask flips [--requests N] [--flips N] [--reloads N] [--program F]

Starts a real `hmsops gateway` before a real server (nginx), sets its routes as a tower does, and changes weight and
settings while users ask and look at every answer. Then counts the split at 1 % over 100 000 requests. Exits 1
when a request failed, or when the split lies outside the 99.9 % interval of a fair one twice in a row.

  --requests N   while things change (100 000)
  --flips N      changes of weight (100)
  --reloads N    changes of settings (2)
  --program F    an hmsops that is built already

example: cargo xtask flips --requests 1000000 --flips 1000 --reloads 20
",
    run: |args| {
        let flags = Flags::read(args, &[], &["--requests", "--flips", "--reloads", "--program"], 0)?;
        let hmsops = flags.text("--program").map_or_else(peers::hmsops, |program| Ok(program.into()))?;
        run(
            &hmsops,
            flags.number("--requests", 100_000, 1..=1_000_000_000)?,
            flags.number("--flips", 100, 0..=1_000_000)?,
            flags.number("--reloads", 2, 0..=10_000)?,
        )
    },
};

/// Users at a time.
const USERS: usize = 16;
/// A request may take so long; nothing here does.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Weights that are flipped through, in basis points: none, all, and what releases have.
const WEIGHTS: [u32; 7] = [100, 0, 2500, 10_000, 1, 5000, 9900];
/// How the split is counted.
const SPLIT_REQUESTS: u64 = 100_000;
const SPLIT_BP: u32 = 100;
/// Quantile of the normal distribution for 99.9 %, two-sided.
const Z_999: f64 = 3.2905;

/// Runs it and prints what came of it.
pub(crate) fn run(hmsops: &Path, requests: u64, flips: u64, reloads: u64) -> Result<(), Failure> {
    let ground = Ground::new("flips", false)?;
    let upstream = ground.upstream()?;
    let mut place = Place::new(&ground, hmsops)?;
    let began = Instant::now();
    let users = Users::start(&plan(place.port, requests))?;
    for (kind, _) in order(requests, flips, reloads, &users) {
        match kind {
            Change::Flip(nth) => place.flip(nth)?,
            Change::Reload(nth) => place.reload(nth)?,
        }
    }
    let count = users.finish();
    let seconds = began.elapsed().as_secs_f64();
    let [stable, canary] = count.good;
    println!(
        "{requests} requests in {seconds:.1} s, {flips} flips, {reloads} reloads: {} failed, {} asked again on a fresh \
         connection; {stable} answered by stable, {canary} by the canary",
        count.failures(),
        count.asked_again,
    );
    check(&count, requests)?;
    if !split(&mut place)? && !split(&mut place)? {
        return Err(Failure::new("the split is not fair: it lay outside the 99.9 % interval twice"));
    }
    drop(upstream);
    Ok(())
}

fn plan(port: u16, requests: u64) -> Plan {
    let bodies = ["stable", "canary"].map(peers::body);
    Plan { server: ([127, 0, 0, 1], port).into(), users: USERS, requests, bodies, timeout: TIMEOUT }
}

fn check(count: &Count, requests: u64) -> Result<(), Failure> {
    let answered = count.good.iter().sum::<u64>() + count.failures();
    if count.failures() > 0 {
        return Err(Failure::new(format!("{} requests failed: {:?}", count.failures(), count.failed)));
    }
    if answered != requests {
        return Err(Failure::new(format!("{requests} requests were to be sent, {answered} were answered")));
    }
    Ok(())
}

/// A gateway and its tower.
struct Place<'a> {
    ground: &'a Ground,
    port: u16,
    tower: Tower,
    _gateway: peers::Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Flip(u64),
    Reload(u64),
}

impl<'a> Place<'a> {
    fn new(ground: &'a Ground, hmsops: &Path) -> Result<Self, Failure> {
        let port = peers::port()?;
        let gateway = ground.gateway(hmsops, port, &[])?;
        let mut tower = Tower::connect(&ground.socket())?;
        tower.set(ground.stable, ground.canary, SPLIT_BP)?;
        Ok(Self { ground, port, tower, _gateway: gateway })
    }

    fn flip(&mut self, nth: u64) -> Result<(), Failure> {
        let weight = WEIGHTS[nth as usize % WEIGHTS.len()];
        self.tower.set(self.ground.stable, self.ground.canary, weight)
    }

    /// Other settings, and other declarations of what is bad.
    fn reload(&mut self, nth: u64) -> Result<(), Failure> {
        let idle_ms = if nth % 2 == 0 { 1_800_000 } else { 3_600_000 };
        self.tower.say(&format!("{{\"type\":\"settings\",\"settings\":{{\"tunnel_idle\":{idle_ms}}}}}"))?;
        self.tower.wait("settings-applied", "")?;
        let bad = if nth % 2 == 0 { "\"5xx\"" } else { "\"5xx\",\"timeout\"" };
        self.tower.set_with(self.ground.stable, self.ground.canary, SPLIT_BP, bad)
    }
}

/// What is to change when, each handed out once so many requests have begun.
fn order<'a>(
    requests: u64,
    flips: u64,
    reloads: u64,
    users: &'a Users,
) -> impl Iterator<Item = (Change, u64)> + 'a {
    schedule(requests, flips, reloads).into_iter().inspect(|(_, due)| {
        while users.begun() < *due && !users.are_done() {
            std::thread::sleep(Duration::from_micros(200));
        }
    })
}

/// Changes with the number of requests after which they are due, evenly spread.
fn schedule(requests: u64, flips: u64, reloads: u64) -> Vec<(Change, u64)> {
    let spread = |count: u64| (0..count).map(move |nth| (nth, (nth + 1) * requests / (count + 1)));
    let mut changes: Vec<_> = spread(flips).map(|(nth, due)| (Change::Flip(nth), due)).collect();
    changes.extend(spread(reloads).map(|(nth, due)| (Change::Reload(nth), due)));
    changes.sort_by_key(|(_, due)| *due);
    changes
}

/// Whether the split at 1 % is fair over 100 000 requests, by the normal approximation of the binomial.
fn split(place: &mut Place<'_>) -> Result<bool, Failure> {
    place.tower.set(place.ground.stable, place.ground.canary, SPLIT_BP)?;
    let count = Users::start(&plan(place.port, SPLIT_REQUESTS))?.finish();
    check(&count, SPLIT_REQUESTS)?;
    let (n, share) = (SPLIT_REQUESTS as f64, f64::from(SPLIT_BP) / 10_000.0);
    let (expected, slack) = (n * share, Z_999 * (n * share * (1.0 - share)).sqrt());
    let canary = count.good[1] as f64;
    println!("split: {canary} of {n} at 1 %, a fair one gives {expected} ± {slack:.0}");
    Ok((canary - expected).abs() <= slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_spread_evenly_and_in_order() {
        let changes = schedule(1000, 3, 1);
        let due: Vec<u64> = changes.iter().map(|(_, due)| *due).collect();
        assert_eq!(due, [250, 500, 500, 750]);
        assert_eq!(changes.iter().filter(|(change, _)| matches!(change, Change::Flip(_))).count(), 3);
    }
}
