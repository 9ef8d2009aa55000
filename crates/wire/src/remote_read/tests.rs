use hmsops_model::sample::{Tally, stale_nan};
use hmsops_model::{Histogram, Labels, Samples, Series, Value};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::remote_write;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Asked>,
    #[prost(int32, repeated, tag = "2")]
    forms: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(int64, tag = "1")]
    from: i64,
    #[prost(int64, tag = "2")]
    to: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Condition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Condition {
    #[prost(int32, tag = "1")]
    op: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Chunked>,
    #[prost(int64, tag = "2")]
    query: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Chunked {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Chunk {
    #[prost(int64, tag = "1")]
    from: i64,
    #[prost(int64, tag = "2")]
    to: i64,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(bytes = "vec", tag = "4")]
    bytes: Vec<u8>,
}

fn packed(request: &Request) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

fn asked(op: i32) -> Asked {
    let matchers = vec![Condition { op, name: "job".into(), value: "a.*".into() }];
    Asked { from: -5, to: 7, matchers }
}

#[test]
fn requests_are_read() {
    let ops = [MatchOp::Eq, MatchOp::Ne, MatchOp::Re, MatchOp::NotRe];
    let request = Request { queries: (0..4).map(asked).collect(), forms: vec![1, 77, 0, 1] };
    let read = decode(&packed(&request)).unwrap();
    assert_eq!(read.forms, [Form::Chunks, Form::Samples]);
    for (query, op) in read.queries.iter().zip(ops) {
        let matchers = vec![Matcher::new("job", op, "a.*")];
        assert_eq!(query, &Query { from: -5, to: 7, matchers });
    }
    let plain = decode(&packed(&Request { queries: vec![asked(0)], forms: Vec::new() })).unwrap();
    assert_eq!(plain.forms, [Form::Samples], "before there was a choice");
}

#[test]
fn requests_that_are_wrong_say_why() {
    let many = |n| Request { queries: vec![Asked::default(); n], forms: Vec::new() };
    let crowded = Asked { matchers: vec![Condition::default(); 1001], ..Asked::default() };
    for (body, expected) in [
        (packed(&Request { queries: vec![asked(4)], forms: Vec::new() }), "unknown type 4"),
        (packed(&Request { queries: vec![], forms: vec![9] }), "no form of answers that is known"),
        (packed(&many(101)), "more than 100 queries"),
        (packed(&Request { queries: vec![crowded], forms: vec![] }), "more than 1000 matchers"),
        (b"no".to_vec(), "no snappy block"),
        (vec![0xff, 0xff, 0xff, 0xff, 0x07, 0], "2147483647 bytes, at most 1048576"),
    ] {
        let error = decode(&body).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn series(samples: &[(i64, i64, Value)]) -> Series {
    let mut all = Samples::default();
    for (time, start, value) in samples {
        all.push(*time, *start, value.clone());
    }
    Series { labels: Labels::new([("__name__", "up"), ("job", "a")]), samples: all }
}

/// An answer has series as a request of remote write 1.0 has them, in a result.
#[test]
fn what_is_answered_is_what_is_held() {
    let histogram = Histogram {
        schema: -4,
        count: 7.5,
        sum: -1.25,
        zero_threshold: 0.5,
        zero_count: 1.0,
        positive: vec![(i32::MIN, 1.0), (-3, 2.0), (-2, 1.0), (9, 0.5)],
        negative: vec![(0, 1.0), (1, 1.0)],
        ..Histogram::default()
    };
    let custom = Histogram { schema: -53, custom: vec![1.0, 2.0].into(), ..Histogram::default() };
    let held = series(&[
        (-5, 0, Value::Float(-0.0)),
        (1, 0, Value::Float(stale_nan())),
        (2, 1, Value::Histogram(histogram.clone().into())),
        (3, 0, Value::Histogram(custom.clone().into())),
        (4, 0, Value::Tally(Tally::of(4.0))),
    ]);
    let answer = samples(&[Vec::new(), vec![held]]);
    assert_eq!(answer[..2], [0x0a, 0], "an empty result");
    let mut fields = Fields::new("an answer", &answer[2..]);
    let result = fields.read().unwrap().unwrap().bytes("a result").unwrap();
    let read = remote_write::decode(result).unwrap();
    let found = read.series().next().unwrap();
    assert_eq!(remote_write::labels_of(found.labels).unwrap().to_string(), "up{job=\"a\"}");
    let bits: Vec<(i64, u64)> = found.samples.iter().map(|s| (s.time, s.value.to_bits())).collect();
    assert_eq!(bits, [(-5, (-0.0_f64).to_bits()), (1, stale_nan().to_bits()), (4, 4.0_f64.to_bits())]);
    let [first, second] = found.histograms else { panic!("two histograms: {:?}", read.skipped()) };
    assert_eq!((first.time, first.start, &first.value), (2, 1, &histogram));
    assert_eq!((second.time, second.start, &second.value), (3, 0, &custom));
}

fn number(bit: &mut impl FnMut() -> u8, count: u32) -> u64 {
    (0..count).fold(0, |value, _| value << 1 | u64::from(bit()))
}

fn varint(bit: &mut impl FnMut() -> u8) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = number(bit, 8);
        value |= (byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// The other side of a chunk, from the description in the paper.
fn unpacked(bytes: &[u8]) -> Vec<(i64, u64)> {
    let count = u16::from_be_bytes([bytes[0], bytes[1]]);
    let mut at = 16;
    let mut bit = || {
        at += 1;
        bytes[(at - 1) / 8] >> (7 - (at - 1) % 8) & 1
    };
    let (mut time, mut delta, mut value, mut around) = (0_i64, 0_u64, 0_u64, (0, 0));
    let mut found = Vec::new();
    for n in 0..count {
        if n == 0 {
            let zigzag = varint(&mut bit);
            time = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            value = number(&mut bit, 64);
            found.push((time, value));
            continue;
        }
        if n == 1 {
            delta = varint(&mut bit);
        } else {
            let mut ones = 0;
            while ones < 4 && bit() == 1 {
                ones += 1;
            }
            let width = [0, 14, 17, 20, 64][ones];
            let raw = number(&mut bit, width);
            let is_negative = (1..64).contains(&width) && raw > 1 << (width - 1);
            delta = delta.wrapping_add(if is_negative { raw.wrapping_sub(1 << width) } else { raw });
        }
        time = time.wrapping_add(delta as i64);
        if bit() == 1 {
            if bit() == 1 {
                let leading = number(&mut bit, 5) as u32;
                let kept = number(&mut bit, 6) as u32;
                let kept = if kept == 0 { 64 } else { kept };
                around = (leading, 64 - leading - kept);
            }
            value ^= number(&mut bit, 64 - around.0 - around.1) << around.1;
        }
        found.push((time, value));
    }
    found
}

/// A series of a frame: the query, how many labels, samples.
type Streamed = (i64, usize, Vec<(i64, u64)>);

/// The series of a stream; and how many frames there were.
fn framed(mut bytes: &[u8]) -> (Vec<Streamed>, usize) {
    let (mut found, mut frames) = (Vec::<Streamed>::new(), 0);
    while !bytes.is_empty() {
        let length = prost::encoding::decode_varint(&mut bytes).unwrap() as usize;
        let (crc, rest) = bytes.split_at(4);
        let (body, rest) = rest.split_at(length);
        assert_eq!(crc, stream::crc32c(body).to_be_bytes());
        bytes = rest;
        frames += 1;
        let frame = Frame::decode(body).unwrap();
        for series in frame.series {
            let samples = series.chunks.iter().flat_map(|chunk| {
                let samples = unpacked(&chunk.bytes);
                assert_eq!((chunk.kind, chunk.from, chunk.to), (1, samples[0].0, samples.last().unwrap().0));
                samples
            });
            found.push((frame.query, series.labels.len(), samples.collect()));
        }
    }
    (found, frames)
}

#[test]
fn a_stream_has_frames_with_checksums() {
    // RFC 3720, appendix B.4.
    assert_eq!(stream::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(stream::crc32c(b"123456789"), 0xe306_9283);
    let one = series(&[(5, 0, Value::Float(1.5)), (6, 0, Value::Tally(Tally::of(2.5)))]);
    let (found, frames) = framed(&stream(&[vec![one.clone()], Vec::new(), vec![one.clone(), one]]).unwrap());
    let samples = vec![(5, 1.5_f64.to_bits()), (6, 2.5_f64.to_bits())];
    assert_eq!(found, [(0, 2, samples.clone()), (2, 2, samples.clone()), (2, 2, samples)]);
    assert_eq!(frames, 3);
    let histogram = series(&[(5, 0, Value::Histogram(Histogram::default().into()))]);
    assert_eq!(stream(&[vec![histogram]]), None);
    assert_eq!(stream(&[]), Some(Vec::new()));
    // More than a megabyte is several frames.
    let noise = |n: i64| Value::Float(f64::from_bits((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let large: Vec<_> = (0..200_000).map(|n| (n * 1000 + n % 7, 0, noise(n))).collect();
    let (found, frames) = framed(&stream(&[vec![series(&large)]]).unwrap());
    assert!(frames > 1 && found.len() == frames);
    let all: Vec<_> = found.into_iter().flat_map(|(.., samples)| samples).collect();
    let expected = large.iter().map(|(time, _, value)| match value {
        Value::Float(value) => (*time, value.to_bits()),
        other => panic!("{other:?}"),
    });
    assert!(all.into_iter().eq(expected));
}

proptest! {
    #[test]
    fn chunks_are_read_by_another_program(
        first in any::<i32>(),
        steps in proptest::collection::vec((prop_oneof![1..20_000_i64, Just(15_000), 1..i64::from(u32::MAX), 1..i64::MAX / 1000], any::<u64>(), 0..5_u8), 1..300),
    ) {
        let (mut time, mut value) = (i64::from(first), 1.0_f64);
        let samples: Vec<_> = steps.iter().map(|(step, bits, kind)| {
            time += step;
            value = match kind { 0 => f64::from_bits(*bits), 1 => value, _ => value + 1.0 };
            (time, 0, Value::Float(value))
        }).collect();
        let (found, _) = framed(&stream(&[vec![series(&samples)]]).unwrap());
        let expected: Vec<_> = samples.iter().map(|(time, _, value)| match value {
            Value::Float(value) => (*time, value.to_bits()),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(&found[0].2, &expected);
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = (decode(&bytes), decode_unpacked(&bytes));
    }
}
