//! Version 2.0, by another implementation of protobuf: `io/prometheus/write/v2/types.proto`.

use hmsops_model::Labels;
use hmsops_model::sample::STALE_NAN_BITS;
use proptest::prelude::*;
use prost::Message;

use super::super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    /// Bytes, because what comes may be no text.
    #[prost(bytes = "vec", repeated, tag = "4")]
    symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<Sent>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sent {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<At>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Native>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<Example>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Said>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct At {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(int64, tag = "2")]
    time: i64,
    #[prost(int64, tag = "3")]
    start: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Native {
    #[prost(double, tag = "2")]
    count: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, repeated, tag = "13")]
    counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    spans: Vec<super::Span>,
    #[prost(int64, tag = "15")]
    time: i64,
    #[prost(double, repeated, tag = "16")]
    custom: Vec<f64>,
    #[prost(int64, tag = "17")]
    start: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Example {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    time: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Said {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help: u32,
    #[prost(uint32, tag = "4")]
    unit: u32,
}

const SYMBOLS: [&str; 9] =
    ["", "__name__", "up", "job", "a", "Whether it is up.", "seconds", "trace_id", "up_sum"];

fn request(series: Vec<Sent>) -> Request {
    Request { symbols: SYMBOLS.map(|symbol| symbol.as_bytes().to_vec()).into(), series }
}

fn at(time: i64, value: f64, start: i64) -> At {
    At { value: Some(value), time, start }
}

fn up(samples: Vec<At>) -> Sent {
    Sent { labels: vec![1, 2, 3, 4], samples, ..Sent::default() }
}

/// The request has one series that cannot be told and a good one; answers what is wrong with the first.
fn fault(symbols: Vec<Vec<u8>>, labels: Vec<u32>) -> String {
    let bad = Sent { labels, ..up(vec![at(1, 1.0, 0), at(2, 2.0, 0)]) };
    let bytes = Request { symbols, ..request(vec![bad, up(vec![at(3, 3.0, 0)])]) }.encode_to_vec();
    let request = decode_v2(&bytes).unwrap();
    let held: Vec<_> = request.series().map(|series| series.samples.to_vec()).collect();
    assert_eq!(held, [[Sample { time: 3, start: 0, value: 3.0 }]], "the good one stays");
    assert_eq!(request.skipped().of_series, 2);
    request.skipped().why.clone().unwrap()
}

#[test]
fn a_request_is_read_bit_by_bit() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let exemplar = Example { labels: vec![7, 4], value: 0.25, time: 9 };
    let first = Sent {
        exemplars: vec![
            exemplar.clone(),
            Example { time: 0, ..exemplar.clone() },
            Example { labels: vec![99, 4], ..exemplar },
        ],
        metadata: Some(Said { kind: 2, help: 5, unit: 6 }),
        ..up(vec![at(10, -0.0, 5), at(20, stale, 5), at(30, 1.0, 40)])
    };
    let bytes = request(vec![first.clone(), first]).encode_to_vec();
    let packed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
    let bytes = unpack(&packed).unwrap();
    let request = decode_v2(&bytes).unwrap();
    let all: Vec<_> = request.series().collect();
    assert_eq!(labels_of(all[0].labels).unwrap(), Labels::new([("__name__", "up"), ("job", "a")]));
    assert_eq!(all[0].labels, all[1].labels);
    let bits: Vec<_> = all[0].samples.iter().map(|s| (s.time, s.start, s.value.to_bits())).collect();
    assert_eq!(bits[..2], [(10, 5, (-0.0_f64).to_bits()), (20, 5, STALE_NAN_BITS)]);
    assert_eq!(bits[2].1, 0, "a start after its sample says nothing");
    let labels = Labels::new([("trace_id", "a")]);
    let places: Vec<_> = request.exemplars().iter().map(|e| (e.series, e.time, e.value)).collect();
    assert_eq!(places, [(0, 9, 0.25), (1, 9, 0.25)]);
    assert_eq!(request.exemplars()[0].labels, labels);
    assert_eq!(request.skipped(), &Skipped { exemplars: 4, ..Skipped::default() });
    let said = Metadata { family: "up", kind: "gauge", help: "Whether it is up.", unit: "seconds" };
    assert_eq!(request.metadata(), [said], "once, however often it is sent");
}

