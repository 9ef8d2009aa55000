//! The heads of HTTP/1.1 as bytes: a request's, written, and an answer's, read (RFC 9112).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, Uri, Version};
use hyper::ext::ReasonPhrase;

use super::super::head::Added;
use super::super::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX};
use super::chunks::Chunks;
use super::{Malformed, Rest};

/// How a request's body is told from what comes after.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    /// There is none.
    None,
    Length(u64),
    Chunked,
}

/// Writes a request's head. What says how long the body is, is said here and nowhere else, in one way only.
pub(super) fn write(
    out: &mut Vec<u8>,
    (method, uri): (&Method, &Uri),
    (fields, added): (&HeaderMap, &Added),
    framing: Framing,
) {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    // A query may stand without a path in an absolute target, and has one in this form (RFC 9112 §3.2.1).
    if !target.starts_with('/') && target != "*" {
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut has_length = false;
    for (name, value) in fields {
        if *name == header::CONTENT_LENGTH {
            has_length = true;
        } else if *name != header::TRANSFER_ENCODING {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    added.for_each(|name, value| field(out, name.as_str().as_bytes(), value));
    match framing {
        Framing::Length(length) => field(out, b"content-length", decimal(length, &mut [0; 20])),
        Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
        Framing::None if has_length => field(out, b"content-length", b"0"),
        Framing::None => {}
    }
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A number's decimal digits, at the end of `digits`.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut begin = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        (begin, number) = (at, number / 10);
        if number == 0 {
            break;
        }
    }
    digits.get(begin..).unwrap_or_default()
}

/// An answer's head, and what it says of what follows.
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) rest: Rest,
    /// The connection is for another request, once the answer is over.
    pub(super) is_kept: bool,
}

