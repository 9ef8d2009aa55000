//! Users: requests come at their times whatever the answers are, and every one is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http;

/// So many requests can wait for their answers at once.
const THREADS: u32 = 8;

/// What came of the requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    /// Anything but a status of 200 to 299.
    pub(crate) failed: u64,
    /// The first few failures, for the message of a test.
    pub(crate) failures: Vec<String>,
    /// Good answers by the version that gave them.
    pub(crate) by_version: BTreeMap<String, u64>,
    /// When a version last began to be asked.
    pub(crate) last: BTreeMap<String, Instant>,
}

impl Tally {
    /// Good answers of a version.
    pub(crate) fn of(&self, version: &str) -> u64 {
        self.by_version.get(version).copied().unwrap_or(0)
    }
}

/// Users that ask until it is dropped.
pub(crate) struct Load {
    /// Dropped, they end the users' threads.
    stops: Vec<mpsc::Sender<()>>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many GETs a second to `/`, each by a client of its own.
    #[expect(clippy::disallowed_methods, reason = "users live by the real clock")]
    pub(crate) fn start(at: SocketAddr, per_second: u32) -> Self {
        let (mut stops, mut threads) = (Vec::new(), Vec::new());
        let (start, tally) = (Instant::now(), Arc::new(Mutex::new(Tally::default())));
        for number in 0..THREADS {
            let (stop, stopped) = mpsc::channel::<()>();
            let tally = Arc::clone(&tally);
            let mut due = start + Duration::from_secs(1) * number / per_second;
            let user = move || {
                let wait = |due: Instant| stopped.recv_timeout(due.saturating_duration_since(Instant::now()));
                while wait(due) == Err(RecvTimeoutError::Timeout) {
                    due += Duration::from_secs(1) * THREADS / per_second;
                    ask(at, &tally);
                }
            };
            threads.push(std::thread::spawn(user));
            stops.push(stop);
        }
        Self { stops, tally, threads }
    }

    /// What has come of it so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Ends it and says what came of it.
    pub(crate) fn stop(mut self) -> Tally {
        self.end();
        self.tally()
    }

    fn end(&mut self) {
        self.stops.clear();
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

#[expect(clippy::disallowed_methods, reason = "users live by the real clock")]
fn ask(at: SocketAddr, tally: &Mutex<Tally>) {
    let begun = Instant::now();
    let answer = http::get(at, "/", &[]);
    let mut tally = tally.lock().unwrap();
    tally.sent += 1;
    match answer {
        Ok(answer) if (200..300).contains(&answer.status) => {
            let version = answer.version().unwrap_or("?").to_owned();
            *tally.by_version.entry(version.clone()).or_default() += 1;
            let last = tally.last.entry(version).or_insert(begun);
            *last = begun.max(*last);
        }
        other => {
            tally.failed += 1;
            if tally.failures.len() < 5 {
                tally.failures.push(format!("{other:?}"));
            }
        }
    }
}
