//! Programs that send metrics and never give up: what is not acknowledged is sent again exactly as it was.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{self, Answer};
use super::kit;

/// Series of each batch of remote write.
pub(crate) const SERIES: usize = 50;

/// Emitting processes that take turns.
pub(crate) const SOURCES: usize = 3;

/// So many acknowledged batches, then one of them is sent once more, as a sender does that has missed its answer.
const REPEATED_EACH: u64 = 5;

/// What all senders of one kind have had acknowledged, by what they call it.
pub(crate) type Book<T> = Arc<Mutex<T>>;

/// Samples by series, then by moment in Unix milliseconds.
pub(crate) type Written = BTreeMap<usize, BTreeMap<i64, f64>>;

/// How much was emitted by each source.
pub(crate) type Emitted = BTreeMap<usize, u64>;

/// A sender's thread.
pub(crate) struct Sender {
    ends: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Remote write 1.0 of [`SERIES`] series, a sample of each in every batch.
    pub(crate) fn write(at: SocketAddr, token: &str, book: &Book<Written>) -> Self {
        let (book, fields) = (book.clone(), write_fields(token));
        Self::start(move |line, number| {
            let batch: Vec<(usize, f64)> =
                (0..SERIES).map(|series| (series, number as f64 + series as f64 / 64.0)).collect();
            let time = line.next_moment();
            let body = snap::raw::Encoder::new().compress_vec(&write_request(&batch, time)).unwrap();
            let send = || http::post(at, "/api/v1/write", &fields, &body);
            let times = if number.is_multiple_of(REPEATED_EACH) { 2 } else { 1 };
            for _ in 0..times {
                line.until_taken(send, |answer| answer.status == 204);
            }
            let mut book = book.lock().unwrap();
            for (series, value) in batch {
                book.entry(series).or_default().insert(time, value);
            }
        })
    }

    /// Batches of [`SOURCES`] emitting processes, each counting some of the value 1.
    pub(crate) fn emit(at: SocketAddr, book: &Book<Emitted>) -> Self {
        let (book, fields) = (book.clone(), vec!["content-type: application/json".to_owned()]);
        Self::start(move |line, number| {
            let (source, sequence) = (number as usize % SOURCES, number / SOURCES as u64 + 1);
            let (count, time) = (1 + number * 7 % 100, line.next_moment());
            let body = format!(
                "{{\"source\":\"source-{source}\",\"sequence\":{sequence},\"labels\":{{\"origin\":\"{source}\"}},\
                 \"metrics\":[{{\"name\":\"kills.emitted\",\"labels\":{{}},\"time\":{time},\"sum\":{count},\
                 \"count\":{count},\"min\":1,\"max\":1,\"last\":1}}]}}"
            );
            let send = || http::post(at, "/v1/emit", &fields, body.as_bytes());
            let is_taken = |answer: &Answer| {
                assert!(answer.status != 200 || answer.body.contains("\"refused\":[]"), "{answer:?}");
                answer.status == 200
            };
            let times = if number.is_multiple_of(REPEATED_EACH) { 2 } else { 1 };
            for _ in 0..times {
                line.until_taken(send, is_taken);
            }
            *book.lock().unwrap().entry(source).or_default() += count;
        })
    }

    fn start(mut batch: impl FnMut(&mut Line, u64) + Send + 'static) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (taken, broken): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let (ended, count, lost) = (ends.clone(), taken.clone(), broken.clone());
        let thread = std::thread::spawn(move || {
            let mut line = Line { last: 0, broken: lost };
            for number in 0.. {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                batch(&mut line, number);
                count.fetch_add(1, Ordering::SeqCst);
                // Two cores are shared with the tower, and an hour of it must fit into one query.
                kit::pause();
            }
        });
        Self { ends, taken, broken, thread: Some(thread) }
    }

    /// Batches acknowledged so far. A sender that was refused has said so and fails its test.
    pub(crate) fn taken(&self) -> usize {
        assert!(!self.thread.as_ref().unwrap().is_finished(), "a sender has ended before its time");
        self.taken.load(Ordering::SeqCst)
    }

    /// Ends it once its last batch is acknowledged. Answers how many requests broke off: they were under way when the
    /// tower was killed, or came while it ended.
    pub(crate) fn stop(mut self) -> usize {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.broken.load(Ordering::SeqCst)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
    }
}

/// What a sender knows between its batches.
struct Line {
    /// The last moment that was used.
    last: i64,
    /// Requests that broke off.
    broken: Arc<AtomicUsize>,
}

impl Line {
    /// Now, and after the last.
    fn next_moment(&mut self) -> i64 {
        self.last = wall_ms().max(self.last + 1);
        self.last
    }

    /// Sends again until it is taken. A tower that is away, starting or busy is asked again; one that says no has
    /// found something wrong with what nothing is wrong with.
    fn until_taken(&self, send: impl Fn() -> std::io::Result<Answer>, is_taken: impl Fn(&Answer) -> bool) {
        let deadline = kit::now() + Duration::from_mins(2);
        loop {
            match send() {
                Ok(answer) if is_taken(&answer) => return,
                Ok(answer) => assert!(answer.status >= 500 || answer.status == 429, "refused: {answer:?}"),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => {
                    self.broken.fetch_add(1, Ordering::SeqCst);
                }
            }
            assert!(kit::now() < deadline, "a batch was not taken within two minutes");
            kit::pause();
        }
    }
}

/// The wall clock, which is what senders stamp with.
#[expect(clippy::disallowed_methods, reason = "a sender is another program, with a clock of its own")]
pub(crate) fn wall_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn write_fields(token: &str) -> Vec<String> {
    vec![
        "content-type: application/x-protobuf".into(),
        "content-encoding: snappy".into(),
        "x-prometheus-remote-write-version: 0.1.0".into(),
        format!("authorization: Bearer {token}"),
    ]
}

/// `prometheus.WriteRequest`, as in `prompb/remote.proto` and `prompb/types.proto`.
fn write_request(batch: &[(usize, f64)], time: i64) -> Vec<u8> {
    let mut request = Vec::new();
    for (number, value) in batch {
        let number = number.to_string();
        let mut series = Vec::new();
        for (name, text) in [("__name__", "kills_written"), ("series", &number)] {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, text.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        // Field 1 is a double, field 2 a varint.
        let mut sample = vec![0x09];
        sample.extend(value.to_le_bytes());
        sample.push(0x10);
        put_varint(&mut sample, time as u64);
        put_bytes(&mut series, 2, &sample);
        put_bytes(&mut request, 1, &series);
    }
    request
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
