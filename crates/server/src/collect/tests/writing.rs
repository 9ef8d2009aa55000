//! Remote write: requests put together by hand, as Prometheus sends them.

use hmsops_config::tower::MetricsConfig;
use hmsops_model::Value;

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Write {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Written>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Written {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<At>,
}

/// Bytes, because what comes may be no text.
#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct At {
    /// Optional, so that −0 is written.
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(int64, tag = "2")]
    time: i64,
}

fn one(labels: &[(&str, &[u8])], samples: &[(i64, f64)]) -> Written {
    let labels =
        labels.iter().map(|(name, value)| Pair { name: name.as_bytes().into(), value: value.to_vec() });
    let samples = samples.iter().map(|(time, value)| At { value: Some(*value), time: *time });
    Written { labels: labels.collect(), samples: samples.collect() }
}

fn packed(series: Vec<Written>) -> Vec<u8> {
    let bytes = prost::Message::encode_to_vec(&Write { series });
    snap::raw::Encoder::new().compress_vec(&bytes).unwrap()
}

const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

async fn write(site: &Site, series: Vec<Written>) -> Answer {
    site.post("/api/v1/write", &HEADERS, packed(series)).await
}

#[tokio::test]
async fn what_is_written_is_stored_bit_by_bit_and_can_be_written_again() {
    let site = Site::new().await;
    let now = site.now();
    let stale = hmsops_model::sample::stale_nan();
    let series = vec![
        one(&[("__name__", b"up"), ("job", b"a")], &[(now - 2, 1.0), (now - 1, -0.0), (now, stale)]),
        one(&[("__name__", b"up"), ("job", b"b")], &[(now, f64::INFINITY)]),
    ];
    for _ in 0..2 {
        let answer = write(&site, series.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0), "{answer:?}");
    }
    let found = site.series("up");
    assert_eq!(found.iter().map(|series| series.samples.len()).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(found[0].samples.times(), [now - 2, now - 1, now]);
    let bits = |at| if let Value::Float(value) = found[0].samples.value(at) { value.to_bits() } else { 0 };
    assert_eq!([bits(1), bits(2)], [(-0.0_f64).to_bits(), stale.to_bits()]);
    assert_eq!(site.metrics.stats().await.duplicates, 4);
}

/// 4xx, so that the sender goes on with what is next.
#[tokio::test]
async fn a_part_that_is_refused_is_counted_and_named_and_the_rest_is_stored() {
    let site = Site::new().await;
    let now = site.now();
    let series = vec![
        one(&[("__name__", b"good")], &[(now, 1.0)]),
        one(&[("__name__", b"\xff\xfe")], &[(now, 1.0)]),
        one(&[("__name__", b"twice"), ("a", b"1"), ("a", b"2")], &[(now, 1.0)]),
        one(&[("__name__", b"long"), ("a", &[b'x'; 1 << 20])], &[(now, 1.0)]),
        one(&[("job", b"nameless")], &[(now, 1.0)]),
        one(&[("__name__", b"ahead")], &[(now + 3_600_000, 1.0)]),
        one(&[("__name__", b"nan")], &[(now, f64::from_bits(0x7ff8_dead_beef_0001))]),
    ];
    let answer = write(&site, series.clone()).await;
    let said = answer.detail();
    assert_eq!(answer.status, 400);
    assert!(said.starts_with("2 samples are stored, 5 refused (1 in the future, 4 with labels"), "{said}");
    assert!(said.len() < 500, "{said}");
    assert_eq!((site.series("good").len(), site.series("nan").len()), (1, 1));
    // The same moment with another value, and a moment before it.
    let answer = write(&site, vec![one(&[("__name__", b"good")], &[(now, 2.0), (now - 1, 2.0)])]).await;
    assert!(answer.status == 400 && answer.detail().contains("`good`"), "{answer:?}");
}

#[tokio::test]
async fn above_the_budget_new_series_are_refused_and_known_ones_keep_flowing() {
    let config = TowerConfig {
        metrics: MetricsConfig { series_max: 2, ..MetricsConfig::default() },
        ..TowerConfig::default()
    };
    let site = Site::with(config).await;
    let now = site.now();
    let named = |name: &str, time| one(&[("__name__", name.as_bytes())], &[(time, 1.0)]);
    assert_eq!(write(&site, vec![named("a", now - 9), named("b", now - 9)]).await.status, 204);
    let answer = write(&site, vec![named("a", now), named("c", now)]).await;
    assert!(
        answer.status == 400 && answer.detail().contains("1 of new series beyond the limit"),
        "{answer:?}"
    );
    assert_eq!(site.series("a")[0].samples.len(), 2);
    let page = site.post("/hms/v1/nothing", &[], Vec::new()).await;
    assert_eq!(page.status, 404);
    let stats = site.metrics.stats().await;
    assert_eq!((stats.series, stats.series_max, stats.refused.over_budget), (2, 2, 1));
}

#[tokio::test]
async fn what_is_no_remote_write_is_refused_with_what_was_expected() {
    let site = Site::new().await;
    let good = packed(vec![one(&[("__name__", b"a")], &[(site.now(), 1.0)])]);
    let [media, coding, version] = HEADERS;
    let status = async |headers: &[(&str, &str)], body: Vec<u8>| {
        let answer = site.post("/api/v1/write", headers, body).await;
        assert!(!answer.detail().is_empty());
        answer.status.as_u16()
    };
    assert_eq!(status(&[media], good.clone()).await, 415);
    assert_eq!(status(&[coding], good.clone()).await, 415);
    assert_eq!(status(&[media, ("content-encoding", "gzip")], good.clone()).await, 415);
    let third = ("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request");
    assert_eq!(status(&[third, coding], good.clone()).await, 415);
    for body in [vec![], b"not snappy at all".to_vec(), vec![0xff; 100], good[..good.len() - 1].to_vec()] {
        assert_eq!(status(&HEADERS, body).await, 400);
    }
    let garbage = snap::raw::Encoder::new().compress_vec(b"\x0a\xff\xff\xff\xff\x0f garbage").unwrap();
    assert_eq!(status(&[media, coding, version], garbage).await, 400);
    // A bomb: 33 MiB of zeros in some kilobytes, and one that only says that it is 4 GiB.
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 33 << 20]).unwrap();
    assert_eq!(status(&HEADERS, bomb).await, 413);
    assert_eq!(status(&HEADERS, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]).await, 413);
    let first = ("content-type", "application/x-protobuf; proto=prometheus.WriteRequest");
    assert_eq!(site.post("/api/v1/write", &[first, coding], good).await.status, 204);
}

#[tokio::test]
async fn a_failing_store_is_503_so_that_the_sender_keeps_what_it_has() {
    let site = Site::new().await;
    site.faults.fail_syncs();
    let answer = write(&site, vec![one(&[("__name__", b"a")], &[(site.now(), 1.0)])]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
}

/// A sender has up to fifty requests under way, and drops what is answered with anything but 5xx.
#[tokio::test]
async fn requests_at_once_wait_for_each_other() {
    let site = Arc::new(Site::new().await);
    let (mut sends, now) = (tokio::task::JoinSet::new(), site.now());
    for n in 0..50 {
        let site = site.clone();
        sends.spawn(async move {
            let name = format!("a{n}");
            write(&site, vec![one(&[("__name__", name.as_bytes())], &[(now, 1.0)])]).await.status
        });
    }
    assert!(sends.join_all().await.iter().all(|status| *status == 204));
    assert_eq!(site.metrics.stats().await.series, 50);
}
