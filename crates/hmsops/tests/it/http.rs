//! A user's HTTP: one request per connection, the whole answer read.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer of a few kilobytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// What the versions of these tests call themselves.
    pub(crate) fn version(&self) -> Option<&str> {
        self.header("x-version")
    }
}

/// Asks for a path; `fields` are whole header lines.
pub(crate) fn get(at: SocketAddr, path: &str, fields: &[String]) -> io::Result<Answer> {
    read(open(at, path, fields)?)
}

/// Posts a body; `fields` are whole header lines.
pub(crate) fn post(at: SocketAddr, path: &str, fields: &[String], body: &[u8]) -> io::Result<Answer> {
    read(send(at, "POST", path, fields, Some(body))?)
}

/// Sends a request and leaves the answer to [`read`].
pub(crate) fn open(at: SocketAddr, path: &str, fields: &[String]) -> io::Result<TcpStream> {
    send(at, "GET", path, fields, None)
}

fn send(
    at: SocketAddr,
    method: &str,
    path: &str,
    fields: &[String],
    body: Option<&[u8]>,
) -> io::Result<TcpStream> {
    let limit = Duration::from_secs(15);
    let mut stream = TcpStream::connect_timeout(&at, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    let fields: String = fields.iter().flat_map(|field| [field, "\r\n"]).collect();
    let length = body.map_or_else(String::new, |body| format!("content-length: {}\r\n", body.len()));
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{length}{fields}\r\n");
    stream.write_all(&[head.as_bytes(), body.unwrap_or_default()].concat())?;
    Ok(stream)
}

/// Reads an answer to its end. One that is shorter than it says is an error.
pub(crate) fn read(mut stream: TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| broken("no whole head", &text))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| broken("no status", head))?;
    let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    match length {
        Some(length) if length != body.len() => Err(broken("a broken body", head)),
        _ => Ok(answer),
    }
}

fn broken(what: &str, text: &str) -> io::Error {
    io::Error::other(format!("{what}: {text:?}"))
}
