//! Hop 1: an event becomes evidence, and what a restarted tower would need of it goes to the side log.

use hmsops_control::Event;
use hmsops_model::probe::ProbeResult;
use hmsops_model::{Millis, Now, ReleaseId, ServiceName, Tick};
use serde::{Deserialize, Serialize};

use super::Tower;

/// Ticks without a bad answer are summed up for so long before they are written: at most one line a second.
const QUIET_MAX: Millis = Millis(1000);

/// A line of the side log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub(super) enum EvidenceLine {
    /// A tick, or several without a bad answer as one.
    Tick { now: Now, tick: Box<Tick> },
    /// A look.
    Probe { now: Now, probe: ProbeResult },
}

/// Ticks without a bad answer that are being summed up, and the last tick seen of each gateway run.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    sums: Vec<(ReleaseId, Now, Tick)>,
    since: Option<Millis>,
    seen: Vec<(u64, u64)>,
}

impl Tower {
    pub(super) fn observe(&mut self, now: Now, event: &Event) {
        let keep = self.evidence.observe(&self.state, now, event);
        match event {
            Event::Tick(tick) => {
                self.quiet.seen.retain(|(run, seq)| *run != tick.gateway_run || *seq > tick.seq);
                if !self.quiet.seen.iter().any(|(run, _)| *run == tick.gateway_run) {
                    self.quiet.seen.push((tick.gateway_run, tick.seq));
                }
                if let (true, Some(release)) = (keep, tick.release) {
                    self.keep_tick(now, release, tick);
                }
            }
            Event::Probe(probe) if keep => self.keep_probe(now, probe),
            _ => {}
        }
    }

    fn keep_tick(&mut self, now: Now, release: ReleaseId, tick: &Tick) {
        if tick.stable.n_bad() + tick.canary.n_bad() > 0 {
            self.write_quiet();
            self.write_lines(release, &[EvidenceLine::Tick { now, tick: Box::new(tick.clone()) }]);
            return;
        }
        self.quiet.since.get_or_insert(now.steady);
        // Slow answers are judged by the second of the watch they came in, and seconds in their order: only what follows
        // directly within one second is summed up, so that the fold of the sums is the fold of the ticks.
        let began = self.state.releases.get(&release).map_or(Millis::ZERO, |known| known.requested_at.steady);
        let second = |at: Now| at.steady.since(began).0 / 1000;
        let last = self.quiet.sums.iter_mut().rev().find(|(id, ..)| *id == release);
        let same = last.filter(|(_, at, sum)| {
            let alike = (sum.epoch, sum.gateway_run, sum.weight, sum.unit)
                == (tick.epoch, tick.gateway_run, tick.weight, tick.unit);
            alike && second(*at) == second(now)
        });
        if let Some((_, _, sum)) = same {
            sum.stable.add(&tick.stable);
            sum.canary.add(&tick.canary);
            (sum.seq, sum.at, sum.span) = (tick.seq, tick.at, sum.span + tick.span);
        } else {
            self.quiet.sums.push((release, now, tick.clone()));
        }
    }

    fn keep_probe(&mut self, now: Now, probe: &ProbeResult) {
        if let Some(release) = self.release_of(&probe.service) {
            self.write_lines(release, &[EvidenceLine::Probe { now, probe: probe.clone() }]);
        }
    }

    fn release_of(&self, service: &ServiceName) -> Option<ReleaseId> {
        self.state.active_release(service).map(|release| release.id)
    }

    /// Writes what was summed up, once it is a second old, and lets gateways forget what is kept.
    pub(super) fn flush_side(&mut self, now: Now) {
        let due = self.quiet.since.is_none_or(|since| now.steady.since(since) >= QUIET_MAX);
        if due && !self.quiet.seen.is_empty() {
            self.write_quiet();
            self.acks = std::mem::take(&mut self.quiet.seen);
        }
    }

    /// What was summed up is written, and all that waits is on disk: the tower stops.
    pub fn close_side(&mut self) {
        self.write_quiet();
        self.side.settle();
    }

    /// Writes what was summed up.
    pub(super) fn write_quiet(&mut self) {
        self.quiet.since = None;
        for (release, now, tick) in std::mem::take(&mut self.quiet.sums) {
            self.write_lines(release, &[EvidenceLine::Tick { now, tick: Box::new(tick) }]);
        }
    }

    fn write_lines(&mut self, release: ReleaseId, lines: &[EvidenceLine]) {
        let lines: Vec<Vec<u8>> = lines.iter().filter_map(|line| serde_json::to_vec(line).ok()).collect();
        // Evidence that cannot be kept is lost to a restart, not to the decision at hand.
        let _kept = self.side.append(&release.to_string(), &lines);
    }

    /// Folds a release's side log again.
    pub(super) fn refold(&mut self, release: ReleaseId) {
        for line in self.side.read(&release.to_string()) {
            // A line of a newer version: evidence only, so the rest still counts.
            match decode_seen(&line) {
                Some((now, Event::Probe(probe))) => {
                    self.evidence.refold_probe(&self.state, now, release, &probe);
                }
                Some((now, event)) => self.evidence.observe_kept(&self.state, now, &event),
                None => {}
            }
        }
    }
}

/// A line of the side log: a tick or look, and when it came. `None`: it is of a newer version.
pub fn decode_seen(line: &[u8]) -> Option<(Now, Event)> {
    Some(match serde_json::from_slice(line).ok()? {
        EvidenceLine::Tick { now, tick } => (now, Event::Tick(tick)),
        EvidenceLine::Probe { now, probe } => (now, Event::Probe(probe)),
    })
}