/// Both versions name a series by the same bytes, so that a store looks up one key for both.
#[test]
fn labels_have_the_form_of_version_1() {
    let bytes = request(vec![up(vec![at(1, 1.0, 0)])]).encode_to_vec();
    let second = decode_v2(&bytes).unwrap();
    let bytes = super::encoded(vec![super::series(&[("__name__", "up"), ("job", "a")], &[(1, 1.0)])]);
    let first = decode(&bytes).unwrap();
    assert_eq!(first.series().next(), second.series().next());
    // Lengths of more than one byte.
    let symbols = ["", "__name__", "n", &*"l".repeat(300), &*"v".repeat(20_000)];
    let sent = Sent { labels: vec![1, 2, 3, 4], samples: vec![at(1, 1.0, 0)], ..Sent::default() };
    let sent = Request { symbols: symbols.map(|s| s.as_bytes().to_vec()).into(), series: vec![sent] };
    let bytes = sent.encode_to_vec();
    let second = decode_v2(&bytes).unwrap();
    let pairs = [("__name__", "n"), (symbols[3], symbols[4])];
    let bytes = super::encoded(vec![super::series(&pairs, &[(1, 1.0)])]);
    assert_eq!(decode(&bytes).unwrap().series().next(), second.series().next());
}

#[test]
fn native_and_custom_histograms_have_starts() {
    let spans = vec![super::Span { offset: 0, length: 2 }];
    let native =
        Native { count: 3.0, counts: vec![1.0, 2.0], spans, time: 100, start: 50, ..Native::default() };
    let custom = Native { schema: -53, custom: vec![0.5], ..native.clone() };
    let bad = Native { schema: 77, ..native.clone() };
    let sent = Sent {
        labels: vec![1, 8],
        histograms: vec![native, bad, custom],
        metadata: Some(Said { kind: 5, help: 0, unit: 0 }),
        ..Sent::default()
    };
    let bytes = request(vec![sent]).encode_to_vec();
    let request = decode_v2(&bytes).unwrap();
    let series = request.series().next().unwrap();
    assert_eq!(series.histograms.len(), 2);
    for (held, custom) in series.histograms.iter().zip([&[][..], &[0.5]]) {
        assert_eq!((held.time, held.start, &*held.value.custom), (100, 50, custom));
        assert_eq!(held.value.positive, [(0, 1.0), (1, 2.0)]);
    }
    assert_eq!(request.skipped().why.as_deref(), Some("a histogram has the unknown schema 77"));
    assert_eq!((request.metadata()[0].family, request.metadata()[0].kind), ("up", "summary"));
}

#[test]
fn series_that_cannot_be_told_are_left_out_and_named() {
    let symbols: Vec<Vec<u8>> = SYMBOLS.map(|symbol| symbol.as_bytes().to_vec()).into();
    for (labels, expected) in [
        (vec![1, 2, 3], "a series has 3 references for its labels, expected pairs"),
        (vec![1, 99], "a series refers to the symbol 99, and there are 9"),
        (vec![1, u32::MAX], "a series refers to the symbol 4294967295, and there are 9"),
        ([1, 2].repeat(200), "a series has more than 128 labels"),
    ] {
        assert_eq!(fault(symbols.clone(), labels), expected);
    }
    let long = [symbols, vec![vec![b'x'; 40_000]]].concat();
    assert_eq!(fault(long, vec![1, 9, 3, 9]), "the labels of a series have more than 65536 bytes");
    let bytes = request(vec![up(Vec::new())]).encode_to_vec();
    let empty = decode_v2(&bytes).unwrap();
    assert_eq!(empty.series().len(), 0);
    let why = "a series has neither samples nor histograms";
    assert_eq!((empty.skipped().of_series, empty.skipped().why.as_deref()), (1, Some(why)));
}

