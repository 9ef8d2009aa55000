//! Users who wait for each answer before they ask again, and who look at every answer: what is not exactly what one
//! of the arms says is a failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Trying as _};
use crate::http::{Answer, Broken, Connection};

/// One request in so many is a `POST` with a body, which nobody may ask twice.
const POST_EVERY: u64 = 10;

/// What users ask, and what they expect.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) server: SocketAddr,
    /// Users, each with a connection of its own.
    pub(crate) users: usize,
    /// Requests of all of them together.
    pub(crate) requests: u64,
    /// The one body of stable, and the one of the canary.
    pub(crate) bodies: [String; 2],
    /// A request without a whole answer after this has failed.
    pub(crate) timeout: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Good answers of stable and of the canary.
    pub(crate) good: [u64; 2],
    /// What else came, by kind.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Idempotent requests asked once more because a kept connection closed before a byte of an answer, as every
    /// client does (RFC 9112 §9.3.1). They are no failures.
    pub(crate) asked_again: u64,
}

impl Count {
    /// Requests that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    fn add(&mut self, other: &Self) {
        for (sum, good) in self.good.iter_mut().zip(other.good) {
            *sum += good;
        }
        for (kind, count) in &other.failed {
            *self.failed.entry(kind.clone()).or_default() += count;
        }
        self.asked_again += other.asked_again;
    }
}

/// Users at work.
#[derive(Debug)]
pub(crate) struct Users {
    taken: Arc<AtomicU64>,
    count: Arc<Mutex<Count>>,
    workers: Vec<JoinHandle<()>>,
}

impl Users {
    /// They begin at once.
    pub(crate) fn start(plan: &Plan) -> Result<Self, Failure> {
        let (taken, count) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Count::default())));
        let start = |_| {
            let (plan, taken, count) = (plan.clone(), Arc::clone(&taken), Arc::clone(&count));
            std::thread::Builder::new().name("user".into()).spawn(move || {
                let own = work(&plan, &taken);
                count.lock().unwrap_or_else(PoisonError::into_inner).add(&own);
            })
        };
        let workers: Result<_, _> = (0..plan.users).map(start).collect();
        let workers = workers.trying("start a user's thread")?;
        Ok(Self { taken, count, workers })
    }

    /// Requests begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether all have done their part.
    pub(crate) fn are_done(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the last answer.
    pub(crate) fn finish(self) -> Count {
        for worker in self.workers {
            // A worker that panicked is seen in the figures: its requests are missing.
            let _ = worker.join();
        }
        self.count.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn work(plan: &Plan, taken: &AtomicU64) -> Count {
    let mut count = Count::default();
    let mut kept = None;
    loop {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if number >= plan.requests {
            return count;
        }
        let is_post = number.is_multiple_of(POST_EVERY);
        match ask(plan, is_post, &mut kept, &mut count.asked_again) {
            Ok(answer) => match judge(plan, &answer) {
                Ok(arm) => count.good[arm] += 1,
                Err(why) => *count.failed.entry(why).or_default() += 1,
            },
            Err(broken) => *count.failed.entry(broken.as_str().to_owned()).or_default() += 1,
        }
    }
}

/// Which arm's answer it is.
fn judge(plan: &Plan, answer: &Answer) -> Result<usize, String> {
    if answer.status != 200 {
        return Err(format!("answered {}", answer.status));
    }
    let arm = plan.bodies.iter().position(|body| body.as_bytes() == answer.body);
    arm.ok_or_else(|| "answered 200 with a body that is nobody's".to_owned())
}

fn ask(
    plan: &Plan,
    is_post: bool,
    kept: &mut Option<Connection>,
    asked_again: &mut u64,
) -> Result<Answer, Broken> {
    let request: &[u8] = if is_post {
        b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 4\r\n\r\na=bc"
    } else {
        b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
    };
    let deadline = Instant::now() + plan.timeout;
    if let Some(mut connection) = kept.take() {
        match connection.exchange(request, deadline) {
            Ok(answer) => {
                *kept = Some(connection).filter(Connection::is_kept);
                return Ok(answer);
            }
            Err(Broken::Closed) if !is_post => *asked_again += 1,
            Err(broken) => return Err(broken),
        }
    }
    let mut connection = Connection::open(plan.server, plan.timeout)?;
    let answer = connection.exchange(request, deadline)?;
    *kept = Some(connection).filter(Connection::is_kept);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers the first request of each connection like stable, the second with something else, then hangs up.
    fn serve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for body in ["stable", "strang"] {
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let answer = format!("HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\n{body}");
                    (&stream).write_all(answer.as_bytes()).unwrap();
                }
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
        address
    }

    #[test]
    fn every_answer_is_looked_at() {
        let plan = Plan {
            server: serve(),
            users: 1,
            // The first is a POST, whose body the server takes for the head of the second.
            requests: 5,
            bodies: ["stable".into(), "canary".into()],
            timeout: Duration::from_secs(10),
        };
        let count = Users::start(&plan).unwrap().finish();
        assert_eq!(count.good[0] + count.failures(), 5);
        assert!(count.failed.contains_key("answered 200 with a body that is nobody's"), "{count:?}");
        assert!(count.asked_again > 0, "{count:?}");
        assert_eq!(count.good[1], 0);
    }
}
