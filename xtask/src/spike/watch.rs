//! Those who do something else meanwhile: somebody who looks at the tower's pages, a program that emits metrics, and one
//! who waits for the alert.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::figures::Answers;
use super::ground::{METRIC, RULE};
use crate::failure::{Failure, Trying as _};
use crate::http::{self, Connection};
use crate::json::Json;
use crate::lab::settings::Settings;

/// Each of them does something so often.
const EVERY: Duration = Duration::from_millis(200);
/// Nobody waits longer for a page.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages that anybody may ask for, and the tower's own front page.
const PAGES: [&str; 4] = ["/-/healthy", "/status", "/metrics", "/"];
/// Values in a batch.
pub(super) const BEATS: u64 = 10;

/// What they have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The tower's pages.
    pub(super) pages: Answers,
    /// Batches of what was emitted, with the time until they were said to be durable.
    pub(super) emitted: Answers,
    /// When the rule's alert was first seen to fire.
    pub(super) fired_at: Option<Instant>,
}

/// At work until they are asked for what they have seen.
pub(super) struct Watch {
    is_over: Arc<AtomicBool>,
    pages: JoinHandle<(Answers, Option<Instant>)>,
    emitter: JoinHandle<Answers>,
}

impl Watch {
    /// They begin at once.
    pub(super) fn start(settings: &Settings, token: String) -> Result<Self, Failure> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (tower, collector) = (settings.tower, settings.grpc);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let over = Arc::clone(&is_over);
        let pages = thread("pages").spawn(move || look(tower, &token, &over)).trying("start a thread")?;
        let over = Arc::clone(&is_over);
        let emitter = thread("emit").spawn(move || emit(collector, &over)).trying("start a thread")?;
        Ok(Self { is_over, pages, emitter })
    }

    /// Ends them.
    pub(super) fn finish(self) -> Result<Seen, Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        let panicked = |_| Failure::new("one who watched panicked");
        let (pages, fired_at) = self.pages.join().map_err(panicked)?;
        Ok(Seen { pages, fired_at, emitted: self.emitter.join().map_err(panicked)? })
    }
}

/// Looks at one page after the other, and at the alerts.
fn look(tower: SocketAddr, token: &str, is_over: &AtomicBool) -> (Answers, Option<Instant>) {
    let (mut pages, mut fired_at) = (Answers::default(), None);
    for path in PAGES.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        pages.count(match http::get(tower, path, Some(token), PATIENCE) {
            Ok(answer) if answer.status == 200 => Ok(began.elapsed()),
            Ok(answer) => Err(format!("{path}: status {}", answer.status)),
            Err(broken) => Err(format!("{path}: {}", broken.as_str())),
        });
        if fired_at.is_none() && is_firing(tower, token) {
            fired_at = Some(Instant::now());
        }
        std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
    }
    (pages, fired_at)
}

fn is_firing(tower: SocketAddr, token: &str) -> bool {
    let answer = http::get(tower, "/hms/v1/alerts?active=true", Some(token), PATIENCE);
    let alerts = answer.ok().and_then(|answer| Json::parse(&answer.text()).ok());
    let items = alerts.as_ref().and_then(|alerts| alerts.at("items")).map(Json::items).unwrap_or_default();
    items.iter().any(|alert| alert.text_at("rule") == RULE && alert.text_at("condition") == "firing")
}

/// Emits as the Python package does: batches with a number, sent again until they are said to be durable.
fn emit(collector: SocketAddr, is_over: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    let mut kept = None;
    for sequence in 1_u64.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let request = batch(collector, sequence);
        answers.count(match send(collector, &request, &mut kept) {
            Ok(()) => Ok(began.elapsed()),
            Err(instead) => Err(instead),
        });
        std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
    }
    answers
}

fn send(collector: SocketAddr, request: &[u8], kept: &mut Option<Connection>) -> Result<(), String> {
    let mut connection = match kept.take().filter(Connection::is_fresh) {
        Some(connection) => connection,
        None => Connection::open(collector, PATIENCE).map_err(|broken| broken.as_str().to_owned())?,
    };
    let answer = connection.exchange(request, Instant::now() + PATIENCE);
    let answer = answer.map_err(|broken| broken.as_str().to_owned())?;
    *kept = Some(connection);
    if answer.status == 200 { Ok(()) } else { Err(format!("status {}: {}", answer.status, answer.text())) }
}

fn batch(collector: SocketAddr, sequence: u64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let body = format!(
        "{{\"source\":\"spike\",\"sequence\":{sequence},\"metrics\":[{{\"name\":\"{METRIC}\",\"time\":{now},\
         \"sum\":{BEATS},\"count\":{BEATS},\"min\":1,\"max\":1,\"last\":1}}]}}"
    );
    format!(
        "POST /v1/emit HTTP/1.1\r\nHost: {collector}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
