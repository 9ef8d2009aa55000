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
    summary: "changes a gateway's weights, settings and process under traffic; no request may fail",
    help: "\
usage: cargo xtask flips [--requests N] [--flips N] [--reloads N] [--upgrades N] [--program F]

Starts a real `hmsops gateway` before a real server (nginx), sets its routes as a tower does, and changes weight,
settings and process while users ask and look at every answer. Then counts the split at 1 % over 100 000 requests. Exits 1
when a request failed, or when the split lies outside the 99.9 % interval of a fair one twice in a row.

  --requests N   while things change (100 000)
  --flips N      changes of weight (100)
  --reloads N    changes of settings (2)
  --upgrades N   changes of process, by socket hand-over (1)
  --program F    an hmsops that is built already

example: cargo xtask flips --requests 1000000 --flips 1000 --reloads 20 --upgrades 10
",
    run: check,
};

/// The chore's run, for the stages of `cargo xtask test`, too.
pub(crate) fn check(args: &[String]) -> Result<(), Failure> {
    let options = ["--requests", "--flips", "--reloads", "--upgrades", "--program"];
    let flags = Flags::read(args, &[], &options, 0)?;
    let hmsops = flags.text("--program").map_or_else(peers::hmsops, |program| Ok(program.into()))?;
    let amount = Amount {
        requests: flags.number("--requests", 100_000, 1..=1_000_000_000)?,
        flips: flags.number("--flips", 100, 0..=1_000_000)?,
        reloads: flags.number("--reloads", 2, 0..=10_000)?,
        upgrades: flags.number("--upgrades", 1, 0..=10_000)?,
    };
    run(&hmsops, &amount)
}

/// Users at a time.
const USERS: usize = 16;
/// A request may take so long; nothing here does.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Weights that are flipped through, in basis points: none, all, and what releases have.
const WEIGHTS: [u32; 7] = [100, 0, 2500, 10_000, 1, 5000, 9900];
/// How often is looked whether something is due or done.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// A process may take so long to take another's place, and that one to end.
const HAND_OVER_MAX: Duration = Duration::from_secs(30);
/// How the split is counted.
const SPLIT_REQUESTS: u64 = 100_000;
const SPLIT_BP: u32 = 100;
/// Quantile of the normal distribution for 99.9 %, two-sided.
const Z_999: f64 = 3.2905;

/// How much of everything.
struct Amount {
    requests: u64,
    flips: u64,
    reloads: u64,
    upgrades: u64,
}

/// Runs it and prints what came of it.
fn run(hmsops: &Path, amount: &Amount) -> Result<(), Failure> {
    let Amount { requests, flips, reloads, upgrades } = *amount;
    let ground = Ground::new("flips", false)?;
    let _upstream = ground.upstream()?;
    let mut place = Place::new(&ground, hmsops)?;
    let began = Instant::now();
    let users = Users::start(&plan(place.port, requests))?;
    for (change, due) in schedule(amount) {
        while users.begun() < due && !users.are_done() {
            std::thread::sleep(LOOK_EVERY);
        }
        match change {
            Change::Flip(nth) => place.flip(nth)?,
            Change::Reload(nth) => place.reload(nth)?,
            Change::Upgrade => place.upgrade()?,
        }
    }
    let count = users.finish();
    let seconds = began.elapsed().as_secs_f64();
    let [stable, canary] = count.good;
    println!(
        "{requests} requests in {seconds:.1} s, {flips} flips, {reloads} reloads, {upgrades} upgrades: {} failed, {} asked \
         again on a fresh connection; {stable} answered by stable, {canary} by the canary",
        count.failures(),
        count.asked_again,
    );
    expect_all(&count, requests)?;
    place.await_former()?;
    if !split(&mut place)? && !split(&mut place)? {
        return Err(Failure::new("the split is not fair: it lay outside the 99.9 % interval twice"));
    }
    Ok(())
}

fn plan(port: u16, requests: u64) -> Plan {
    let bodies = ["stable", "canary"].map(peers::body);
    Plan { server: ([127, 0, 0, 1], port).into(), users: USERS, requests, bodies, timeout: TIMEOUT }
}

