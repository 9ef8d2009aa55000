//! One log shared by many threads: whoever comes while a commit is under way joins the next one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{Log, LogError};

/// What may wait for the next commit, in bytes; who comes above it waits.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;

/// A log whose commits are shared: one sync for everything that queued while the one before it ran.
#[derive(Debug)]
pub struct GroupLog {
    /// Taken only by the thread that leads a commit, and by [`GroupLog::reopen`].
    log: Mutex<Log>,
    path: String,
    max_payload: usize,
    queue: Mutex<Queue>,
    /// Told when a commit has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    batch: Arc<Batch>,
    payloads: Vec<Vec<u8>>,
    bytes: usize,
    /// Whether a thread is committing an earlier batch.
    led: bool,
}

/// The outcome that everyone in one commit shares.
#[derive(Debug, Default)]
struct Batch(OnceLock<Result<(), LogError>>);

impl GroupLog {
    /// Shares `log`.
    pub fn new(log: Log) -> Self {
        let (path, max_payload) = (log.path().to_owned(), log.max_payload());
        Self { log: Mutex::new(log), path, max_payload, queue: Mutex::default(), ended: Condvar::new() }
    }

    /// Appends and returns when the payload is durable, or why it is not.
    pub fn append_and_wait(&self, payload: Vec<u8>) -> Result<(), LogError> {
        if payload.len() > self.max_payload {
            return Err(LogError::TooLarge {
                path: self.path.clone(),
                bytes: payload.len(),
                limit: self.max_payload,
            });
        }
        let mut queue = lock(&self.queue);
        while queue.bytes + payload.len() > QUEUE_BYTES_MAX && !queue.payloads.is_empty() {
            if queue.led {
                queue = self.ended.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                queue = self.lead(queue);
            }
        }
        let batch = Arc::clone(&queue.batch);
        queue.bytes += payload.len();
        queue.payloads.push(payload);
        loop {
            if let Some(outcome) = batch.0.get() {
                return outcome.clone();
            }
            if queue.led {
                queue = self.ended.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                queue = self.lead(queue);
            }
        }
    }

    /// Commits what is queued while others queue more.
    fn lead<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let Queue { batch, payloads, .. } = std::mem::take(&mut *queue);
        queue.led = true;
        drop(queue);
        let outcome = commit(&mut lock(&self.log), &payloads);
        // Each batch is led once, so its outcome is still unset.
        let _ = batch.0.set(outcome);
        let mut queue = lock(&self.queue);
        queue.led = false;
        self.ended.notify_all();
        queue
    }

    /// As [`Log::reopen`].
    pub fn reopen(&self) -> Result<(), LogError> {
        lock(&self.log).reopen()
    }

    /// Why nothing is taken, if so.
    pub fn latched(&self) -> Option<String> {
        lock(&self.log).latched().map(str::to_owned)
    }
}

fn commit(log: &mut Log, payloads: &[Vec<u8>]) -> Result<(), LogError> {
    for payload in payloads {
        if let Err(e) = log.append(payload) {
            log.discard();
            return Err(e);
        }
    }
    log.commit()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;
    use crate::{Disk, Faults, FaultyDisk, MemDisk, RealDisk};

    /// Many threads append; the first sync hangs until all others have queued, so sharing is certain.
    #[test]
    fn many_threads_share_syncs_and_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::new();
        let real: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.path()).unwrap());
        let faulty = Arc::new(FaultyDisk::new(Arc::clone(&real), faults.clone()));
        let group = GroupLog::new(Log::open(faulty, "log", 100).unwrap().log);
        let syncs_before = faults.syncs();
        faults.hang();
        thread::scope(|scope| {
            for thread in 0..16 {
                let group = &group;
                scope.spawn(move || {
                    for n in 0..20 {
                        group.append_and_wait(format!("{thread}/{n}").into_bytes()).unwrap();
                    }
                });
            }
            faults.wait_until_hanging();
            while lock(&group.queue).payloads.len() < 15 {
                thread::yield_now();
            }
            faults.heal();
        });
        let syncs = faults.syncs() - syncs_before;
        assert!(syncs < 16 * 20, "{syncs} syncs for 320 appends");
        let payloads = Log::open(real, "log", 100).unwrap().payloads;
        assert_eq!(payloads.iter().collect::<BTreeSet<_>>().len(), 320);
        for thread in 0..16 {
            let own = payloads.iter().filter(|p| p.starts_with(format!("{thread}/").as_bytes()));
            assert!(
                own.enumerate().all(|(n, p)| *p == format!("{thread}/{n}").into_bytes()),
                "order of a thread"
            );
        }
    }

    #[test]
    fn a_failed_sync_answers_everyone_and_latches() {
        let faults = Faults::new();
        let disk = Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone()));
        let group = GroupLog::new(Log::open(disk, "log", 100).unwrap().log);
        faults.fail_syncs();
        assert!(matches!(group.append_and_wait(b"a".to_vec()), Err(LogError::Disk(_))));
        assert!(matches!(group.append_and_wait(b"b".to_vec()), Err(LogError::Latched { .. })));
        assert!(matches!(group.append_and_wait(vec![0; 101]), Err(LogError::TooLarge { .. })));
        faults.heal();
        group.reopen().unwrap();
        group.append_and_wait(b"c".to_vec()).unwrap();
    }
}
