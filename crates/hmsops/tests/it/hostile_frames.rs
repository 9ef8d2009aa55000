//! Hostile frames of HTTP/2 (RFC 9113) at the collector's port: what a client may do that costs the server more than it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::hostile::Target;
use super::kit::now;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection that speaks frames as they are written here.
struct Peer {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Peer {
    fn new(at: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut peer = Self { stream, heard: Vec::new() };
        assert!(peer.send(&frame(SETTINGS, 0, 0, &[])));
        peer
    }

    /// Whether it was taken; not once the connection was ended.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Hears until the connection ends or nothing came for so long; answers whether it has ended.
    fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = now() + limit;
        let mut part = vec![0; 65_536];
        while let Some(left) = deadline.checked_duration_since(now()).filter(|left| !left.is_zero()) {
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut part) {
                Ok(0) => return true,
                Ok(n) => self.heard.extend_from_slice(&part[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// All that was heard, as text where it is some.
    fn words(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

/// A frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field without a table (RFC 7541 §6.2.2), name and value below 127 bytes.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// The head of a call.
fn call(at: SocketAddr) -> Vec<u8> {
    [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/hmsops.v1.Collector/Emit"),
        field(":authority", &at.to_string()),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ]
    .concat()
}

/// How long a connection gets to be ended.
const ENDS: Duration = Duration::from_secs(15);

/// Streams that are begun and broken off at once, a hundred thousand of them (CVE-2023-44487).
#[test]
fn a_rapid_reset_ends_its_connection() {
    let target = Target::start();
    let at = target.site.collector;
    let mut peer = Peer::new(at);
    let head = call(at);
    for n in 0..100_000_u32 {
        let stream = 2 * n + 1;
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        if !peer.send(&[frame(HEADERS, END_HEADERS, stream, &head), reset].concat()) {
            break;
        }
    }
    assert!(peer.ends_within(ENDS), "the connection goes on");
    target.stays_unharmed();
}

/// A head that never ends (CVE-2024-27316), one that is whole and too long, and one whose fields all say the same again
/// (an "HPACK bomb").
#[test]
fn heads_without_end_are_refused() {
    let target = Target::start();
    let at = target.site.collector;
    let mut peer = Peer::new(at);
    peer.send(&frame(HEADERS, END_STREAM, 1, &call(at)));
    let more = field("x-more", &"y".repeat(100)).repeat(100);
    let mut sent = 0;
    while sent < 20_000 && peer.send(&frame(CONTINUATION, 0, 1, &more)) {
        sent += 1;
    }
    assert!(sent < 20_000 || peer.ends_within(ENDS), "it takes {sent} frames");
    target.serves("beside a head without end");

    let mut peer = Peer::new(at);
    let long = [call(at), field("x-long", &"y".repeat(100)).repeat(140)].concat();
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &long));
    // One field of 4 000 bytes goes into the table (RFC 7541 §6.2.1) and is then said again by one byte each.
    let mut bomb = vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e];
    bomb.extend(vec![b'y'; 4000]);
    bomb.extend(vec![0xbe; 12_000]);
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &[call(at), bomb].concat()));
    let _either = peer.ends_within(Duration::from_secs(2));
    assert!(!peer.words().contains("grpc-status\u{1}0"), "{}", peer.words());
    drop(peer);
    target.stays_unharmed();
}

/// Questions that have to be answered, from somebody who takes no answers: what waits is bounded.
#[test]
fn who_asks_and_takes_nothing_is_ended() {
    let target = Target::start();
    let at = target.site.collector;
    for question in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])] {
        let mut peer = Peer::new(at);
        peer.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let many = question.repeat(1000);
        let mut sent = 0;
        while sent < 2000 && peer.send(&many) {
            sent += 1;
        }
        target.serves("beside questions without end");
    }
    target.stays_unharmed();
}

/// Messages that are not what their length says, windows that stay shut, streams without number.
#[test]
fn lies_about_lengths_and_windows_are_refused() {
    let target = Target::start();
    let at = target.site.collector;
    for (what, message) in [
        ("a message of 4 GB", vec![0, 0xff, 0xff, 0xff, 0xff, 1]),
        ("a message shorter than it says", vec![0, 0, 0, 0, 100, 1]),
        ("a packed one", vec![1, 0, 0, 0, 1, 1]),
        ("no message", vec![]),
        ("half a length", vec![0, 0]),
        ("a message that is none", vec![0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
    ] {
        let mut peer = Peer::new(at);
        peer.send(&frame(HEADERS, END_HEADERS, 1, &call(at)));
        peer.send(&frame(DATA, END_STREAM, 1, &message));
        // Nobody ends a connection for a message; the answer is a head and goes out at once.
        let _stays = peer.ends_within(Duration::from_millis(700));
        let words = peer.words();
        assert!(words.contains("grpc-status") || !peer.heard.is_empty(), "{what}: nothing was answered");
        assert!(!words.contains("grpc-status\u{1}0"), "{what}: {words}");
    }
    // More than the window lets through is an error of the connection (RFC 9113 §6.9.1).
    let mut peer = Peer::new(at);
    peer.send(&frame(HEADERS, END_HEADERS, 1, &call(at)));
    let block = frame(DATA, 0, 1, &[0; 16_384]);
    let mut sent = 0;
    while sent < 4096 && peer.send(&block) {
        sent += 1;
    }
    assert!(peer.ends_within(ENDS), "64 MB were taken");
    let mut peer = Peer::new(at);
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()));
    assert!(peer.ends_within(ENDS), "a window beyond 31 bits");
    let mut peer = Peer::new(at);
    peer.send(&[[0xff, 0xff, 0xff, DATA, 0].as_slice(), &1_u32.to_be_bytes(), &[0; 1000]].concat());
    assert!(peer.ends_within(ENDS), "a frame of 16 MB");
    target.stays_unharmed();
}

/// Calls whose bodies do not come, on many streams of many connections: no window is opened for what nobody sends.
#[test]
fn streams_that_stand_still_keep_nobody_out() {
    let target = Target::start();
    let at = target.site.collector;
    let head = call(at);
    let mut kept = Vec::new();
    for _ in 0..100 {
        let mut peer = Peer::new(at);
        let shut = [0, 4, 0, 0, 0, 0];
        peer.send(&frame(SETTINGS, 0, 0, &shut));
        for n in 0..100_u32 {
            peer.send(&frame(HEADERS, END_HEADERS, 2 * n + 1, &head));
        }
        peer.send(&frame(DATA, 0, 1, &[0]));
        kept.push(peer);
    }
    target.serves("beside ten thousand calls that stand still");
    drop(kept);
    target.stays_unharmed();
}
