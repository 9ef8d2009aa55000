//! Many stories at once: over all cores, in an order that does not depend on how many there are.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many threads tell stories.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Tells stories 0 to `n` − 1 on so many threads and returns what came of them, in order. Says on standard error how
/// far it is, each ten seconds (each second at a terminal).
pub fn all<T: Send>(what: &str, n: u64, threads: usize, tell: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::with_capacity(n as usize)));
    let progress = Progress::new(what, n);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= n {
                        return;
                    }
                    let told = tell(i);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((i, told));
                    progress.at(done.len() as u64);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, told)| told).collect()
}

struct Progress<'a> {
    what: &'a str,
    n: u64,
    begun: Instant,
    told: Mutex<Instant>,
    every: Duration,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str, n: u64) -> Self {
        let every = Duration::from_secs(if std::io::stderr().is_terminal() { 1 } else { 10 });
        Self { what, n, begun: wall_clock(), told: Mutex::new(wall_clock()), every }
    }

    fn at(&self, done: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < self.every {
            return;
        }
        *told = wall_clock();
        let spent = self.begun.elapsed().as_secs_f64();
        let left = spent / done as f64 * (self.n - done) as f64;
        eprintln!("{}: {done} of {}, {left:.0} s left", self.what, self.n);
    }
}

#[expect(clippy::disallowed_methods, reason = "says only how far it is; no story reads it")]
fn wall_clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_order_does_not_depend_on_the_threads() {
        let one = super::all("squares", 100, 1, |i| i * i);
        assert_eq!(one, super::all("squares", 100, 4, |i| i * i));
    }
}
