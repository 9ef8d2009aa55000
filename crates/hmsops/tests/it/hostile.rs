//! What a hostile peer sends to the doors of a real tower: it is refused, others are served meanwhile, and nothing of
//! it stays.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::http;
use super::kit::{SHOPLESS, Site, now};

/// Most memory the tower may ever have had in use during such a test, in KiB: 64 MB for one at rest (of a debug build), 64
/// MB for heads, the longest each of a thousand connections, 32 MB for bodies of the API, and 96 MB for a body of remote
/// write, packed (16 MB), unpacked (32 MB) and as rows. Only metrics of callers who are let in may hold more (256 MB).
const MEMORY_KIB_MAX: u64 = 256 << 10;

/// Connections of a flood: ten times what the doors take.
const FLOOD: usize = 10_000;

/// A tower under attack, and what it measured of itself before.
pub(crate) struct Target {
    pub(crate) site: Site,
    tasks: u64,
}

impl Target {
    pub(crate) fn start() -> Self {
        let mut site = Site::lay_out(SHOPLESS);
        site.start();
        let tasks = site.wait("what it does at rest", 10, |site| measured(site, "hmsops_tasks"));
        Self { site, tasks }
    }

    /// Where pages and the API, and where the collector listens.
    pub(crate) fn doors(&self) -> [SocketAddr; 2] {
        [self.site.at, self.site.collector]
    }

    /// Somebody with a token is answered, and what a program of this machine emits is taken.
    pub(crate) fn serves(&self, when: &str) {
        let token = format!("authorization: Bearer {}", self.site.token());
        let answer = http::get(self.site.at, "/hms/v1/services", &[token]);
        assert_eq!(answer.as_ref().map(|answer| answer.status).ok(), Some(200), "{when}: {answer:?}");
        let answer = emit(self.site.collector, &[]);
        assert_eq!(answer.as_ref().map(|answer| answer.status).ok(), Some(200), "{when}: {answer:?}");
    }

    /// What the tower has measured of itself.
    pub(crate) fn measured(&self, series: &str) -> u64 {
        self.site.wait(series, 10, |site| measured(site, series))
    }

    /// It serves, nothing is left of what came, and it never took more memory than it may.
    pub(crate) fn stays_unharmed(self) {
        self.serves("afterwards");
        let site = &self.site;
        site.wait("its connections are gone", 30, |site| {
            let web = measured(site, "hmsops_connections{door=\"web\"}")?;
            let collector = measured(site, "hmsops_connections{door=\"collector\"}")?;
            (web <= 1 && collector == 0).then_some(())
        });
        // What it does by itself comes and goes.
        site.wait("its tasks are gone", 30, |site| {
            measured(site, "hmsops_tasks").filter(|tasks| *tasks <= self.tasks + 5)
        });
        let tower = site.processes().into_iter().find(|process| process.role == "serve").unwrap().pid;
        let status = std::fs::read_to_string(format!("/proc/{tower}/status")).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(
            most <= MEMORY_KIB_MAX,
            "it has had {most} KiB in use, at most {MEMORY_KIB_MAX} are expected"
        );
        let log = site.log();
        assert!(!log.contains("panicked"), "{log}");
        let raw =
            log.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{2028}'..='\u{202e}').contains(c));
        assert_eq!(raw, None, "{log}");
    }
}

