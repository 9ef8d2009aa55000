//! The part of HTTP/1.1 that a client needs: one request at a time on a connection that may be kept.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A head longer than this is none.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A page longer than this is not ours.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A connection that was used so lately is not looked at before it is used again: looking takes three calls of the
/// system, and servers keep what is idle for seconds at least.
const FRESH: Duration = Duration::from_millis(5);
/// A time limit that is set already does when it is at most this share too long.
const SLACK: u32 = 16;

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 100 to 599.
    pub(crate) status: u16,
    /// Names in lowercase, in the order they came.
    headers: Vec<(String, String)>,
    /// The body, decoded from chunks if it came in some.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of that lowercase name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Its body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// Nobody listens there, or the network is gone.
    Refused,
    /// The time was up.
    TimedOut,
    /// The peer closed before the answer was whole.
    Closed,
    /// What came was no HTTP/1.1.
    Malformed,
}

impl Broken {
    /// For people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::TimedOut => "no answer in time",
            Self::Closed => "closed before the answer",
            Self::Malformed => "no HTTP answer",
        }
    }

    fn from_io(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Closed,
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Read but not yet used.
    buffer: Vec<u8>,
    /// Whether another request may follow.
    keeps: bool,
    /// When the last answer had been read.
    used_at: Instant,
    /// The time limits of reading and writing that are set: each call of the system that is left out is a request more.
    limits: [Duration; 2],
}

impl Connection {
    /// Connects within `timeout`.
    pub(crate) fn open(server: SocketAddr, timeout: Duration) -> Result<Self, Broken> {
        let stream =
            TcpStream::connect_timeout(&server, timeout.max(Duration::from_millis(1))).map_err(|error| {
                if error.kind() == ErrorKind::TimedOut { Broken::TimedOut } else { Broken::Refused }
            })?;
        // Without it, a small request may wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let limits = [Duration::MAX; 2];
        Ok(Self { stream, buffer: Vec::new(), keeps: true, used_at: Instant::now(), limits })
    }

    /// Whether another request may be sent: the server kept the connection and has not closed it since.
    pub(crate) fn is_fresh(&self) -> bool {
        let mut byte = [0];
        if !self.keeps || !self.buffer.is_empty() {
            return false;
        }
        if self.used_at.elapsed() < FRESH {
            return true;
        }
        if self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let silent =
            matches!(self.stream.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
        silent && self.stream.set_nonblocking(false).is_ok()
    }

    /// For how long nothing was asked on it.
    pub(crate) fn idle(&self) -> Duration {
        self.used_at.elapsed()
    }

    /// Whether nothing has come that is not taken yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether the server said nothing of closing it.
    pub(crate) fn is_kept(&self) -> bool {
        self.keeps
    }

    /// Sends the bytes of one request and reads its whole answer before `deadline`.
    pub(crate) fn exchange(&mut self, request: &[u8], deadline: Instant) -> Result<Answer, Broken> {
        self.keeps = false;
        if let Some(limit) = limit(left(deadline)?, &mut self.limits[1]) {
            self.stream.set_write_timeout(Some(limit)).map_err(|error| Broken::from_io(&error))?;
        }
        self.stream.write_all(request).map_err(|error| Broken::from_io(&error))?;
        let (status, headers) = self.head(deadline)?;
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map(str::parse::<usize>);
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let is_chunked =
            answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        answer.body = match length {
            _ if is_chunked => self.chunks(deadline)?,
            Some(Ok(length)) if length <= BODY_BYTES_MAX => self.exactly(length, deadline)?,
            None if matches!(status, 204 | 304) => Vec::new(),
            _ => return Err(Broken::Malformed),
        };
        self.keeps = !closes;
        self.used_at = Instant::now();
        Ok(answer)
    }

    fn head(&mut self, deadline: Instant) -> Result<(u16, Vec<(String, String)>), Broken> {
        loop {
            let line = self.line(deadline)?;
            let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
            let status = status.filter(|status| (100..600).contains(status)).ok_or(Broken::Malformed)?;
            let mut headers = Vec::new();
            loop {
                let line = self.line(deadline)?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').ok_or(Broken::Malformed)?;
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if status >= 200 {
                return Ok((status, headers));
            }
        }
    }

    /// One line without its end.
    fn line(&mut self, deadline: Instant) -> Result<String, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Broken::Malformed);
            }
            self.fill(deadline)?;
        }
    }

    fn exactly(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < length {
            self.fill(deadline)?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line(deadline)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| Broken::Malformed)?;
            if size == 0 {
                while !self.line(deadline)?.is_empty() {}
                return Ok(body);
            }
            if size > BODY_BYTES_MAX - body.len() {
                return Err(Broken::Malformed);
            }
            body.extend(self.exactly(size, deadline)?);
            self.line(deadline)?;
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), Broken> {
        let mut chunk = [0; 16 * 1024];
        if let Some(limit) = limit(left(deadline)?, &mut self.limits[0]) {
            self.stream.set_read_timeout(Some(limit)).map_err(|error| Broken::from_io(&error))?;
        }
        match self.stream.read(&mut chunk).map_err(|error| Broken::from_io(&error))? {
            0 => Err(Broken::Closed),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }
}

