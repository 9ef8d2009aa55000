//! When to look next. Pure: it is told the time.

use hmsops_model::limits::{PROBE_INTERVAL, PROBE_LAG_MAX, PROBE_RECHECK};
use hmsops_model::{InstanceId, Millis};

/// The looks at one target. Scheduled ones start at `phase + n · every`, whatever they find; after a failure others
/// come in between, [`PROBE_RECHECK`] after the failed one has ended, or a fifth of `every` where that is longer.
/// However seldom they come, the first is made within [`PROBE_INTERVAL`], and until some have passed others follow in
/// that time: a new instance needn't wait for minutes. Looks never overlap: one that
/// falls due during another starts at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    /// From the start of a scheduled look to the start of the next.
    every: Millis,
    /// The next scheduled look.
    due: Millis,
    /// The next look in between, if the last one failed.
    recheck: Option<Millis>,
    /// When the last look ended: until then no other could start.
    busy_until: Millis,
    /// Passes still wanted soon: who waits for a new or a recovered instance waits for several in a row.
    wanted: u32,
}

/// Passes in a row for which a new instance is waited.
const PASSES_OF_NEW: u32 = 3;
/// And one that has failed.
const PASSES_OF_FAILED: u32 = 2;

/// The next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    /// When it shall start.
    pub(super) at: Millis,
    /// Whether it is one of the scheduled ones.
    pub(super) scheduled: bool,
}

impl Schedule {
    /// From `now` on; the phase is drawn from the target, so that many targets are not asked in one moment.
    pub(super) fn new(instance: InstanceId, path: &str, every: Millis, now: Millis) -> Self {
        let every = every.max(Millis(1));
        let hash = hash(instance, path);
        let mut due = now.0 - now.0 % every.0 + hash % every.0;
        if due < now.0 {
            due += every.0;
        }
        let soon = now + Millis(hash % PROBE_INTERVAL.0);
        let recheck = Some(soon).filter(|soon| every > PROBE_INTERVAL && *soon < Millis(due));
        let wanted = if every > PROBE_INTERVAL { PASSES_OF_NEW } else { 0 };
        Self { every, due: Millis(due), recheck, busy_until: Millis::ZERO, wanted }
    }

    /// The look that comes next. A scheduled one that is due goes before one in between.
    pub(super) fn next(&self) -> Next {
        let due = self.due.max(self.busy_until);
        match self.recheck {
            Some(at) if at < due => Next { at, scheduled: false },
            _ => Next { at: due, scheduled: true },
        }
    }

    /// Somebody wants to know now: a look in between comes at once, unless one is under way or due sooner.
    pub(super) fn hurry(&mut self, now: Millis) {
        let at = now.max(self.busy_until);
        self.recheck = Some(self.recheck.map_or(at, |recheck| recheck.min(at)));
    }

    /// Whether a look that starts now starts so late that it is the prober who is in trouble. Waiting for the
    /// look before it is not lateness.
    pub(super) fn is_late(&self, now: Millis) -> bool {
        now.since(self.next().at) > PROBE_LAG_MAX
    }