/// A value that the tower has measured of itself.
fn measured(site: &Site, series: &str) -> Option<u64> {
    let page = http::get(site.at, "/metrics", &[]).ok()?.body;
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Emits a batch that is in order.
pub(crate) fn emit(at: SocketAddr, fields: &[String]) -> std::io::Result<http::Answer> {
    let body = br#"{"source":"kept","sequence":1,"labels":{},"metrics":[]}"#;
    let fields = [fields, &["content-type: application/json".to_owned()]].concat();
    http::post(at, "/v1/emit", &fields, body)
}

/// Sends bytes as they are; answers all that came back until the connection ended, or nothing came any more.
pub(crate) fn ask(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may be refused before it was sent whole.
    let _refused = stream.write_all(bytes);
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    let deadline = now() + Duration::from_secs(20);
    while now() < deadline {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // It waits for more, which does not come.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let _ended = stream.shutdown(std::net::Shutdown::Write);
            }
            Err(_) => break,
        }
    }
    assert!(now() < deadline, "the connection stayed open: {}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of all answers on a connection.
pub(crate) fn statuses(answer: &str) -> Vec<u16> {
    let heads = answer.match_indices("HTTP/1.1 ").map(|(at, head)| &answer[at + head.len()..]);
    heads.filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

/// Raises what this process may open as far as it can; answers how many connections it can make.
fn can_open(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _as_it_is = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    wanted.min(usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(500))
}

/// Ten thousand connections, each with the beginning of a head: those that have been silent for longest make way.
#[test]
fn ten_thousand_connections_keep_nobody_out() {
    let wanted = can_open(FLOOD);
    let target = Target::start();
    let mut kept = Vec::with_capacity(wanted);
    for n in 0..wanted {
        let door = target.doors()[n % 2];
        let mut stream = TcpStream::connect(door).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nx-slow: ").unwrap();
        kept.push(stream);
        if n % 1000 == 999 {
            target.serves(&format!("after {n} connections"));
        }
    }
    for door in ["web", "collector"] {
        let of = |what: &str| target.measured(&format!("hmsops_connections{what}{{door=\"{door}\"}}"));
        assert!(of("") <= of("_max"), "{door}: {}", of(""));
        let expected = (wanted / 2).saturating_sub(1100) as u64;
        assert!(of("_displaced_total") >= expected, "{door}: {}", of("_displaced_total"));
        assert_eq!(of("_refused_total"), 0, "{door}: on all of them nothing was under way");
    }
    // A byte a second keeps nobody's place.
    let deadline = now() + Duration::from_secs(10);
    let ended =
        kept.iter_mut().take(1000).map(|stream| is_ended(stream, deadline)).filter(|ended| *ended).count();
    assert_eq!(ended, 1000.min(wanted), "the longest silent were closed");
    drop(kept);
    target.stays_unharmed();
}

/// Whether the other end closes a connection until then.
fn is_ended(stream: &mut TcpStream, deadline: std::time::Instant) -> bool {
    let left = deadline.saturating_duration_since(now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left)).unwrap();
    match stream.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Bodies that never end hold a place until somebody wants it, and at most for as long as a body may take.
#[test]
fn slow_bodies_and_slow_readers_keep_nobody_out() {
    let target = Target::start();
    let token = target.site.token();
    let head = "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    let slow = [
        format!(
            "POST /hms/v1/deploy HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n{head}",
            target.site.at
        ),
        format!("POST /v1/emit HTTP/1.1\r\nhost: {}\r\n{head}", target.site.collector),
    ];
    let mut kept = Vec::new();
    for n in 0..2400 {
        let mut stream = TcpStream::connect(target.doors()[n % 2]).unwrap();
        stream.write_all(slow[n % 2].as_bytes()).unwrap();
        kept.push(stream);
    }
    target.serves("beside bodies that do not come");
    // Readers that take nothing of many answers: what they are owed is bounded by what was asked.
    let mut deaf = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(target.site.at).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let request = format!("GET /hms/v1/openapi.json HTTP/1.1\r\nhost: {}\r\n\r\n", target.site.at);
        let _full = stream.write_all(request.repeat(200).as_bytes());
        deaf.push(stream);
    }
    target.serves("beside readers that take nothing");
    // The last ones were not displaced: they hear that they were too slow.
    let fate: Vec<_> =
        kept.drain(..).rev().take(2).map(|stream| http::read(stream).map(|answer| answer.status)).collect();
    assert!(fate.iter().all(|status| matches!(status, Ok(408))), "{fate:?}");
    drop(deaf);
    target.stays_unharmed();
}

/// Heads that are too long, too many, or no heads.
#[test]
fn floods_in_a_head_are_refused() {
    let target = Target::start();
    let many = (0..100_000).fold(String::new(), |many, n| many + &format!("x-{n}: a\r\n"));
    let long = "x".repeat(10 << 20);
    for at in target.doors() {
        for (what, bytes) in [
            ("a hundred thousand fields", format!("GET / HTTP/1.1\r\nhost: {at}\r\n{many}\r\n")),
            ("a head of 10 MB", format!("GET / HTTP/1.1\r\nhost: {at}\r\nx: {long}\r\n\r\n")),
            ("a line of 10 MB", format!("GET /{long} HTTP/1.1\r\nhost: {at}\r\n\r\n")),
            ("a method of 10 MB", format!("{long} / HTTP/1.1\r\nhost: {at}\r\n\r\n")),
            ("a name of 10 MB", format!("GET / HTTP/1.1\r\nhost: {at}\r\n{long}: x\r\n\r\n")),
            ("empty lines without end", "\r\n".repeat(5 << 20)),
            ("nothing but zeros", "\0".repeat(10 << 20)),
        ] {
            // Who sends on after the answer may see the connection broken instead of the answer.
            let said = statuses(&ask(at, bytes.as_bytes()));
            assert!(
                said.iter().all(|status| [400, 414, 431].contains(status)) && said.len() <= 1,
                "{what}: {said:?}"
            );
        }
    }
    target.stays_unharmed();
}
