//! Remote read: what was written comes back, in both forms.

use hmsops_wire::remote_write::{self, labels_of};

use super::*;
use crate::collect::metrics::Sample;

#[derive(Clone, PartialEq, prost::Message)]
struct Read {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    forms: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Query {
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
struct Response {
    #[prost(bytes = "vec", repeated, tag = "1")]
    results: Vec<Vec<u8>>,
}

const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-read-version", "0.1.0"),
];

fn query(op: i32, value: &str, (from, to): (i64, i64)) -> Query {
    let condition = Condition { op, name: "__name__".into(), value: value.into() };
    Query { from, to, matchers: vec![condition] }
}

async fn ask(site: &Site, queries: Vec<Query>, forms: &[i32]) -> Answer {
    let bytes = prost::Message::encode_to_vec(&Read { queries, forms: forms.to_vec() });
    let packed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
    site.post("/api/v1/read", &HEADERS, packed).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Labels as text, with times and bits.
type Held = (String, Vec<(i64, u64)>);

/// The series of each result.
fn results(answer: &Answer) -> Vec<Vec<Held>> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(header(answer, "content-type"), "application/x-protobuf");
    assert_eq!(header(answer, "content-encoding"), "snappy");
    let bytes = snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap();
    let response: Response = prost::Message::decode(bytes.as_slice()).unwrap();
    let series = |result: &Vec<u8>| {
        let read = remote_write::decode(result).unwrap();
        let one = |series: remote_write::Series<'_>| {
            let samples = series.samples.iter().map(|sample| (sample.time, sample.value.to_bits()));
            (labels_of(series.labels).unwrap().to_string(), samples.collect())
        };
        read.series().map(one).collect()
    };
    response.results.iter().map(series).collect()
}

async fn filled(site: &Site) -> i64 {
    let now = site.now();
    let sample = |name: &str, job: &str, time: i64, value: f64| Sample {
        labels: hmsops_model::Labels::new([("__name__", name), ("job", job)]),
        time,
        start: 0,
        value: hmsops_model::Value::Float(value),
    };
    let samples = (0..300).flat_map(|n| {
        let time = now - 300 + n;
        [sample("m", "b", time, n as f64), sample("m", "a", time, -(n as f64)), sample("n", "a", time, 1.0)]
    });
    let appended = site.metrics.append(super::super::Door::Own, samples.collect()).await.unwrap();
    assert_eq!(appended.stored, 900);
    now
}

#[tokio::test]
async fn what_is_held_is_read_sorted_and_within_its_time() {
    let site = Site::new().await;
    let now = filled(&site).await;
    let part = (now - 100, now - 99);
    let queries = vec![
        query(0, "m", part),
        query(2, "m|n", (now - 1, now - 1)),
        query(1, "m", part),
        query(3, "m|n", (0, i64::MAX)),
        query(0, "nothing", (0, i64::MAX)),
        query(0, "m", (i64::MIN, i64::MAX)),
    ];
    let found = results(&ask(&site, queries, &[]).await);
    let bits = |value: f64| value.to_bits();
    let a = vec![(now - 100, bits(-200.0)), (now - 99, bits(-201.0))];
    let b = vec![(now - 100, bits(200.0)), (now - 99, bits(201.0))];
    assert_eq!(found[0], [("m{job=\"a\"}".to_owned(), a), ("m{job=\"b\"}".to_owned(), b)]);
    assert_eq!(
        found[1].iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["m{job=\"a\"}", "m{job=\"b\"}", "n{job=\"a\"}"]
    );
    assert_eq!((found[2].len(), found[3].len(), found[4].len()), (1, 0, 0));
    assert_eq!(found[5].iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [300, 300]);
}

#[tokio::test]
async fn a_stream_is_sent_to_whoever_prefers_it_and_can_have_it() {
    let site = Site::new().await;
    let now = filled(&site).await;
    let all = || vec![query(0, "m", (0, i64::MAX))];
    let answer = ask(&site, all(), &[1, 0]).await;
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!((answer.status.as_u16(), header(&answer, "content-type")), (200, kind));
    assert_eq!(header(&answer, "content-encoding"), "");
    assert!(!answer.body.is_empty());
    assert_eq!(results(&ask(&site, all(), &[0, 1]).await)[0].len(), 2);
    let histogram = Sample {
        labels: hmsops_model::Labels::new([("__name__", "m"), ("job", "c")]),
        time: now,
        start: 0,
        value: hmsops_model::Value::Histogram(hmsops_model::Histogram::default().into()),
    };
    site.metrics.append(super::super::Door::Own, vec![histogram]).await.unwrap();
    assert_eq!(results(&ask(&site, all(), &[1, 0]).await)[0].len(), 3, "chunks hold no histograms");
    let answer = ask(&site, all(), &[1]).await;
    assert!(answer.status == 400 && answer.detail().contains("native histograms"), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_remote_read_is_refused_with_the_reason() {
    let site = Site::new().await;
    for (answer, status, expected) in [
        (ask(&site, vec![query(2, "(", (0, 1))], &[]).await, 400, "("),
        (ask(&site, vec![query(9, "m", (0, 1))], &[]).await, 400, "unknown type 9"),
        (ask(&site, vec![], &[7]).await, 400, "no form of answers"),
        (ask(&site, vec![query(0, "m", (0, 1)); 101], &[]).await, 400, "more than 100 queries"),
        (site.post("/api/v1/read", &HEADERS, b"no".to_vec()).await, 400, "no snappy block"),
        (site.post("/api/v1/read", &HEADERS, vec![0; 2 << 20]).await, 413, ""),
        (site.post("/api/v1/read", &[("content-encoding", "gzip")], vec![]).await, 415, "gzip"),
    ] {
        assert!(answer.status == status && answer.detail().contains(expected), "{answer:?}");
    }
    assert_eq!(results(&ask(&site, Vec::new(), &[]).await).len(), 0);
}