/// Takes the first head out of what has come; `None`: it has not come whole. `seen` bytes are known to hold no end.
pub(super) fn take(input: &mut BytesMut, seen: usize, is_bodyless: bool) -> Result<Option<Head>, Malformed> {
    let Some(end) = end(input, seen) else {
        return if input.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    if end > HEAD_BYTES_MAX {
        return Err(Malformed);
    }
    read(&input.split_to(end).freeze(), is_bodyless).map(Some)
}

/// Where a head ends: after an empty line. Lines may end in a bare LF (RFC 9112 §2.2).
fn end(input: &[u8], seen: usize) -> Option<usize> {
    // The empty line may have begun in what was seen.
    let from = seen.saturating_sub(2);
    let lines = memchr::memchr_iter(b'\n', input.get(from..)?).map(|at| from + at + 1);
    lines.into_iter().find_map(|next| match input.get(next..)? {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

fn read(bytes: &Bytes, is_bodyless: bool) -> Result<Head, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let read =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    let (Ok(httparse::Status::Complete(n)), Some(code), Some(minor)) = (read, parsed.code, parsed.version)
    else {
        return Err(Malformed);
    };
    let status = StatusCode::from_u16(code).map_err(|_| Malformed)?;
    if n != bytes.len() {
        return Err(Malformed);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut said = Said::new(minor);
    let headers = response.headers_mut();
    headers.reserve(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).map_err(|_| Malformed)?;
        said.hear(&name, &value);
        // What most say of their connection is heard and concerns nobody else.
        let is_usual = name == header::CONNECTION && matches!(value.as_bytes(), b"keep-alive" | b"close");
        if !is_usual {
            headers.append(name, value);
        }
    }
    if let Some(reason) = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason())
        && let Ok(reason) = ReasonPhrase::try_from(Bytes::copy_from_slice(reason.as_bytes()))
    {
        response.extensions_mut().insert(reason);
    }
    let rest = said.rest(status, is_bodyless)?;
    if said.is_coded {
        // The body's length is what the coding says, whatever the field said (RFC 9112 §6.3).
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    Ok(Head { response, rest, is_kept: said.is_kept() })
}

/// What an answer's fields say of its body and its connection.
#[expect(clippy::struct_excessive_bools, reason = "each is a word that was said or not")]
struct Said {
    minor: u8,
    length: Option<u64>,
    /// What it says of a length is none, or two.
    is_unclear: bool,
    is_coded: bool,
    /// The last coding is `chunked`.
    is_chunked: bool,
    closes: bool,
    keeps: bool,
}

impl Said {
    fn new(minor: u8) -> Self {
        Self {
            minor,
            length: None,
            is_unclear: false,
            is_coded: false,
            is_chunked: false,
            closes: false,
            keeps: false,
        }
    }

    fn hear(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == header::CONTENT_LENGTH {
            for part in value.as_bytes().split(|byte| *byte == b',') {
                match length(part.trim_ascii()) {
                    Ok(length) => {
                        self.is_unclear |= self.length.replace(length).is_some_and(|before| before != length);
                    }
                    Err(Malformed) => self.is_unclear = true,
                }
            }
        } else if *name == header::TRANSFER_ENCODING {
            self.is_coded = true;
            let last = value.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
            self.is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if *name == header::CONNECTION {
            for part in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.closes |= part.eq_ignore_ascii_case(b"close");
                self.keeps |= part.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }

    /// RFC 9112 §6.3.
    fn rest(&self, status: StatusCode, is_bodyless: bool) -> Result<Rest, Malformed> {
        let is_empty = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || is_bodyless;
        match self.length {
            _ if is_empty => Ok(Rest::Nothing),
            // A coding is no part of HTTP/1.0.
            _ if self.is_coded && self.minor == 0 => Err(Malformed),
            _ if self.is_chunked => Ok(Rest::Chunks(Chunks::Size)),
            _ if self.is_coded => Ok(Rest::ToTheEnd),
            // Only where a length counts does it have to be one.
            _ if self.is_unclear => Err(Malformed),
            Some(0) => Ok(Rest::Nothing),
            Some(length) => Ok(Rest::Bytes(length)),
            None => Ok(Rest::ToTheEnd),
        }
    }

    /// With a coding and a length there is one who reads the one and one who reads the other.
    fn is_kept(&self) -> bool {
        let is_clear = !(self.is_unclear || self.is_coded && self.length.is_some());
        is_clear && !self.closes && (self.minor > 0 || self.keeps)
    }
}

/// The digits of a length, and nothing else (RFC 9110 §8.6).
fn length(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let number = digits
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    number.ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Malformed> {
        take(&mut BytesMut::from(text.as_bytes()), 0, false)
    }

    fn rest(fields: &str) -> Result<(Rest, bool), Malformed> {
        head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
            .map(|head| head.map(|h| (h.rest, h.is_kept)).unwrap())
    }

    #[test]
    fn how_long_a_body_is_is_said_in_one_way() {
        let chunks = Rest::Chunks(Chunks::Size);
        for (fields, expected) in [
            ("", (Rest::ToTheEnd, true)),
            ("content-length: 5\r\n", (Rest::Bytes(5), true)),
            ("content-length: 0\r\n", (Rest::Nothing, true)),
            ("content-length: 5, 5\r\nContent-Length: 05\r\n", (Rest::Bytes(5), true)),
            ("transfer-encoding: chunked\r\n", (chunks, true)),
            ("transfer-encoding: gzip, Chunked\r\n", (chunks, true)),
            ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", (chunks, true)),
            ("transfer-encoding: chunked, gzip\r\n", (Rest::ToTheEnd, true)),
            ("transfer-encoding: chunked\r\ncontent-length: 3\r\n", (chunks, false)),
            ("connection: x, Close\r\ncontent-length: 5\r\n", (Rest::Bytes(5), false)),
            ("connection: close\r\nconnection: keep-alive\r\ncontent-length: 5\r\n", (Rest::Bytes(5), false)),
        ] {
            assert_eq!(rest(fields), Ok(expected), "{fields}");
        }
        for wrong in ["5, 6", "+5", "-5", "0x5", "", "5 5", "18446744073709551616", "5,"] {
            assert_eq!(rest(&format!("content-length: {wrong}\r\n")), Err(Malformed), "{wrong}");
        }
        assert_eq!(rest("content-length: 1\r\ncontent-length: 2\r\n"), Err(Malformed));
        let both = head("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n");
        assert!(!both.unwrap().unwrap().response.headers().contains_key("content-length"));
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        for status in [100, 101, 103, 204, 304] {
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
            assert_eq!(head(&text).unwrap().unwrap().rest, Rest::Nothing, "{status}");
        }
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".as_slice();
        let head = take(&mut BytesMut::from(text), 0, true).unwrap().unwrap();
        assert_eq!(
            (head.rest, &head.response.headers()["content-length"]),
            (Rest::Nothing, &"5".parse().unwrap())
        );
    }

    #[test]
    fn older_servers_close_unless_they_say_otherwise() {
        let kept = |fields: &str| {
            let text = format!("HTTP/1.0 200 OK\r\n{fields}content-length: 0\r\n\r\n");
            head(&text).map(|head| head.unwrap().is_kept)
        };
        assert_eq!(kept(""), Ok(false));
        assert_eq!(kept("connection: Keep-Alive\r\n"), Ok(true));
        assert_eq!(kept("transfer-encoding: chunked\r\n"), Err(Malformed));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for wrong in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n a: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(head(wrong).is_err(), "{wrong:?}");
        }
        assert!(head(&"a".repeat(HEAD_BYTES_MAX)).is_ok_and(|head| head.is_none()));
        assert!(head(&"a".repeat(HEAD_BYTES_MAX + 1)).is_err());
        let odd = head("HTTP/1.1 200 Fine by me\r\n\r\n").unwrap().unwrap();
        assert_eq!(odd.response.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"Fine by me");
    }

    #[test]
    fn a_request_says_its_length_once() {
        let mut fields = HeaderMap::new();
        for (name, value) in
            [("host", "a"), ("content-length", "7"), ("x", "1"), ("x", "2"), ("content-length", "7")]
        {
            fields.append(name, HeaderValue::from_static(value));
        }
        let written = |framing| {
            let mut out = Vec::new();
            let target = (&Method::PUT, &Uri::from_static("/a?b"));
            write(&mut out, target, (&fields, &Added::default()), framing);
            String::from_utf8(out).unwrap()
        };
        let begin = "PUT /a?b HTTP/1.1\r\nhost: a\r\n";
        assert_eq!(written(Framing::None), format!("{begin}x: 1\r\nx: 2\r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(
            written(Framing::Length(1_234_567_890)),
            format!("{begin}x: 1\r\nx: 2\r\ncontent-length: 1234567890\r\n\r\n")
        );
        assert_eq!(
            written(Framing::Chunked),
            format!("{begin}x: 1\r\nx: 2\r\ntransfer-encoding: chunked\r\n\r\n")
        );
        let mut out = Vec::new();
        let target = (&Method::GET, &Uri::from_static("http://a?x=1"));
        write(&mut out, target, (&HeaderMap::new(), &Added::default()), Framing::None);
        assert_eq!(out, b"GET /?x=1 HTTP/1.1\r\n\r\n");
        assert_eq!(decimal(u64::MAX, &mut [0; 20]), u64::MAX.to_string().as_bytes());
    }

    proptest! {
        /// Whatever comes, in whatever pieces: no panic, and the same as when it comes at once.
        #[test]
        fn heads_of_any_kind_are_read_or_refused(
            lines in prop::collection::vec("(HTTP/1.1 200 OK|[a-z]{1,3}: ?[ -~]{0,5}|content-length: [0-9]{1,3}|\\PC{0,6})(\r\n|\n|\r)", 0..8),
            end in "(\r\n|\n|)",
            cut in 0..200_usize,
        ) {
            let bytes = (lines.concat() + &end).into_bytes();
            let at_once = take(&mut BytesMut::from(bytes.as_slice()), 0, false);
            let cut = cut.min(bytes.len());
            let mut input = BytesMut::from(&bytes[..cut]);
            let in_pieces = match take(&mut input, 0, false) {
                Ok(None) => {
                    input.extend_from_slice(&bytes[cut..]);
                    take(&mut input, cut, false)
                }
                early => early,
            };
            let plain = |head: Result<Option<Head>, Malformed>| head.map(|head| head.map(|h| (h.rest, h.is_kept)));
            prop_assert_eq!(plain(at_once), plain(in_pieces));
        }
    }
}
