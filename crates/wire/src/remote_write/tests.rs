use hmsops_model::sample::{ResetHint, STALE_NAN_BITS};
use hmsops_model::{Histogram, Labels};
use proptest::prelude::*;
use prost::Message;

use super::*;

/// The other side, by another implementation of protobuf: `prompb/remote.proto` and `types.proto`.
mod theirs {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) series: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(super) metadata: Vec<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(super) kind: i32,
        #[prost(string, tag = "2")]
        pub(super) family: String,
        #[prost(string, tag = "4")]
        pub(super) help: String,
        #[prost(string, tag = "5")]
        pub(super) unit: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
        #[prost(int64, tag = "3")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(super) exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "4")]
        pub(super) histograms: Vec<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub(super) count_int: Option<u64>,
        #[prost(double, tag = "3")]
        pub(super) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(super) schema: i32,
        #[prost(double, tag = "5")]
        pub(super) zero_threshold: f64,
        #[prost(uint64, optional, tag = "6")]
        pub(super) zero_count_int: Option<u64>,
        #[prost(message, repeated, tag = "11")]
        pub(super) positive_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "12")]
        pub(super) positive_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "13")]
        pub(super) positive_counts: Vec<f64>,
        #[prost(int32, tag = "14")]
        pub(super) reset_hint: i32,
        #[prost(int64, tag = "15")]
        pub(super) timestamp: i64,
        #[prost(double, repeated, tag = "16")]
        pub(super) custom_values: Vec<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }
}

mod second;

use theirs::{Label, Span, TimeSeries};

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }).collect()
}

fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let samples =
        samples.iter().map(|(timestamp, value)| theirs::Sample { value: *value, timestamp: *timestamp });
    TimeSeries { labels: labels(pairs), samples: samples.collect(), ..TimeSeries::default() }
}

fn encoded(series: Vec<TimeSeries>) -> Vec<u8> {
    let metadata = theirs::Metadata { kind: 1, family: "x".into(), help: "y".into(), unit: "s".into() };
    theirs::WriteRequest { series, metadata: vec![metadata] }.encode_to_vec()
}

#[test]
fn a_request_is_read_bit_by_bit() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let mut first = series(&[("__name__", "up"), ("job", "a")], &[(1_700_000_000_000, 1.0), (-5, stale)]);
    first.exemplars = ["x", &*"x".repeat(200)]
        .map(|id| theirs::Exemplar { labels: labels(&[("trace_id", id)]), value: 0.5, timestamp: 7 })
        .into();
    let bytes = encoded(vec![first, series(&[("job", "b"), ("__name__", "up")], &[(0, 0.1)])]);
    let packed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
    let bytes = unpack(&packed).unwrap();
    let request = decode(&bytes).unwrap();
    let all: Vec<_> = request.series().collect();
    assert_eq!(labels_of(all[0].labels).unwrap(), Labels::new([("__name__", "up"), ("job", "a")]));
    assert_eq!(labels_of(all[1].labels).unwrap(), Labels::new([("__name__", "up"), ("job", "b")]));
    let bits = |series: &Series<'_>| -> Vec<(i64, u64)> {
        series.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect()
    };
    assert_eq!(bits(&all[0]), [(1_700_000_000_000, 1.0_f64.to_bits()), (-5, STALE_NAN_BITS)]);
    assert_eq!(bits(&all[1]), [(0, 0.1_f64.to_bits())]);
    assert_eq!((request.samples(), request.histograms()), (3, 0));
    assert_eq!(request.skipped(), &Skipped { exemplars: 1, ..Skipped::default() }, "128 characters at most");
    let exemplar = Exemplar { series: 0, labels: Labels::new([("trace_id", "x")]), time: 7, value: 0.5 };
    assert_eq!(request.exemplars(), [exemplar]);
    assert_eq!(request.metadata(), [Metadata { family: "x", kind: "counter", help: "y", unit: "s" }]);
}