    /// The look that [`Schedule::next`] named has ended.
    pub(super) fn looked(&mut self, ended_at: Millis, failed: bool) {
        if self.next().scheduled {
            self.due = self.due + self.every;
            // What was missed altogether is not made up for; what falls due now still comes.
            let missed = ended_at.since(self.due).0 / self.every.0;
            self.due = self.due + Millis(missed * self.every.0);
        }
        // Of the default's 1 s this is PROBE_RECHECK itself.
        let gap = PROBE_RECHECK.max(Millis(self.every.0 / 5));
        if self.every > PROBE_INTERVAL {
            self.wanted =
                if failed { self.wanted.max(PASSES_OF_FAILED) } else { self.wanted.saturating_sub(1) };
        }
        self.recheck = match (failed, self.wanted) {
            (true, _) => Some(ended_at + gap),
            (false, 1..) => Some(ended_at + PROBE_INTERVAL),
            (false, 0) => None,
        };
        self.busy_until = ended_at;
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same in every build, unlike the standard library's hashers.
fn hash(instance: InstanceId, path: &str) -> u64 {
    let bytes = instance.0.to_be_bytes().into_iter().chain(path.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts at 0 without jitter.
    fn schedule() -> Schedule {
        Schedule {
            every: PROBE_INTERVAL,
            due: Millis::ZERO,
            recheck: None,
            busy_until: Millis::ZERO,
            wanted: 0,
        }
    }

    /// Plays looks that take `millis` and fail or not; returns when each started and whether it was scheduled.
    fn play(looks: &[(u64, bool)]) -> Vec<(u64, bool)> {
        let mut schedule = schedule();
        looks
            .iter()
            .map(|(millis, failed)| {
                let next = schedule.next();
                assert!(!schedule.is_late(next.at));
                schedule.looked(next.at + Millis(*millis), *failed);
                (next.at.0, next.scheduled)
            })
            .collect()
    }

    #[test]
    fn healthy_looks_start_one_interval_apart_however_long_they_take() {
        assert_eq!(play(&[(3, false), (499, false), (1, false)]), [(0, true), (1000, true), (2000, true)]);
    }

    #[test]
    fn a_look_that_is_wanted_now_comes_in_between_and_moves_no_scheduled_one() {
        let mut schedule = schedule();
        schedule.looked(Millis(5), false);
        schedule.hurry(Millis(300));
        assert_eq!(schedule.next(), Next { at: Millis(300), scheduled: false });
        schedule.looked(Millis(310), false);
        assert_eq!(schedule.next(), Next { at: Millis(1000), scheduled: true });
    }

    #[test]
    fn a_refusing_target_is_looked_at_again_soon_while_the_schedule_goes_on() {
        assert_eq!(
            play(&[(0, true), (0, true), (0, false), (0, true), (0, false), (0, false)]),
            [(0, true), (200, false), (400, false), (1000, true), (1200, false), (2000, true)]
        );
    }

    #[test]
    fn a_hanging_target_is_condemned_by_three_looks_within_3_5_s_and_none_overlap() {
        let looks = play(&[(500, true); 6]);
        assert_eq!(looks, [(0, true), (700, false), (1200, true), (1900, false), (2400, true), (3000, true)]);
        let third_look_ends = looks[2].0 + 500;
        assert!(third_look_ends + PROBE_INTERVAL.0 <= 3500, "also when it dies right after a look");
    }

    #[test]
    fn a_prober_that_was_stopped_says_so_and_makes_up_for_nothing() {
        let mut schedule = schedule();
        assert!(!schedule.is_late(Millis(250)));
        assert!(schedule.is_late(Millis(251)));
        schedule.looked(Millis(10_300), false);
        assert_eq!(schedule.next(), Next { at: Millis(10_300), scheduled: true });
        schedule.looked(Millis(10_310), false);
        assert_eq!(schedule.next(), Next { at: Millis(11_000), scheduled: true });
    }

    #[test]
    fn a_seldom_check_is_soon_known_when_it_is_new_or_has_failed_and_then_keeps_its_rhythm() {
        let minute = Millis::from_secs(60);
        let mut schedule = Schedule::new(InstanceId(7), "tls", minute, Millis(120_000));
        let mut starts = Vec::new();
        for failed in [false, false, false, false, true, false, false, false] {
            let next = schedule.next();
            starts.push((next.at.0, next.scheduled));
            schedule.looked(next.at + Millis(10), failed);
        }
        let first = starts[0].0;
        assert!((120_000..121_000).contains(&first), "{starts:?}");
        let due = starts[3].0;
        assert!(due % 60_000 == starts[7].0 % 60_000 && starts[3].1, "{starts:?}");
        let after: Vec<u64> = starts.iter().map(|(at, _)| at - first).collect();
        assert_eq!(after[..3], [0, 1010, 2020]);
        assert_eq!(starts[4], (due + 60_000, true), "this one fails");
        assert_eq!(starts[5], (due + 60_000 + 10 + 12_000, false), "after a fifth");
        assert_eq!(starts[6], (due + 60_000 + 10 + 12_000 + 1010, false), "two in a row");
        assert_eq!(starts[7], (due + 120_000, true));
    }

    #[test]
    fn phases_differ_by_target_and_stay_the_same_for_one() {
        let at = |id: u64, now: u64| {
            Schedule::new(InstanceId(id), "/health", PROBE_INTERVAL, Millis(now)).next().at.0
        };
        assert_eq!(at(7, 0), at(7, 0));
        let phases: std::collections::BTreeSet<u64> = (0..100).map(|id| at(id, 0)).collect();
        assert!(phases.len() > 80, "{phases:?}");
        for now in [0, 1, 999, 1000, 123_456] {
            let first = at(7, now);
            assert!((now..now + 1000).contains(&first) && first % 1000 == at(7, 0));
        }
    }
}
