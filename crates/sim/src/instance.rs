//! Simulated processes of a service.

use hmsops_model::instance::Instance;
use hmsops_model::{BadKind, Millis};

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
    /// Every answer to this share of users (always the same ones) is 500; probes are green.
    Cohort(f64),
    /// Answers take so many times as long; probes are green.
    Slow(f64),
    /// Two points more errors and a fifth more latency with each minute; probes are green.
    Leak,
    /// Users and probes get 500 for the first five of every twenty seconds.
    Flap,
}

/// A leak's errors: this share more with each minute.
const LEAK_ERRORS: f64 = 0.02;

/// A leak's latency: this share more with each minute.
const LEAK_SLOW: f64 = 0.2;

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
    /// When its first user came.
    pub first_user_at: Option<Millis>,
    /// Whether it has ended.
    pub ended: bool,
    /// Whether nobody watches it: its shim was killed. Its end is then found out only when somebody looks.
    pub alone: bool,
}

impl Process {
    /// A process that begins to listen at a moment.
    pub fn new(instance: Instance, fault: Fault, up_at: Millis) -> Self {
        Self {
            instance,
            fault,
            broken_at: None,
            paused_until: Millis::ZERO,
            up_at,
            first_user_at: None,
            ended: false,
            alone: false,
        }
    }

    /// Whether its fault shows.
    pub fn broken(&self, now: Millis) -> bool {
        self.broken_at.is_some_and(|at| now >= at)
    }

    /// How much longer it stands still.
    pub fn pause_left(&self, now: Millis) -> Millis {
        self.paused_until.since(now)
    }

    /// Whether it accepts and never answers.
    pub fn hangs(&self, now: Millis) -> bool {
        self.broken(now) && self.fault == Fault::Hang
    }

    /// Whether nothing listens on its port.
    pub fn refuses(&self, now: Millis) -> bool {
        self.ended || now < self.up_at
    }

    fn flaps(&self, now: Millis) -> bool {
        let since = self.broken_at.map_or(0, |at| now.since(at).0);
        self.broken(now) && self.fault == Fault::Flap && since % 20_000 < 5_000
    }

    fn minutes_broken(&self, now: Millis) -> f64 {
        self.broken_at.map_or(0.0, |at| now.since(at).as_secs_f64() / 60.0)
    }

    /// The share of this client's requests that its fault answers with an error.
    pub fn error_share(&self, now: Millis, client: u64) -> f64 {
        if !self.broken(now) {
            return 0.0;
        }
        match self.fault {
            Fault::Errors(share) => share,
            Fault::Cohort(share) => f64::from(u8::from(is_among(client, share))),
            Fault::Leak => (self.minutes_broken(now) * LEAK_ERRORS).min(1.0),
            Fault::Flap => f64::from(u8::from(self.flaps(now))),
            _ => 0.0,
        }
    }

    /// How many times as long its fault makes an answer take.
    pub fn slowness(&self, now: Millis) -> f64 {
        match self.fault {
            Fault::Slow(factor) if self.broken(now) => factor,
            Fault::Leak if self.broken(now) => 1.0 + self.minutes_broken(now) * LEAK_SLOW,
            _ => 1.0,
        }
    }

    /// What a probe of at most `patience` finds: nothing when it passed.
    pub fn probe(&self, now: Millis, patience: Millis) -> Option<&'static str> {
        if self.refuses(now) {
            return Some("connection refused");
        }
        if self.hangs(now) || self.pause_left(now) > patience {
            return Some(NO_ANSWER);
        }
        let fails = (self.broken(now) && self.fault == Fault::Probe) || self.flaps(now);
        fails.then_some("answered 500")
    }
}

/// What a probe says that was not answered in time.
pub const NO_ANSWER: &str = "no answer in 500 ms";

/// Whether a client is one of a share of them.
fn is_among(client: u64, share: f64) -> bool {
    let mixed = client.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
    (mixed as f64 / (1_u64 << 53) as f64) < share
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// A good one, after so many microseconds.
    Good(u64),
    /// A bad one, after so many milliseconds.
    Bad(BadKind, Millis),
}