/// The store's key is the sender's own bytes; only labels that are torn apart are copied together.
#[test]
fn labels_are_one_piece_of_the_request() {
    let one = series(&[("__name__", "up"), ("job", "a")], &[(1, 1.0)]);
    let bytes = encoded(vec![one.clone()]);
    let request = decode(&bytes).unwrap();
    let mine = request.series().next().unwrap().labels;
    assert!(bytes.as_ptr_range().contains(&mine.as_ptr()));
    let only_labels = TimeSeries { samples: Vec::new(), ..one.clone() }.encode_to_vec();
    assert_eq!(mine, only_labels);
    // A long label is no reason to copy.
    let long = "v".repeat(200);
    let pairs = [("__name__", "up"), ("a", &*long), ("b", "1")];
    let bytes = encoded(vec![series(&pairs, &[(1, 1.0)])]);
    let request = decode(&bytes).unwrap();
    let mine = request.series().next().unwrap().labels;
    assert!(bytes.as_ptr_range().contains(&mine.as_ptr()));
    assert_eq!(labels_of(mine).unwrap(), Labels::new(pairs));
    // name, sample, job: as two messages of the same series run together.
    let torn = [
        TimeSeries { labels: one.labels[..1].to_vec(), ..one.clone() }.encode_to_vec(),
        TimeSeries { labels: one.labels[1..].to_vec(), ..one.clone() }.encode_to_vec(),
    ]
    .concat();
    let bytes = [vec![0x0a, torn.len() as u8], torn].concat();
    let request = decode(&bytes).unwrap();
    let torn = request.series().next().unwrap();
    assert_eq!((torn.labels, torn.samples.len()), (only_labels.as_slice(), 2));
}

