//! What the requests of one client's connection share, so that none of it is made anew for each.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::caller::Peer;
use super::meter::Why;
use super::{CONNECTIONS_MAX, Plane};

/// A request is under way.
const BUSY: u64 = u64::MAX;

/// Of the next head nothing has come.
const NOTHING: u64 = u64::MAX;

/// With more connections than this open, those that rest are given no more than a head's time: a half, so that a crowd
/// that only waits leaves room for one that asks.
const CROWD: usize = CONNECTIONS_MAX / 2;

/// One client's connection.
pub(super) struct Session {
    pub(super) plane: Arc<Plane>,
    pub(super) peer: Peer,
    opened: Instant,
    /// Microseconds from `opened` until the connection was free for a request; [`BUSY`]: it is not.
    free_since: AtomicU64,
    /// Where bytes that come for the next head are noted.
    pub(super) head: Arc<Head>,
    /// A request was refused before it had come whole.
    pub(super) is_cut: Arc<AtomicBool>,
    /// Timers that no request uses now, by their [`Wait`].
    alarms: Mutex<[Option<Pin<Box<Sleep>>>; 2]>,
}

impl Session {
    pub(super) fn new(plane: &Arc<Plane>, peer: SocketAddr) -> Arc<Self> {
        plane.open.fetch_add(1, Ordering::Relaxed);
        let opened = Instant::now();
        Arc::new(Self {
            plane: Arc::clone(plane),
            peer: Peer::new(peer),
            opened,
            free_since: AtomicU64::new(0),
            head: Arc::new(Head { opened, since: AtomicU64::new(0) }),
            is_cut: Arc::default(),
            alarms: Mutex::default(),
        })
    }

    /// A request has come; until what this returns is dropped, the connection is not free.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.free_since.store(BUSY, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Comes back when the client of HTTP/1.1 has begun a head and not sent all of it within the time for heads, which
    /// is a reason to refuse it, or has rested between two for longer than a connection may, which is none. The first head is begun with the connection. One timer
    /// that looks when a head could be late costs less than one for each head.
    pub(super) async fn is_late(&self) -> Option<Why> {
        let limits = self.plane.limits;
        let mut look = self.opened + limits.client_head;
        loop {
            sleep_until(look).await;
            let now = Instant::now();
            let (until, why) = match self.free_since.load(Ordering::Relaxed) {
                BUSY => (now + limits.client_head, None),
                free => match self.head.since.load(Ordering::Relaxed) {
                    NOTHING => (self.at(free) + self.rest(), None),
                    since => (self.at(since) + limits.client_head, Some(Why::Slow)),
                },
            };
            if until <= now {
                return why;
            }
            // A head that is begun meanwhile cannot be late before then.
            look = until.min(now + limits.client_head);
        }
    }

    fn at(&self, micros: u64) -> Instant {
        self.opened + Duration::from_micros(micros)
    }

    /// How long the connection may rest now.
    pub(super) fn rest(&self) -> Duration {
        let limits = &self.plane.limits;
        let is_crowded = self.plane.open.load(Ordering::Relaxed) > CROWD;
        if is_crowded { limits.client_rest.min(limits.client_head) } else { limits.client_rest }
    }

    fn alarms(&self) -> MutexGuard<'_, [Option<Pin<Box<Sleep>>>; 2]> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A timer that ends at `until`.
    pub(super) fn alarm(&self, wait: Wait, until: Instant) -> Alarm<'_> {
        let spare = self.alarms().get_mut(wait as usize).and_then(Option::take);
        let sleep = match spare {
            Some(mut sleep) => {
                sleep.as_mut().reset(until);
                sleep
            }
            None => Box::pin(sleep_until(until)),
        };
        Alarm { session: self, wait, sleep: Some(sleep) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.plane.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When the head that a client is sending was begun.
pub(super) struct Head {
    opened: Instant,
    /// Microseconds from `opened`; [`NOTHING`]: there is none yet.
    since: AtomicU64,
}

impl Head {
    /// Bytes have come. Those of a request's body are forgotten when it ends.
    pub(super) fn heard(&self) {
        if self.since.load(Ordering::Relaxed) == NOTHING {
            self.since.store(self.opened.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
    }
}

/// A request under way; ends when dropped.
pub(super) struct Busy(Arc<Session>);

impl Drop for Busy {
    fn drop(&mut self) {
        let since = self.0.opened.elapsed().as_micros() as u64;
        self.0.head.since.store(NOTHING, Ordering::Relaxed);
        self.0.free_since.store(since, Ordering::Relaxed);
    }
}

/// What a timer is for: those of one kind are of about one length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    /// An arm's head.
    Head,
    /// What is left of the patience that a canary would have.
    Patience,
}

/// A timer that one request uses and leaves to the next. Putting it off is one atomic store, where a new one would be
/// entered in the runtime's wheel and taken out again. One that is left may wake its connection once for nothing.
pub(super) struct Alarm<'a> {
    session: &'a Session,
    wait: Wait,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm<'_> {
    /// Puts it off, or on.
    pub(super) fn set(&mut self, until: Instant) {
        if let Some(sleep) = self.sleep.as_mut().filter(|sleep| sleep.deadline() != until) {
            sleep.as_mut().reset(until);
        }
    }
}

impl Future for Alarm<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = &mut self.get_mut().sleep;
        sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(spare) = self.session.alarms().get_mut(self.wait as usize) {
            *spare = self.sleep.take();
        }
    }
}
