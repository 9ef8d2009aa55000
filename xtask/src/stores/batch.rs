//! A remote write request of version 1.0, written with nothing but the standard library.
//!
//! Sources: prometheus.io/docs/specs/prw/remote_write_spec (the messages), protobuf.dev/programming-guides/encoding (their bytes),
//! github.com/google/snappy/blob/main/format_description.txt (a block of literals is a block).

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
            part.push(1 << 3 | 1);
            part.extend(value.to_le_bytes());
            part.push(2 << 3);
            varint(&mut part, time.cast_unsigned());
            bytes(&mut one, 2, &part);
        }
        bytes(&mut request, 1, &one);
    }
    block(&request)
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
    }
}
