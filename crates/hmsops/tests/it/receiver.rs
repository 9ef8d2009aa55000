//! What a tower speaks to in these tests: a webhook's receiver that checks signatures, and a target to scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The secret's bytes; the specification wants at least 24.
const KEY: &[u8; 32] = b"32 bytes that only these two hav";

/// A request of a tower.
#[derive(Debug)]
struct Asked {
    head: String,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn read(stream: &TcpStream) -> io::Result<Self> {
        let (mut reader, mut asked) =
            (BufReader::new(stream), Self { head: String::new(), body: Vec::new() });
        while !asked.head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut asked.head)? == 0 {
                return Err(io::Error::other("it went away"));
            }
        }
        let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        asked.body.resize(length, 0);
        reader.read_exact(&mut asked.body)?;
        Ok(asked)
    }
}

/// A small server, one request per connection and one after the other; it ends when it is dropped.
struct Server {
    at: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` gives status and body.
    fn start(mut answer: impl FnMut(&Asked) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (at, ends) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let ended = ends.clone();
        let serve = move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A tower that was killed while it asked is no trouble of ours.
                let _gone = answer_one(stream, &mut answer);
            }
        };
        Self { at, ends, thread: Some(std::thread::spawn(serve)) }
    }
}

fn answer_one(mut stream: TcpStream, answer: &mut impl FnMut(&Asked) -> (u16, String)) -> io::Result<()> {
    let limit = Some(Duration::from_secs(5));
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    let (status, body) = answer(&Asked::read(&stream)?);
    let head =
        format!("HTTP/1.1 {status} x\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.at);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

/// What a receiver of webhooks has seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Received {
    /// Requests of each `webhook-id`.
    pub(crate) tries: BTreeMap<String, u32>,
    /// What each that was taken said; one that says two things has two.
    pub(crate) taken: BTreeMap<String, BTreeSet<String>>,
    /// Requests that were not signed by our tower.
    pub(crate) forged: Vec<String>,
}

/// A receiver of webhooks that has trouble with each at first: the first try is answered with 503.
pub(crate) struct Pager {
    server: Server,
    received: Arc<Mutex<Received>>,
}

impl Pager {
    pub(crate) fn start() -> Self {
        let received: Arc<Mutex<Received>> = Arc::default();
        let log = received.clone();
        let server = Server::start(move |asked| {
            let mut log = log.lock().unwrap();
            let id = asked.header("webhook-id").unwrap_or_default().to_owned();
            if !is_signed(asked, &id) {
                log.forged.push(format!("{asked:?}"));
                return (401, "not signed".into());
            }
            let tries = log.tries.entry(id.clone()).or_default();
            *tries += 1;
            if *tries == 1 {
                return (503, "not yet".into());
            }
            let text = String::from_utf8_lossy(&asked.body).into_owned();
            log.taken.entry(id).or_default().insert(text);
            (200, "thanks".into())
        });
        Self { server, received }
    }

    /// What has come so far.
    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }

    /// Where it is posted to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.server.at)
    }

    /// As a tower's settings want it.
    pub(crate) fn secret() -> String {
        format!("whsec_{}", BASE64.encode(KEY))
    }
}

/// Standard Webhooks: HMAC-SHA256 of `{id}.{timestamp}.{payload}`.
fn is_signed(asked: &Asked, id: &str) -> bool {
    let timestamp = asked.header("webhook-timestamp").unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&asked.body);
    let right = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
    let mut signatures = asked.header("webhook-signature").unwrap_or_default().split(' ');
    !id.is_empty() && signatures.any(|signature| signature == right)
}

/// A program to scrape. It counts how often it was asked, and says whether it ails.
pub(crate) struct Target {
    server: Server,
    asked: Arc<AtomicU64>,
    ails: Arc<AtomicBool>,
}

impl Target {
    pub(crate) fn start() -> Self {
        let (asked, ails) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let (count, sick) = (asked.clone(), ails.clone());
        let server = Server::start(move |_| {
            let count = count.fetch_add(1, Ordering::SeqCst) + 1;
            let ails = u8::from(sick.load(Ordering::SeqCst));
            let text = format!(
                "# TYPE scraped_total counter\nscraped_total{{shelf=\"a\"}} {count}\n\
                 scraped_total{{shelf=\"b\"}} {}\n# TYPE ailing gauge\nailing {ails}\n",
                count * 1000
            );
            (200, text)
        });
        Self { server, asked, ails }
    }

    /// Where it is scraped.
    pub(crate) fn at(&self) -> SocketAddr {
        self.server.at
    }

    /// How often it was.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// It says from now on that all is well.
    pub(crate) fn recover(&self) {
        self.ails.store(false, Ordering::SeqCst);
    }
}

/// A peer that repeats whatever it was sent in its answers, which are all refusals but the description of a provider.
pub(crate) struct Echo {
    server: Server,
    heard: Arc<Mutex<String>>,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let heard: Arc<Mutex<String>> = Arc::default();
        let log = heard.clone();
        let server = Server::start(move |asked| {
            let said = format!("{}{}", asked.head, String::from_utf8_lossy(&asked.body));
            log.lock().unwrap().push_str(&said);
            if asked.head.contains("/.well-known/openid-configuration") {
                let at = format!("http://{}", asked.header("host").unwrap_or_default());
                let known = format!(
                    "{{\"issuer\":\"{at}\",\"authorization_endpoint\":\"{at}/authorize\",\"token_endpoint\":\"{at}/token\",\
                     \"jwks_uri\":\"{at}/keys\",\"response_types_supported\":[\"code\"],\"subject_types_supported\":[\"public\"],\
                     \"id_token_signing_alg_values_supported\":[\"RS256\"]}}"
                );
                return (200, known);
            }
            if asked.head.starts_with("GET /keys ") {
                return (200, "{\"keys\":[]}".to_owned());
            }
            (401, said)
        });
        Self { server, heard }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.server.at
    }

    /// All that it was sent.
    pub(crate) fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}
