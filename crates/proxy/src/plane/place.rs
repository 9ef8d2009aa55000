//! The circuit breaker of an upstream: so many requests at a time, so many waiting, and none for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How much one upstream is given at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Requests in flight.
    pub(super) open: u32,
    /// Requests that wait for a place.
    pub(super) waiting: u32,
    /// How long each waits.
    pub(super) wait: Duration,
}

/// Who is at an upstream, and who waits.
#[derive(Debug, Default)]
pub(super) struct Places {
    open: AtomicU32,
    waiting: AtomicU32,
    freed: Notify,
}

/// A request's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// One that waits; not any more when dropped.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Places {
    /// A place, at once or within the wait; `None` when there is none, or too many wait already.
    pub(super) async fn take(self: &Arc<Self>, bounds: Bounds) -> Option<Place> {
        if let Some(place) = self.take_now(bounds.open) {
            return Some(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        if before >= bounds.waiting {
            return None;
        }
        let freed = async {
            loop {
                let mut woken = std::pin::pin!(self.freed.notified());
                woken.as_mut().enable();
                if let Some(place) = self.take_now(bounds.open) {
                    return place;
                }
                woken.await;
            }
        };
        timeout(bounds.wait, freed).await.ok()
    }

    /// A place, if one is free.
    pub(super) fn take_now(self: &Arc<Self>, most: u32) -> Option<Place> {
        let more = |open: u32| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_waiting_and_the_wait_are_bounded() {
        let places = Arc::new(Places::default());
        let bounds = Bounds { open: 1, waiting: 1, wait: Duration::from_secs(30) };
        let first = places.take(bounds).await.unwrap();
        let none = Bounds { wait: Duration::ZERO, ..bounds };
        assert!(places.take(none).await.is_none(), "nobody waits for longer than allowed");
        let second = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(bounds).await }
        });
        while places.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(places.take(bounds).await.is_none(), "nor more than allowed");
        drop(first);
        let second = second.await.unwrap();
        assert!(second.is_some(), "who waits is next");
        drop(second);
        assert!(places.take(none).await.is_some());
    }
}
