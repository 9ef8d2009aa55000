//! The tower on a thread of its own, and the handle by which doors reach it.

mod run;
mod sentinel;

pub use run::start;

use std::sync::Arc;

use hmsops_control::Event;
use hmsops_tower::{Handled, Snapshot};
use tokio::sync::{mpsc, oneshot, watch};

/// The handle by which doors reach the tower. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    work: mpsc::Sender<Work>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    leaving: Arc<watch::Sender<bool>>,
    sentinel: sentinel::Ear,
}

/// What the tower's thread is given.
pub(crate) enum Work {
    /// An event; the answer is wanted or not.
    Event(Box<Event>, Option<oneshot::Sender<Handled>>),
    /// Snapshot, checkpoint, end.
    Stop(oneshot::Sender<()>),
}

/// The tower's thread has ended; the process is about to.
#[derive(Debug, thiserror::Error)]
#[error("the tower is stopping")]
pub struct Stopping;

impl Engine {
    /// State and evidence, at most 100 ms old while anything moves.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Tells of each new snapshot.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Hands an event in and waits until it is decided, durable and applied.
    pub async fn submit(&self, event: Event) -> Result<Handled, Stopping> {
        self.sentinel.hear(&event);
        let (answer, answered) = oneshot::channel();
        self.work.send(Work::Event(Box::new(event), Some(answer))).await.map_err(|_| Stopping)?;
        answered.await.map_err(|_| Stopping)
    }

    /// Hands an event in without waiting for what becomes of it.
    pub async fn tell(&self, event: Event) -> Result<(), Stopping> {
        self.sentinel.hear(&event);
        self.work.send(Work::Event(Box::new(event), None)).await.map_err(|_| Stopping)
    }

    /// Returns when the tower's thread has ended.
    pub async fn ended(&self) {
        self.work.closed().await;
    }

    /// Says that the tower is about to stop, so that answers without an end come to theirs.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Waits until the tower is about to stop.
    pub async fn leaves(&self) {
        let mut leaving = self.leaving.subscribe();
        let _left = leaving.wait_for(|leaving| *leaving).await;
    }

    /// Ends the tower's thread after a last snapshot of state.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.work.send(Work::Stop(done)).await.is_ok() {
            let _gone = ended.await;
        }
    }
}
