//! Probes: one look at an instance, and a prober that keeps looking.
//!
//! What a probe says must be about the target alone. When the prober itself was late or short of descriptors,
//! it says [`ProbeVerdict::Overloaded`], which is neither health nor failure.

mod certificate;
mod dns;
mod exec;
mod grpc;
mod http;
mod judge;
mod look;
mod packet;
mod place;
mod schedule;
mod seen;
mod tcp;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hmsops_model::network::Network;
use hmsops_model::probe::{Probe, ProbeResult, ProbeVerdict};
use hmsops_model::{InstanceId, Millis, ServiceName, Version};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::certificate::Certificate;
pub use self::dns::records;
pub use self::look::{Look, look};
use self::schedule::{Next, Schedule};
pub use self::seen::Seen;

/// Looks under way at a time: each takes a descriptor and, as a program, a process. Who has to wait for its turn
/// longer than a look may be late says so.
const LOOKS_MAX: usize = 64;

/// Whom to ask, and for what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceId,
    /// Its version.
    pub version: Version,
    /// `127.0.0.1:41833`, or `host:port` of an external one; at least one. Looks take turns at them.
    pub addrs: Vec<String>,
    /// The check's name.
    pub path: String,
    /// How it looks.
    pub probe: Probe,
    /// The version's folder, in which programs run; `None`: it has none on this machine.
    pub dir: Option<PathBuf>,
    /// Networks that are not public in which another host than the instance's own may be asked.
    pub allow_private: Vec<Network>,
}

/// Keeps looking at a set of targets, each on a schedule of its own.
#[derive(Debug)]
pub struct Prober {
    results: Sender<ProbeResult>,
    /// All schedules count from here.
    begun_at: Instant,
    turns: Arc<Semaphore>,
    tasks: BTreeMap<Target, Task>,
}

/// One target's looks.
#[derive(Debug)]
struct Task {
    looks: JoinHandle<()>,
    hurry: Arc<Notify>,
}

impl Prober {
    /// Sends what it finds to `results`. A receiver that is too slow delays probes, which are then `Overloaded`.
    /// Must be called inside a tokio runtime, like [`Prober::set`].
    pub fn new(results: Sender<ProbeResult>) -> Self {
        let turns = Arc::new(Semaphore::new(LOOKS_MAX));
        Self { results, begun_at: Instant::now(), turns, tasks: BTreeMap::new() }
    }

    /// From now on exactly these. One that stays keeps its schedule; one that goes is not heard of again, except
    /// for what was already sent.
    pub fn set(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut self.tasks);
        for target in targets {
            if self.tasks.contains_key(&target) {
                continue;
            }
            let running = before.remove(&target).filter(|task| !task.looks.is_finished());
            let task = running.unwrap_or_else(|| {
                let hurry = Arc::new(Notify::new());
                let post = Post { results: self.results.clone(), turns: self.turns.clone() };
                let looking = keep_looking(target.clone(), self.begun_at, post, hurry.clone());
                Task { looks: tokio::spawn(looking), hurry }
            });
            self.tasks.insert(target, task);
        }
        for task in before.into_values() {
            task.looks.abort();
        }
    }

    /// Looks at once at every other instance of a service: what one of them has just failed may be common to all.
    pub fn look_beside(&self, service: &ServiceName, instance: InstanceId) {
        let beside = |target: &&Target| target.service == *service && target.instance != instance;
        for target in self.tasks.keys().filter(beside) {
            if let Some(task) = self.tasks.get(target) {
                task.hurry.notify_one();
            }
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.set(Vec::new());
    }
}

/// What all looks share.
struct Post {
    results: Sender<ProbeResult>,
    turns: Arc<Semaphore>,
}

/// Until the receiver has gone.
async fn keep_looking(target: Target, begun_at: Instant, post: Post, hurry: Arc<Notify>) {
    let elapsed = || Millis(u64::try_from(begun_at.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut schedule = Schedule::new(target.instance, &target.path, target.probe.every, elapsed());
    // One look a turn, whatever the number of addresses: the share of failed looks is then the share of failing
    // addresses, and a version with many is not held to more than one with few. A recheck goes on to the next one,
    // too: asking the one that failed again would count it several times.
    let mut turns = target.addrs.iter().cycle();
    loop {
        let Next { at, scheduled } = schedule.next();
        tokio::select! {
            () = tokio::time::sleep_until(begun_at + Duration::from_millis(at.0)) => {}
            () = hurry.notified() => {
                schedule.hurry(elapsed());
                continue;
            }
        }
        let Ok(turn) = post.turns.acquire().await else { return };
        let Some(addr) = turns.next() else { return };
        let verdict = if schedule.is_late(elapsed()) {
            ProbeVerdict::Overloaded
        } else {
            named(look(&target, addr).await.verdict, &target, addr)
        };
        drop(turn);
        schedule.looked(elapsed(), matches!(verdict, ProbeVerdict::Fail { .. }));
        let (service, path) = (target.service.clone(), target.path.clone());
        let result = ProbeResult { service, instance: target.instance, path, scheduled, verdict };
        if post.results.send(result).await.is_err() {
            return;
        }
    }
}

/// Of several addresses it is said which one failed.
fn named(verdict: ProbeVerdict, target: &Target, addr: &str) -> ProbeVerdict {
    match verdict {
        ProbeVerdict::Fail { reason } if target.addrs.len() > 1 => {
            ProbeVerdict::Fail { reason: format!("{addr}: {reason}") }
        }
        verdict => verdict,
    }
}