fn expect_all(count: &Count, requests: u64) -> Result<(), Failure> {
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
    hmsops: &'a Path,
    port: u16,
    tower: Tower,
    gateway: peers::Running,
    /// Processes whose place was taken.
    former: Vec<peers::Running>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Flip(u64),
    Reload(u64),
    Upgrade,
}

impl<'a> Place<'a> {
    fn new(ground: &'a Ground, hmsops: &'a Path) -> Result<Self, Failure> {
        let port = peers::port()?;
        let gateway = ground.gateway(hmsops, port, &[])?;
        let mut tower = Tower::connect(&ground.socket())?;
        tower.set(ground.stable, ground.canary, SPLIT_BP)?;
        Ok(Self { ground, hmsops, port, tower, gateway, former: Vec::new() })
    }

    fn flip(&mut self, nth: u64) -> Result<(), Failure> {
        let weight = WEIGHTS[nth as usize % WEIGHTS.len()];
        self.tower.set(self.ground.stable, self.ground.canary, weight)
    }

    /// Other settings, and other declarations of what is bad.
    fn reload(&mut self, nth: u64) -> Result<(), Failure> {
        let idle_ms = if nth.is_multiple_of(2) { 1_800_000 } else { 3_600_000 };
        self.tower.say(&format!("{{\"type\":\"settings\",\"settings\":{{\"tunnel_idle\":{idle_ms}}}}}"))?;
        self.tower.wait("settings-applied", "")?;
        let bad = if nth.is_multiple_of(2) { "\"5xx\"" } else { "\"5xx\",\"timeout\"" };
        self.tower.set_with(self.ground.stable, self.ground.canary, SPLIT_BP, bad)
    }

    /// A new process takes the gateway's place; the tower goes on with that one.
    fn upgrade(&mut self) -> Result<(), Failure> {
        let next = self.ground.gateway(self.hmsops, self.port, &["--take-over"])?;
        self.former.push(std::mem::replace(&mut self.gateway, next));
        let deadline = Instant::now() + HAND_OVER_MAX;
        loop {
            let tower = Tower::connect(&self.ground.socket());
            match tower {
                Ok(tower) if tower.pid() == self.gateway.pid() => {
                    self.tower = tower.after(self.tower.epoch());
                    return Ok(());
                }
                // The one before still answers.
                _ if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
                Ok(_) => return Err(Failure::new("the new process did not take the gateway's place")),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Waits until every process whose place was taken has ended.
    fn await_former(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + HAND_OVER_MAX;
        while !self.former.iter_mut().all(peers::Running::has_ended) {
            if Instant::now() > deadline {
                return Err(Failure::new("a process whose place was taken did not end, or not well"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// Changes with the number of requests after which they are due, evenly spread.
fn schedule(amount: &Amount) -> Vec<(Change, u64)> {
    let Amount { requests, flips, reloads, upgrades } = *amount;
    let spread = |count: u64| (0..count).map(move |nth| (nth, (nth + 1) * requests / (count + 1)));
    let mut changes: Vec<_> = spread(flips).map(|(nth, due)| (Change::Flip(nth), due)).collect();
    changes.extend(spread(reloads).map(|(nth, due)| (Change::Reload(nth), due)));
    changes.extend(spread(upgrades).map(|(_, due)| (Change::Upgrade, due)));
    changes.sort_by_key(|(_, due)| *due);
    changes
}

/// Whether the split at 1 % is fair over 100 000 requests, by the normal approximation of the binomial.
fn split(place: &mut Place<'_>) -> Result<bool, Failure> {
    place.tower.set(place.ground.stable, place.ground.canary, SPLIT_BP)?;
    let count = Users::start(&plan(place.port, SPLIT_REQUESTS))?.finish();
    expect_all(&count, SPLIT_REQUESTS)?;
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
        let changes = schedule(&Amount { requests: 1000, flips: 3, reloads: 1, upgrades: 1 });
        let due: Vec<u64> = changes.iter().map(|(_, due)| *due).collect();
        assert_eq!(due, [250, 500, 500, 500, 750]);
        assert_eq!(changes.iter().filter(|(change, _)| matches!(change, Change::Flip(_))).count(), 3);
    }
}
