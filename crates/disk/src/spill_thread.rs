//! A spill on a thread of its own, so that a disk that hangs cannot hold up who writes to it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use crate::{LogError, Spill};

/// Requests that may wait for the thread; more means that the disk hangs.
const QUEUE_MAX: usize = 64;

/// What became of a put, as far as could be known in the time given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpillOutcome {
    /// It is on disk.
    Durable,
    /// It is not, and will not be.
    Failed,
    /// Not known yet: the disk is slow or hangs. It may still become durable.
    Late,
}

/// A [`Spill`] behind a thread. Dropping it lets the thread end when its disk lets it.
#[derive(Debug, Clone)]
pub struct SpillThread {
    requests: SyncSender<Request>,
    path: String,
}

enum Request {
    Put(Vec<u8>, std::sync::mpsc::Sender<Result<(), LogError>>),
    Entries(std::sync::mpsc::Sender<Result<Vec<Vec<u8>>, LogError>>),
    Clear(std::sync::mpsc::Sender<Result<(), LogError>>),
}

impl SpillThread {
    /// Starts the thread, which owns `spill` from now on.
    pub fn start(spill: Spill) -> std::io::Result<Self> {
        let (requests, inbox) = sync_channel(QUEUE_MAX);
        let path = spill.path().to_owned();
        thread::Builder::new().name("spill".to_owned()).spawn(move || run(spill, &inbox))?;
        Ok(Self { requests, path })
    }

    /// Puts `bytes`, waiting at most `wait` to learn what became of it.
    pub fn put(&self, bytes: Vec<u8>, wait: Duration) -> SpillOutcome {
        match self.ask(|reply| Request::Put(bytes, reply), wait) {
            Ok(()) => SpillOutcome::Durable,
            Err(Unanswered::Late) => SpillOutcome::Late,
            Err(Unanswered::Refused | Unanswered::Failed(_)) => SpillOutcome::Failed,
        }
    }

    /// The entries, oldest first.
    pub fn entries(&self, wait: Duration) -> Result<Vec<Vec<u8>>, LogError> {
        self.ask(Request::Entries, wait).map_err(|e| self.explain(e))
    }

    /// Removes all entries; see [`Spill::clear`]. An entry whose put came late may have been among them.
    pub fn clear(&self, wait: Duration) -> Result<(), LogError> {
        self.ask(Request::Clear, wait).map_err(|e| self.explain(e))
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(std::sync::mpsc::Sender<Result<T, LogError>>) -> Request,
        wait: Duration,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = channel();
        match self.requests.try_send(request(reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(Unanswered::Refused),
        }
        match answer.recv_timeout(wait) {
            Ok(outcome) => outcome.map_err(Unanswered::Failed),
            Err(RecvTimeoutError::Timeout) => Err(Unanswered::Late),
            Err(RecvTimeoutError::Disconnected) => Err(Unanswered::Refused),
        }
    }

    fn explain(&self, why: Unanswered) -> LogError {
        match why {
            Unanswered::Failed(e) => e,
            Unanswered::Late | Unanswered::Refused => LogError::Late { path: self.path.clone() },
        }
    }
}

enum Unanswered {
    /// Not taken, or the thread is gone.
    Refused,
    /// Taken, no answer yet.
    Late,
    Failed(LogError),
}

fn run(mut spill: Spill, inbox: &Receiver<Request>) {
    // Whoever asked may have stopped waiting: then nobody takes the answer.
    for request in inbox {
        match request {
            Request::Put(bytes, reply) => drop(reply.send(spill.put(&bytes))),
            Request::Entries(reply) => drop(reply.send(spill.entries())),
            Request::Clear(reply) => drop(reply.send(spill.clear())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Disk, Faults, FaultyDisk, MemDisk};

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_hung_disk_holds_nobody_up_and_its_put_lands_later() {
        let faults = Faults::new();
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone()));
        let spill = SpillThread::start(Spill::open(&disk, "spill", 1024).unwrap()).unwrap();
        assert_eq!(spill.put(b"one".to_vec(), LONG), SpillOutcome::Durable);
        faults.hang();
        assert_eq!(spill.put(b"two".to_vec(), Duration::from_millis(1)), SpillOutcome::Late);
        faults.wait_until_hanging();
        while spill.put(b"x".to_vec(), Duration::ZERO) == SpillOutcome::Late {}
        assert_eq!(spill.put(b"y".to_vec(), LONG), SpillOutcome::Failed, "the queue is bounded");
        faults.heal();
        // Refused while the queue is still full.
        let entries = std::iter::repeat_with(|| spill.entries(LONG)).find_map(Result::ok).unwrap();
        assert_eq!(entries[..2], [b"one", b"two"], "what came late landed");
    }

    #[test]
    fn a_failing_disk_says_so() {
        let faults = Faults::new();
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone()));
        let spill = SpillThread::start(Spill::open(&disk, "spill", 1024).unwrap()).unwrap();
        faults.fail_syncs();
        assert_eq!(spill.put(b"one".to_vec(), LONG), SpillOutcome::Failed);
        faults.heal();
        assert_eq!(spill.put(b"two".to_vec(), LONG), SpillOutcome::Durable);
        assert_eq!(spill.entries(LONG).unwrap(), [b"two"]);
        spill.clear(LONG).unwrap();
        assert!(spill.entries(LONG).unwrap().is_empty());
    }
}
