//! What the requests of one client's connection share, so that none of it is made anew for each.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::Plane;
use super::caller::Peer;

/// A request is under way.
const BUSY: u64 = u64::MAX;

/// One client's connection.
pub(super) struct Session {
    pub(super) plane: Arc<Plane>,
    pub(super) peer: Peer,
    opened: Instant,
    /// Microseconds from `opened` until the connection was free for a request; [`BUSY`]: it is not.
    free_since: AtomicU64,
    /// A request was refused before it had come whole.
    pub(super) is_cut: Arc<AtomicBool>,
    /// Timers that no request uses now, by their [`Wait`].
    alarms: Mutex<[Option<Pin<Box<Sleep>>>; 2]>,
}

impl Session {
    pub(super) fn new(plane: &Arc<Plane>, peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            plane: Arc::clone(plane),
            peer: Peer::new(peer),
            opened: Instant::now(),
            free_since: AtomicU64::new(0),
            is_cut: Arc::default(),
            alarms: Mutex::default(),
        })
    }

    /// A request has come; until what this returns is dropped, the connection is not free.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.free_since.store(BUSY, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Comes back when the client of HTTP/1.1 has sent no whole head within `most` of its connection's being free. One
    /// timer that looks when a head could be late costs less than one for each head.
    pub(super) async fn head_is_late(&self, most: Duration) {
        let mut look = self.opened + most;
        loop {
            sleep_until(look).await;
            look = match self.free_since.load(Ordering::Relaxed) {
                BUSY => Instant::now() + most,
                since => self.opened + Duration::from_micros(since) + most,
            };
            if look <= Instant::now() {
                return;
            }
        }
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

/// A request under way; ends when dropped.
pub(super) struct Busy(Arc<Session>);

impl Drop for Busy {
    fn drop(&mut self) {
        let since = self.0.opened.elapsed().as_micros() as u64;
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