#[test]
fn what_breaks_the_form_is_refused_whole() {
    let mut bad = request(vec![up(vec![at(1, 1.0, 0)])]);
    bad.symbols[0] = b"x".to_vec();
    let error = decode_v2(&bad.encode_to_vec()).unwrap_err().to_string();
    assert!(error.ends_with("at byte 2: the first symbol is not empty"), "{error}");
    for (bytes, expected) in [
        (&[0x2a, 5, 0][..], "at byte 2: 5 bytes are announced and 1 are left"),
        (&[0x28, 1], "at byte 1: a series is a varint, expected bytes"),
        (&[0x20, 1], "at byte 1: a symbol is a varint, expected bytes"),
        (&[0x2a, 2, 0x12, 9], "at byte 4: 9 bytes are announced and 0 are left"),
    ] {
        let error = decode_v2(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // A request of the other version holds nothing here.
    let bytes = super::encoded(vec![super::series(&[("__name__", "up")], &[(1, 1.0)])]);
    assert_eq!(decode_v2(&bytes).unwrap().series().len(), 0);
}

/// Some kilobytes could stand for terabytes.
#[test]
fn what_references_make_is_bounded() {
    let mut bomb = request(vec![up(vec![at(1, 1.0, 0)]); 10_000]);
    bomb.symbols.push(vec![b'x'; 30_000]);
    bomb.series.iter_mut().for_each(|series| series.labels = vec![1, 9, 3, 9]);
    let error = decode_v2(&bomb.encode_to_vec()).unwrap_err().to_string();
    assert!(error.contains("more than 134217728 bytes of labels"), "{error}");
    let error = decode_v2(&[0x22, 0].repeat(SYMBOLS_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("more than 2000000 symbols"), "{error}");
    let error = decode_v2(&[0x2a, 2, 0x12, 0].repeat(SERIES_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("more than 500000 series"), "{error}");
}

proptest! {
    /// Whatever is not a label set is left out; the rest is there in order.
    #[test]
    fn references_are_followed(
        symbols in proptest::collection::vec("\\PC{0,6}", 1..12),
        series in proptest::collection::vec(proptest::collection::vec(0_u32..14, 0..9), 0..8),
        packed in any::<bool>(),
    ) {
        let symbols: Vec<Vec<u8>> =
            std::iter::once(Vec::new()).chain(symbols.into_iter().map(String::into_bytes)).collect();
        let is_good = |refs: &Vec<u32>| {
            refs.len().is_multiple_of(2) && refs.iter().all(|reference| (*reference as usize) < symbols.len())
        };
        let sent = series.iter().map(|labels| Sent { labels: labels.clone(), ..up(vec![at(1, 1.0, 0)]) });
        let mut bytes = Request { symbols: symbols.clone(), series: sent.collect() }.encode_to_vec();
        if !packed {
            bytes = Request { symbols: symbols.clone(), series: Vec::new() }.encode_to_vec();
            for labels in &series {
                let refs: Vec<u8> = labels.iter().flat_map(|reference| [0x08, *reference as u8]).collect();
                let body = [refs, up(vec![at(1, 1.0, 0)]).samples[0].encode_to_vec()].concat();
                let at = body.len() - 11;
                let body = [&body[..at], &[0x12, 11], &body[at..]].concat();
                bytes.extend([&[0x2a, body.len() as u8][..], &body].concat());
            }
        }
        let request = decode_v2(&bytes).unwrap();
        let good: Vec<_> = series.iter().filter(|refs| is_good(refs)).collect();
        prop_assert_eq!(request.series().len(), good.len());
        prop_assert_eq!(request.skipped().of_series as usize, series.len() - good.len());
        for (held, refs) in request.series().zip(good) {
            let pairs: Vec<_> = refs.chunks(2).map(|pair| (&symbols[pair[0] as usize], &symbols[pair[1] as usize])).collect();
            let expected = super::super::labels::pairs_of(held.labels);
            if let Ok(mut found) = expected {
                let mut pairs: Vec<_> = pairs.iter().map(|(n, v)| (std::str::from_utf8(n).unwrap(), std::str::from_utf8(v).unwrap())).collect();
                pairs.sort_unstable();
                found.sort_unstable();
                prop_assert_eq!(found, pairs);
            }
        }
    }
}