fn left(deadline: Instant) -> Result<Duration, Broken> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Broken::TimedOut) } else { Ok(left) }
}

/// The time limit that has to be set because so much is left; `None`: the one that is set does.
fn limit(left: Duration, set: &mut Duration) -> Option<Duration> {
    let does = set.checked_sub(left).is_some_and(|more| more <= left / SLACK);
    (!does).then(|| {
        *set = left;
        left
    })
}

/// Asks for one page on a connection of its own, with a bearer token if there is one.
pub(crate) fn get(
    server: SocketAddr,
    path: &str,
    token: Option<&str>,
    timeout: Duration,
) -> Result<Answer, Broken> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n{authorization}Connection: close\r\n\r\n");
    let deadline = Instant::now() + timeout;
    Connection::open(server, timeout)?.exchange(request.as_bytes(), deadline)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers the first connection with these bytes and closes it.
    fn server_that_says(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(bytes).unwrap();
        });
        address
    }

    fn ask(bytes: &'static [u8]) -> Result<Answer, Broken> {
        get(server_that_says(bytes), "/", None, Duration::from_secs(5))
    }

    #[test]
    fn answers_are_read_to_their_end() {
        let answer = ask(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello").unwrap();
        assert_eq!((answer.status, answer.text().as_str(), answer.header("x-a")), (200, "hello", Some("b")));
        let answer =
            ask(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (500, "abcde"));
        assert_eq!(ask(b"HTTP/1.1 204 None\r\n\r\n").unwrap().body, b"");
    }

    #[test]
    fn what_is_no_whole_answer_says_why() {
        for (bytes, broken) in [
            (&b""[..], Broken::Closed),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Broken::Closed),
            (b"HTTP/1.1 200 OK\r\nContent-Le", Broken::Closed),
            (b"SSH-2.0-x\r\n", Broken::Malformed),
            (b"HTTP/1.1 999 OK\r\n\r\n", Broken::Malformed),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Broken::Malformed),
            (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Broken::Malformed),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Broken::Malformed),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", Broken::Malformed),
        ] {
            assert_eq!(ask(bytes), Err(broken), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn nobody_there_and_nobody_answering_differ() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(get(address, "/", None, Duration::from_millis(50)), Err(Broken::TimedOut));
        drop(listener);
        assert_eq!(get(address, "/", None, Duration::from_secs(5)), Err(Broken::Refused));
    }

    #[test]
    fn a_connection_the_server_closed_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection =
            Connection::open(listener.local_addr().unwrap(), Duration::from_secs(5)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        assert!(connection.is_fresh());
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        connection.exchange(b"GET / HTTP/1.1\r\n\r\n", Instant::now() + Duration::from_secs(5)).unwrap();
        assert!(connection.is_fresh());
        // Read what it sent, or the close would be a reset; then close and wait until it is seen.
        stream.read_exact(&mut [0; 18]).unwrap();
        drop(stream);
        connection.stream.set_nonblocking(false).unwrap();
        assert_eq!(connection.stream.peek(&mut [0]).unwrap(), 0);
        connection.used_at -= FRESH;
        assert!(!connection.is_fresh());
    }

    #[test]
    fn a_time_limit_is_set_again_only_when_it_does_not_do() {
        let (mut set, second) = (Duration::MAX, Duration::from_secs(1));
        assert_eq!(limit(second, &mut set), Some(second));
        assert_eq!(limit(Duration::from_millis(950), &mut set), None);
        assert_eq!(limit(second / 2, &mut set), Some(second / 2));
        assert_eq!(limit(second, &mut set), Some(second), "one that is too short does not do");
    }
}
