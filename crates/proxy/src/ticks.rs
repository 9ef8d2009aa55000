//! Ticks that wait for the tower's acknowledgement: numbered, bounded, sent again after a reconnect.

use std::collections::VecDeque;

use hmsops_model::Tick;

/// Ticks kept for a tower that is away: ten minutes of one service under watch.
pub const TICKS_MAX: usize = 6000;

/// Ticks in the order of their `seq`, from the first unacknowledged one.
#[derive(Debug)]
pub struct Ring {
    gateway_run: u64,
    next_seq: u64,
    ticks: VecDeque<Tick>,
    /// The first `seq` that this connection has not been sent.
    unsent: u64,
    lost: u64,
}

impl Ring {
    /// Begins at `seq` 1.
    pub fn new(gateway_run: u64) -> Self {
        Self { gateway_run, next_seq: 1, ticks: VecDeque::new(), unsent: 1, lost: 0 }
    }

    /// Numbers a tick and keeps it. When [`TICKS_MAX`] wait, the oldest is lost and counted.
    pub fn push(&mut self, mut tick: Tick) {
        tick.gateway_run = self.gateway_run;
        tick.seq = self.next_seq;
        self.next_seq += 1;
        if self.ticks.len() == TICKS_MAX {
            self.ticks.pop_front();
            self.lost += 1;
        }
        self.ticks.push_back(tick);
    }

    /// Forgets what the tower has kept. Another process's numbers mean nothing here.
    pub fn acknowledge(&mut self, gateway_run: u64, seq: u64) {
        if gateway_run == self.gateway_run {
            while self.ticks.front().is_some_and(|tick| tick.seq <= seq) {
                self.ticks.pop_front();
            }
        }
    }

    /// A new connection is to be sent all that is not acknowledged.
    pub fn resend(&mut self) {
        self.unsent = 0;
    }

    /// The next tick to send on this connection; it is taken as sent by [`Ring::sent`].
    pub fn next_unsent(&self) -> Option<&Tick> {
        let first = self.ticks.front()?.seq;
        self.ticks.get(self.unsent.saturating_sub(first) as usize)
    }

    /// The tick of this `seq` went out.
    pub fn sent(&mut self, seq: u64) {
        self.unsent = seq + 1;
    }

    /// Ticks that were dropped because nobody took them.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use hmsops_model::{ArmTick, Millis, ServiceName, Unit, UnixMillis, Weight};

    use super::*;

    fn tick() -> Tick {
        Tick {
            service: ServiceName::new("portal").unwrap(),
            release: None,
            epoch: 1,
            seq: 0,
            gateway_run: 0,
            at: UnixMillis(0),
            span: Millis(100),
            weight: Weight::NONE,
            unit: Unit::Request,
            canary_waiting: 0,
            stable: ArmTick::default(),
            canary: ArmTick::default(),
        }
    }

    fn drain(ring: &mut Ring) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(tick) = ring.next_unsent() {
            let seq = tick.seq;
            ring.sent(seq);
            seqs.push(seq);
        }
        seqs
    }

    #[test]
    fn unacknowledged_ticks_are_sent_again_and_acknowledged_ones_not() {
        let mut ring = Ring::new(9);
        (0..5).for_each(|_| ring.push(tick()));
        assert_eq!(drain(&mut ring), [1, 2, 3, 4, 5]);
        assert_eq!(drain(&mut ring), [] as [u64; 0]);
        ring.acknowledge(9, 2);
        ring.acknowledge(8, 4);
        ring.push(tick());
        assert_eq!(drain(&mut ring), [6]);
        ring.resend();
        assert_eq!(drain(&mut ring), [3, 4, 5, 6]);
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_counted() {
        let mut ring = Ring::new(9);
        (0..TICKS_MAX + 3).for_each(|_| ring.push(tick()));
        assert_eq!(ring.lost(), 3);
        let seqs = drain(&mut ring);
        assert_eq!((seqs.len(), seqs.first()), (TICKS_MAX, Some(&4)));
    }
}
