//! Remote write requests, written with nothing but the standard library.
//!
//! Sources: prometheus.io/docs/specs/prw/remote_write_spec (the messages), protobuf.dev/programming-guides/encoding (their bytes),
//! github.com/google/snappy/blob/main/format_description.txt (a block of literals is a block).

use std::collections::HashMap;

/// A series with the samples that go together.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Names and values, sorted by name.
    pub(crate) labels: Vec<(String, String)>,
    /// Unix milliseconds and values, in the order of time.
    pub(crate) samples: Vec<(i64, f64)>,
}

/// The request's body: a `WriteRequest` in the block format of snappy.
pub(crate) fn body<'a>(
    series: impl IntoIterator<Item = (&'a [(String, String)], &'a [(i64, f64)])>,
) -> Vec<u8> {
    let (mut request, mut one, mut part) = (Vec::new(), Vec::new(), Vec::new());
    for (labels, samples) in series {
        one.clear();
        for (name, value) in labels {
            part.clear();
            bytes(&mut part, 1, name.as_bytes());
            bytes(&mut part, 2, value.as_bytes());
            bytes(&mut one, 1, &part);
        }
        for (time, value) in samples {
            part.clear();
            sample(&mut part, *time, *value);
            bytes(&mut one, 2, &part);
        }
        bytes(&mut request, 1, &one);
    }
    block(&request)
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `prometheus.WriteRequest`
    One,
    /// `io.prometheus.write.v2.Request`
    Two,
}

impl Version {
    /// As people write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "1.0",
            Self::Two => "2.0",
        }
    }

    /// The header lines that say it.
    pub(crate) const fn head(self) -> &'static str {
        match self {
            Self::One => {
                "Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n"
            }
            Self::Two => {
                "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
                 X-Prometheus-Remote-Write-Version: 2.0.0\r\n"
            }
        }
    }

    /// A request's body in this version.
    pub(crate) fn body<'a>(
        self,
        series: impl IntoIterator<Item = (&'a [(String, String)], &'a [(i64, f64)])>,
    ) -> Vec<u8> {
        match self {
            Self::One => body(series),
            Self::Two => symbolic(series),
        }
    }
}

/// The body of version 2.0: each text once, and references.
fn symbolic<'a>(series: impl IntoIterator<Item = (&'a [(String, String)], &'a [(i64, f64)])>) -> Vec<u8> {
    let (mut symbols, mut known) = (vec![""], HashMap::from([("", 0)]));
    let (mut all, mut one, mut part) = (Vec::new(), Vec::new(), Vec::new());
    for (labels, samples) in series {
        one.clear();
        part.clear();
        for text in labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]) {
            let reference = *known.entry(text).or_insert_with(|| {
                symbols.push(text);
                symbols.len() as u64 - 1
            });
            varint(&mut part, reference);
        }
        bytes(&mut one, 1, &part);
        for (time, value) in samples {
            part.clear();
            sample(&mut part, *time, *value);
            bytes(&mut one, 2, &part);
        }
        bytes(&mut all, 5, &one);
    }
    let mut request = Vec::with_capacity(all.len());
    for symbol in symbols {
        bytes(&mut request, 4, symbol.as_bytes());
    }
    request.extend(all);
    block(&request)
}

/// Both versions have the same.
fn sample(out: &mut Vec<u8>, time: i64, value: f64) {
    out.push(1 << 3 | 1);
    out.extend(value.to_le_bytes());
    out.push(2 << 3);
    varint(out, time.cast_unsigned());
}

/// A field of bytes.
fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A block of literals, each with a length of two bytes.
fn block(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + plain.len() / 0x4000 + 16);
    varint(&mut out, plain.len() as u64);
    for literal in plain.chunks(0x1_0000) {
        out.push(61 << 2);
        out.extend(((literal.len() - 1) as u16).to_le_bytes());
        out.extend_from_slice(literal);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_that_the_formats_ask_for() {
        let labels = [("__name__".to_owned(), "up".to_owned())];
        let body = body([(&labels[..], &[(300_i64, 1.0)][..])]);
        let series = [
            &[10, 14, 10, 8][..],
            b"__name__",
            &[18, 2],
            b"up",
            &[18, 12, 9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16, 0xac, 2],
        ];
        let series = series.concat();
        let mut expected =
            vec![series.len() as u8 + 2, 61 << 2, series.len() as u8 + 1, 0, 10, series.len() as u8];
        expected.extend(series);
        assert_eq!(body, expected);
        let body = Version::Two.body([(&labels[..], &[(300_i64, 1.0)][..])]);
        let symbols = [&[34, 0, 34, 8][..], b"__name__", &[34, 2], b"up"].concat();
        let series =
            [&[42, 18, 10, 2, 1, 2, 18, 12, 9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16, 0xac, 2][..]].concat();
        let plain = [symbols, series].concat();
        assert_eq!(body[..2], [plain.len() as u8, 61 << 2]);
        assert_eq!(body[4..], plain);
    }
}
