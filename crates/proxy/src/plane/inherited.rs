//! Ticks of a predecessor that the tower has not acknowledged: kept here, so that it may end.

use std::collections::VecDeque;

use hmsops_model::Tick;

use crate::ticks::TICKS_MAX;

/// A predecessor's ticks, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    ticks: VecDeque<Tick>,
    /// How many of them this connection has been sent.
    sent: usize,
}

impl Inherited {
    /// Takes one. When [`TICKS_MAX`] wait, the oldest is lost; one that came before is not taken again.
    pub(super) fn push(&mut self, tick: Tick) {
        let is_known = |known: &Tick| known.gateway_run == tick.gateway_run && known.seq >= tick.seq;
        if self.ticks.iter().rev().any(is_known) {
            return;
        }
        if self.ticks.len() == TICKS_MAX {
            self.ticks.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        self.ticks.push_back(tick);
    }

    /// Forgets what the tower has kept.
    pub(super) fn acknowledge(&mut self, gateway_run: u64, seq: u64) {
        let is_kept = |tick: &Tick| tick.gateway_run == gateway_run && tick.seq <= seq;
        let sent_and_kept = self.ticks.iter().take(self.sent).filter(|tick| is_kept(tick)).count();
        self.ticks.retain(|tick| !is_kept(tick));
        self.sent -= sent_and_kept;
    }

    /// A new connection is to be sent all of them.
    pub(super) fn resend(&mut self) {
        self.sent = 0;
    }

    /// The next to send on this connection; it is taken as sent by [`Inherited::went`].
    pub(super) fn next_unsent(&self) -> Option<&Tick> {
        self.ticks.get(self.sent)
    }

    pub(super) fn went(&mut self) {
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use hmsops_model::{ArmTick, Millis, ServiceName, Unit, UnixMillis, Weight};

    use super::*;

    fn tick(gateway_run: u64, seq: u64) -> Tick {
        Tick {
            service: ServiceName::new("portal").unwrap(),
            release: None,
            epoch: 1,
            seq,
            gateway_run,
            at: UnixMillis(0),
            span: Millis(100),
            weight: Weight::NONE,
            unit: Unit::Request,
            canary_waiting: 0,
            stable: ArmTick::default(),
            canary: ArmTick::default(),
        }
    }

    fn drain(inherited: &mut Inherited) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        while let Some(tick) = inherited.next_unsent() {
            out.push((tick.gateway_run, tick.seq));
            inherited.went();
        }
        out
    }

    #[test]
    fn each_is_sent_once_a_connection_until_it_is_acknowledged() {
        let mut inherited = Inherited::default();
        for (run, seq) in [(1, 1), (1, 2), (2, 1), (1, 2), (1, 3)] {
            inherited.push(tick(run, seq));
        }
        assert_eq!(drain(&mut inherited), [(1, 1), (1, 2), (2, 1), (1, 3)]);
        inherited.acknowledge(1, 2);
        inherited.push(tick(1, 4));
        assert_eq!(drain(&mut inherited), [(1, 4)]);
        inherited.resend();
        assert_eq!(drain(&mut inherited), [(2, 1), (1, 3), (1, 4)]);
    }
}
