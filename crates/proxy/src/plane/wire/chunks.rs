//! A chunked body as it comes (RFC 9112 §7.1), read strictly: lines end in CRLF, sizes are hexadecimal digits and nothing
//! else. What two readers could take for two different bodies is none.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::super::HEAD_FIELDS_MAX;
use super::Malformed;

/// The longest line with a chunk's size, extensions and all. Nobody is known to send any.
const SIZE_LINE_MAX: usize = 1024;

/// The longest trailers, in bytes.
const TRAILERS_MAX: usize = 16 << 10;

/// How far a chunked body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// A line with a size is next.
    Size,
    /// So many bytes are next, and then a line's end.
    Data(u64),
    /// The line's end after a chunk is next.
    End,
    /// Trailers are next, or the empty line that is there without them.
    Trailers,
    /// All has come.
    Over,
}

/// What was found in the bytes that are here.
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The body is over.
    Over,
    /// More bytes are needed.
    More,
}

impl Chunks {
    /// Takes the next piece out of what has come.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match *self {
                Self::Size => match line(input, SIZE_LINE_MAX)? {
                    None => return Ok(Piece::More),
                    Some(line) => {
                        let size = size(&line)?;
                        *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                    }
                },
                Self::Data(_) if input.is_empty() => return Ok(Piece::More),
                Self::Data(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let left = left - n as u64;
                    *self = if left == 0 { Self::End } else { Self::Data(left) };
                    return Ok(Piece::Data(input.split_to(n).freeze()));
                }
                Self::End => match input.get(..2) {
                    None => return Ok(Piece::More),
                    Some(b"\r\n") => {
                        input.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Malformed),
                },
                Self::Trailers => return self.trailers(input),
                Self::Over => return Ok(Piece::Over),
            }
        }
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            *self = Self::Over;
            return Ok(Piece::Over);
        }
        let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else {
            return if input.len() > TRAILERS_MAX { Err(Malformed) } else { Ok(Piece::More) };
        };
        if end > TRAILERS_MAX {
            return Err(Malformed);
        }
        let bytes = input.split_to(end + 4).freeze();
        *self = Self::Over;
        let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
        let Ok(httparse::Status::Complete((n, fields))) = httparse::parse_headers(&bytes, &mut fields) else {
            return Err(Malformed);
        };
        // An empty line that ends in a bare LF has ended them before: what follows is something else.
        if n != bytes.len() {
            return Err(Malformed);
        }
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
            let value =
                HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).map_err(|_| Malformed)?;
            trailers.append(name, value);
        }
        Ok(Piece::Trailers(trailers))
    }
}

/// A whole line, without its end; `None`: it has not come whole yet.
fn line(input: &mut BytesMut, most: usize) -> Result<Option<BytesMut>, Malformed> {
    let end = memchr::memchr(b'\n', input.get(..most.min(input.len())).unwrap_or_default());
    match end {
        None if input.len() >= most => Err(Malformed),
        None => Ok(None),
        Some(end) => {
            let mut line = input.split_to(end + 1);
            if !line.ends_with(b"\r\n") {
                return Err(Malformed);
            }
            line.truncate(end - 1);
            Ok(Some(line))
        }
    }
}

/// The size in a chunk's line. Extensions, which come after a `;`, say nothing to us.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let is_clean = !line.iter().any(|byte| matches!(byte, b'\r' | 0));
    if digits.is_empty() || digits.len() > 16 || !is_clean || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body and its trailers, or that it is none; `None`: there should be more of it.
    fn read(pieces: &[&[u8]]) -> Result<Option<(Vec<u8>, HeaderMap)>, Malformed> {
        let (mut chunks, mut input) = (Chunks::Size, BytesMut::new());
        let (mut body, mut fields) = (Vec::new(), HeaderMap::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match chunks.next(&mut input)? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::Trailers(trailers) => fields = trailers,
                    Piece::Over => return Ok(Some((body, fields))),
                    Piece::More => break,
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_joined_and_trailers_read() {
        let whole = b"5;a=\"b\"\r\nhello\r\n1 \r\n!\r\nA\r\n0123456789\r\n0\r\nEtag: x\r\n\r\n";
        let (body, trailers) = read(&[whole]).unwrap().unwrap();
        assert_eq!((body.as_slice(), trailers["etag"].as_bytes()), (&b"hello!0123456789"[..], &b"x"[..]));
        assert_eq!(read(&[b"0\r\n\r\n"]).unwrap().unwrap().0, b"");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long = [b"5;".as_slice(), &[b'a'; 2000]].concat();
        let many = [b"0\r\n".as_slice(), "a: b\r\n".repeat(101).as_bytes(), b"\r\n"].concat();
        for wrong in [
            b"5\nhello\r\n0\r\n\r\n".as_slice(),
            b"zz\r\n",
            b"\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5 5\r\nhello\r\n",
            b"10000000000000000\r\n",
            b"5\r;\r\nhello",
            b"0\r\nno trailer\r\n\r\n",
            b"0\r\n\nHTTP/1.1 200 OK\r\nx: y\r\n\r\n",
            b"0\r\na: b\r\n\nJUNK\r\n\r\n",
            &long,
            &many,
        ] {
            assert!(read(&[wrong]).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    proptest! {
        /// However the bytes are cut, the body is the same.
        #[test]
        fn pieces_of_any_size_are_one_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), step in 1..9_usize,
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
            prop_assert_eq!(read(&pieces).unwrap().unwrap().0, chunks.concat());
        }

        /// Whatever comes: no panic, and never more than what came.
        #[test]
        fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((body, _))) = read(&[&bytes]) {
                prop_assert!(body.len() < bytes.len());
            }
        }
    }
}
