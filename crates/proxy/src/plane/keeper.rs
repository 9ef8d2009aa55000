//! Writes the routes to disk from a thread of its own, so that nothing ever waits for a disk. Only the latest
//! state counts; one that can't be written is tried again.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hmsops_disk::Disk;

use super::GatewayError;

/// Between two tries of a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The thread that writes. Dropping it writes what is left, once, and ends it.
pub(super) struct Keeper {
    slot: Arc<Slot>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    bytes: Option<Vec<u8>>,
    is_ending: bool,
}

impl Keeper {
    /// Starts the thread for the file `name` of `disk`.
    pub(super) fn start(disk: Arc<dyn Disk>, name: String) -> Result<Self, GatewayError> {
        let slot = Arc::new(Slot::default());
        let theirs = Arc::clone(&slot);
        let thread = std::thread::Builder::new()
            .name("gateway-state".to_owned())
            .spawn(move || theirs.write_until_ended(disk.as_ref(), &name))
            .map_err(|source| GatewayError::Thread { source })?;
        Ok(Self { slot, thread: Some(thread) })
    }

    /// Leaves the latest state to be written; an older one not yet written is dropped.
    pub(super) fn keep(&self, bytes: Vec<u8>) {
        self.slot.lock().bytes = Some(bytes);
        self.slot.changed.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.slot.lock().is_ending = true;
        self.slot.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that died has nothing more to write.
            let _ = thread.join();
        }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_ended(&self, disk: &dyn Disk, name: &str) {
        let mut pending = self.lock();
        loop {
            let Some(bytes) = pending.bytes.take() else {
                if pending.is_ending {
                    return;
                }
                pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(pending);
            let written = disk.replace(name, &bytes);
            pending = self.lock();
            if let Err(error) = written {
                tracing::error!(
                    file = name,
                    error = &error as &dyn std::error::Error,
                    "cannot keep the gateway's routes"
                );
                if pending.is_ending {
                    return;
                }
                pending.bytes.get_or_insert(bytes);
                pending = self.changed.wait_timeout(pending, RETRY).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}
