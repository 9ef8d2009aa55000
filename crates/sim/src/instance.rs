//! Simulated processes of a service.

use hmsops_model::instance::Instance;
use hmsops_model::{BadKind, Millis};

use crate::dice::Dice;

/// What a version does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing beyond the base rate.
    None,
    /// The process ends.
    Dead,
    /// It accepts and never answers; probes too.
    Hang,
    /// Probes answer 500 and users are served well.
    Probe,
    /// This share of user answers is 500; probes are green.
    Errors(f64),
}

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Which instance it is.
    pub instance: Instance,
    /// What is wrong with its version.
    pub fault: Fault,
    /// When the fault shows, on the steady clock; `None`: not yet.
    pub broken_at: Option<Millis>,
    /// Until when the process stands still (SIGSTOP, a long collection of garbage).
    pub paused_until: Millis,
    /// When it began to listen.
    pub up_at: Millis,
    /// Whether it has ended.
    pub ended: bool,
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// A good one.
    Good,
    /// A bad one.
    Bad(BadKind),
}

impl Process {
    /// Whether its fault shows.
    pub fn broken(&self, now: Millis) -> bool {
        self.broken_at.is_some_and(|at| now >= at)
    }

    /// Whether it answers nothing at the moment.
    pub fn silent(&self, now: Millis) -> bool {
        now < self.paused_until || (self.broken(now) && self.fault == Fault::Hang)
    }

    /// Whether nothing listens on its port.
    pub fn refuses(&self, now: Millis) -> bool {
        self.ended || now < self.up_at
    }

    /// What a user's request gets, with the base share of errors.
    pub fn answer(&self, now: Millis, base: f64, dice: &mut Dice) -> Answer {
        if self.refuses(now) {
            return Answer::Bad(BadKind::Refused);
        }
        if self.silent(now) {
            return Answer::Bad(BadKind::Timeout);
        }
        let share = match self.fault {
            Fault::Errors(share) if self.broken(now) => share,
            _ => 0.0,
        };
        if dice.chance(base) || dice.chance(share) { Answer::Bad(BadKind::Status) } else { Answer::Good }
    }

    /// What a probe finds: nothing when it passed.
    pub fn probe(&self, now: Millis) -> Option<&'static str> {
        if self.refuses(now) {
            return Some("connection refused");
        }
        if self.silent(now) {
            return Some("no answer in 500 ms");
        }
        (self.broken(now) && self.fault == Fault::Probe).then_some("answered 500")
    }
}