#[test]
fn labels_that_are_wrong_are_named() {
    let long_value = "v".repeat(4097);
    let many: Vec<(String, String)> = (0..129).map(|n| (format!("l{n}"), "v".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (pairs, expected) in [
        (&[("__name__", "up"), ("a", "1"), ("a", "2")][..], "the series has the label `a` twice"),
        (&[("a", "1")], "the series has no name: the label `__name__` is missing"),
        (&[("__name__", "")], "the series has no name: the label `__name__` is missing"),
        (&[], "the series has no name: the label `__name__` is missing"),
        (&[("__name__", "up"), ("", "1")], "the series has a label without a name"),
        (&[("a", &long_value)], "the value of the series' label `a` is longer than 4096 bytes"),
        (&[(&long_value, "a")], "the series has a label whose name is longer than 1024 bytes"),
        (&many, "the series has more than 128 labels"),
    ] {
        assert_eq!(labels_of(&series(pairs, &[]).encode_to_vec()).unwrap_err(), expected);
    }
    let mut bytes = series(&[("__name__", "up")], &[]).encode_to_vec();
    *bytes.last_mut().unwrap() = 0xff;
    let error = labels_of(&bytes).unwrap_err();
    assert_eq!(error, "a series' labels can't be read at byte 15: the value of a label is no valid UTF-8");
    let empty = labels_of(&series(&[("__name__", "up"), ("a", "")], &[]).encode_to_vec()).unwrap();
    assert_eq!(empty, Labels::new([("__name__", "up")]));
}

#[test]
fn a_request_that_is_broken_is_refused_whole() {
    for (bytes, expected) in [
        (&[0x0a, 5, 0][..], "at byte 2: 5 bytes are announced and 1 are left"),
        (&[0x08, 1], "at byte 1: a series is a varint, expected bytes"),
        (&[0x0a, 2, 0x08, 1], "at byte 3: a label is a varint, expected bytes"),
        (&[0x0a, 4, 0x12, 2, 0x08, 1], "at byte 5: the value of a sample is a varint, expected a double"),
        (&[0x0a, 4, 0x12, 2, 0x10, 0x80], "at byte 5: the message ends in a number"),
        (&[0x0a, 1, 0x0b], "at byte 2: field 1 has the wire type 3"),
    ] {
        let error = decode(bytes).unwrap_err().to_string();
        assert!(
            error.starts_with("the remote write request can't be read ") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    // 2 GB announced in five bytes.
    let error = unpack(&[0xff, 0xff, 0xff, 0xff, 0x07, 0]).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { size: 0x7fff_ffff, .. }), "{error}");
    for body in [&[][..], b"hello", &[0x80]] {
        let error = unpack(body).unwrap_err().to_string();
        assert!(error.contains("it is no snappy block"), "{error}");
    }
    let error = decode(&[0x0a, 0].repeat(SERIES_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("more than 500000 series"), "{error}");
    let samples = [0x12, 0].repeat(SAMPLES_MAX + 1);
    let mut head = vec![0x0a];
    prost::encoding::encode_varint(samples.len() as u64, &mut head);
    let error = decode(&[head, samples].concat()).unwrap_err().to_string();
    assert!(error.contains("more than 2000000 samples"), "{error}");
}

fn histogram() -> theirs::Histogram {
    theirs::Histogram {
        count_int: Some(10),
        sum: 12.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count_int: Some(2),
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 1, length: 1 }],
        positive_deltas: vec![3, -1, 1],
        reset_hint: 2,
        timestamp: 77,
        ..theirs::Histogram::default()
    }
}

fn decoded(histogram: theirs::Histogram) -> Result<(i64, Histogram), String> {
    let mut series = series(&[("__name__", "h")], &[]);
    series.histograms.push(histogram);
    let bytes = encoded(vec![series]);
    let request = decode(&bytes).unwrap();
    let skipped = request.skipped();
    assert_eq!(skipped.histograms == 1, skipped.why.is_some());
    skipped.why.clone().map_or_else(
        || {
            let read = &request.series().next().unwrap().histograms[0];
            Ok((read.time, read.value.clone()))
        },
        Err,
    )
}

#[test]
fn native_histograms_are_read() {
    let expected = Histogram {
        reset: ResetHint::NotReset,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 10.0,
        sum: 12.5,
        positive: vec![(-2, 3.0), (-1, 2.0), (1, 3.0)],
        ..Histogram::default()
    };
    assert_eq!(decoded(histogram()), Ok((77, expected)));
    let custom = theirs::Histogram {
        schema: -53,
        zero_count_int: None,
        zero_threshold: 0.0,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_deltas: Vec::new(),
        positive_counts: vec![1.0, 2.0, 0.5],
        custom_values: vec![0.1, 5.0],
        ..histogram()
    };
    let (_, read) = decoded(custom).unwrap();
    assert_eq!(read.positive, [(0, 1.0), (1, 2.0), (2, 0.5)]);
    assert_eq!(&*read.custom, [0.1, 5.0]);
}

#[test]
fn histograms_that_make_no_sense_are_skipped_and_counted() {
    let changed = |change: fn(&mut theirs::Histogram)| {
        let mut histogram = histogram();
        change(&mut histogram);
        decoded(histogram).unwrap_err()
    };
    for (why, expected) in [
        (changed(|h| h.schema = 9), "a histogram has the unknown schema 9"),
        (changed(|h| h.positive_deltas = vec![1]), "a histogram has fewer buckets than its spans say"),
        (changed(|h| h.positive_deltas.push(1)), "a histogram has more buckets than its spans say"),
        (changed(|h| h.positive_deltas[0] = -3), "a histogram has a negative count"),
        (changed(|h| h.positive_spans[1].offset = -1), "a histogram has spans that overlap"),
        (changed(|h| h.positive_counts = vec![1.0]), "a histogram has integer and float buckets"),
        (changed(|h| h.custom_values = vec![1.0]), "a histogram of schema 1 has bounds of its own"),
        (
            changed(|h| h.positive_spans = vec![Span { offset: i32::MAX, length: 3 }]),
            "a histogram has a bucket index beyond 32 bits",
        ),
        (
            changed(|h| h.positive_spans[0].length = u32::MAX),
            "a histogram has fewer buckets than its spans say",
        ),
    ] {
        assert_eq!(why, expected);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        times in proptest::collection::vec((any::<i64>(), any::<u64>()), 0..20),
        names in proptest::collection::btree_map("\\PC{1,8}", "\\PC{1,8}", 0..8),
    ) {
        let mut pairs: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.push(("__name__", "m"));
        let samples: Vec<(i64, f64)> = times.iter().map(|(time, bits)| (*time, f64::from_bits(*bits))).collect();
        let bytes = encoded(vec![series(&pairs, &samples)]);
        let request = decode(&bytes).unwrap();
        let one = request.series().next().unwrap();
        prop_assert_eq!(labels_of(one.labels).unwrap(), Labels::new(pairs));
        let read: Vec<(i64, u64)> = one.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect();
        prop_assert_eq!(read, times);
    }

    #[test]
    fn bytes_from_outside_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut with_histogram = series(&[("__name__", "up"), ("job", "a")], &[(1, 1.0), (2, 2.0)]);
        with_histogram.histograms.push(histogram());
        let mut good = encoded(vec![with_histogram]);
        for (at, byte) in &changes {
            let at = at.index(good.len());
            good[at] = *byte;
        }
        for bytes in [&bytes, &good, &good[..changes[0].0.index(good.len())]] {
            let _ = unpack(bytes);
            let _ = labels_of(bytes);
            for request in [decode(bytes), decode_v2(bytes)].into_iter().flatten() {
                for series in request.series() {
                    let _ = labels_of(series.labels);
                }
            }
        }
    }
}
