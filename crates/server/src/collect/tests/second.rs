//! Remote write 2.0: what its specification asks of receivers, with what is stored read back.

use hmsops_model::sample::{ResetHint, STALE_NAN_BITS};
use hmsops_model::{Histogram, Labels, Value};

use super::*;

#[derive(Clone, PartialEq, Default)]
struct Draft {
    symbols: Vec<String>,
    series: Vec<Sent>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
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

#[derive(Clone, Copy, PartialEq, prost::Message)]
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
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    zero_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    negative: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(message, repeated, tag = "11")]
    positive: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    hint: i32,
    #[prost(int64, tag = "15")]
    time: i64,
    #[prost(double, repeated, tag = "16")]
    custom: Vec<f64>,
    #[prost(int64, tag = "17")]
    start: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
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

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Said {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help: u32,
    #[prost(uint32, tag = "4")]
    unit: u32,
}

impl Draft {
    fn symbol(&mut self, text: &str) -> u32 {
        if self.symbols.is_empty() {
            self.symbols.push(String::new());
        }
        let at = self.symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            self.symbols.push(text.to_owned());
            self.symbols.len() - 1
        });
        at as u32
    }

    fn refs(&mut self, pairs: &[(&str, &str)]) -> Vec<u32> {
        pairs.iter().flat_map(|(name, value)| [*name, *value]).map(|text| self.symbol(text)).collect()
    }

    /// One more series with these labels.
    fn add(&mut self, pairs: &[(&str, &str)], sent: Sent) -> &mut Sent {
        let labels = self.refs(pairs);
        self.series.push(Sent { labels, ..sent });
        self.series.last_mut().unwrap()
    }

    /// One more series with a name, a label and floats.
    fn floats(&mut self, name: &str, samples: &[At]) -> &mut Sent {
        self.add(&[("__name__", name), ("job", "a")], Sent { samples: samples.to_vec(), ..Sent::default() })
    }

    fn histogram(&mut self, name: &str, histogram: Native) -> &mut Sent {
        let sent = Sent { histograms: vec![histogram], ..Sent::default() };
        self.add(&[("__name__", name), ("job", "a")], sent)
    }

    fn packed(&self) -> Vec<u8> {
        let message = Message { symbols: self.symbols.clone(), series: self.series.clone() };
        snap::raw::Encoder::new().compress_vec(&prost::Message::encode_to_vec(&message)).unwrap()
    }
}

const fn at(time: i64, value: f64) -> At {
    At { value: Some(value), time, start: 0 }
}

const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "2.0.0"),
    ("user-agent", "a-test/1.0"),
];

/// What the answer says is written: samples, histograms, exemplars; `None` when it says nothing.
fn written(answer: &Answer) -> Option<[u64; 3]> {
    let [samples, histograms, exemplars] = ["samples", "histograms", "exemplars"].map(|what| {
        let header = answer.headers.get(format!("x-prometheus-remote-write-{what}-written"));
        header.map(|value| value.to_str().unwrap().parse().unwrap())
    });
    Some([samples?, histograms?, exemplars?])
}

/// Sends it; answers the status and what is said to be written.
async fn sent(site: &Site, draft: &Draft) -> (u16, [u64; 3]) {
    let answer = site.post("/api/v1/write", &HEADERS, draft.packed()).await;
    let status = answer.status.as_u16();
    assert_eq!(status == 204, answer.body.is_empty(), "{answer:?}");
    assert!(status == 204 || !answer.detail().is_empty());
    (status, written(&answer).unwrap_or_else(|| panic!("{answer:?}")))
}

/// Times, starts and bits of the only series of a name.
fn floats(site: &Site, name: &str) -> Vec<(i64, i64, u64)> {
    let found = site.series(name);
    let [series] = found.as_slice() else { return Vec::new() };
    let samples = &series.samples;
    let bits = |index| match samples.value(index) {
        Value::Float(value) => value.to_bits(),
        other => panic!("{other:?}"),
    };
    (0..samples.len()).map(|index| (samples.times()[index], samples.start(index), bits(index))).collect()
}

#[tokio::test]
async fn floats_of_every_kind_are_stored_bit_by_bit_and_can_be_written_again() {
    let (site, mut draft) = (Site::new().await, Draft::default());
    let now = site.now();
    let odd = [
        0.0,
        -0.0,
        1e308,
        f64::MIN_POSITIVE / 2.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::from_bits(STALE_NAN_BITS),
    ];
    let samples: Vec<At> = (0..).zip(odd).map(|(n, value)| at(now - 100 + n, value)).collect();
    draft.floats("odd", &samples);
    draft.floats("alone", &[at(now, 1.0)]);
    for _ in 0..2 {
        assert_eq!(sent(&site, &draft).await, (204, [9, 0, 0]), "a repeat is written, too");
    }
    let found = floats(&site, "odd");
    let bits: Vec<u64> = found.iter().map(|(.., bits)| *bits).collect();
    assert_eq!(bits, odd.map(f64::to_bits));
    assert_eq!(site.series("odd")[0].labels, Labels::new([("__name__", "odd"), ("job", "a")]));
    assert_eq!(site.metrics.stats().await.duplicates, 9);
}

#[tokio::test]
async fn starts_are_kept_with_each_sample() {
    let (site, mut draft) = (Site::new().await, Draft::default());
    let now = site.now();
    let began = |time, start| At { start, ..at(time, 1.0) };
    draft.floats("c_total", &[began(now - 30, now - 90), began(now - 20, now - 25), began(now - 10, 0)]);
    draft.floats("g", &[began(now - 2, now - 2), began(now - 1, now), began(now, -1)]);
    assert_eq!(sent(&site, &draft).await, (204, [6, 0, 0]));
    let starts = |name| floats(&site, name).iter().map(|(_, start, _)| *start).collect::<Vec<_>>();
    assert_eq!(starts("c_total"), [now - 90, now - 25, 0]);
    assert_eq!(starts("g"), [0, 0, -1], "a start that is not before its sample says nothing");
}

fn exponential(time: i64) -> Native {
    Native {
        count_int: Some(12),
        sum: 18.4,
        schema: 1,
        zero_threshold: 0.001,
        zero_int: Some(2),
        positive: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 2 }],
        positive_deltas: vec![1, 1, -1, 0],
        negative: vec![Span { offset: -2, length: 2 }],
        negative_deltas: vec![2, 1],
        time,
        start: time - 1000,
        ..Native::default()
    }
}

#[tokio::test]
async fn native_histograms_are_stored_whole_with_their_starts() {
    let (site, mut draft) = (Site::new().await, Draft::default());
    let now = site.now();
    let floating = Native {
        count_int: None,
        count_float: Some(4.5),
        zero_int: None,
        zero_float: Some(0.5),
        negative: Vec::new(),
        negative_deltas: Vec::new(),
        positive_deltas: Vec::new(),
        positive_counts: vec![1.0, 1.5, 0.5, 1.0],
        hint: 3,
        ..exponential(now)
    };
    let custom = Native {
        schema: -53,
        zero_threshold: 0.0,
        zero_int: None,
        negative: Vec::new(),
        negative_deltas: Vec::new(),
        positive: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
        positive_deltas: vec![3, 2, -1],
        custom: vec![0.1, 0.5, 2.5],
        ..exponential(now)
    };
    draft.histogram("whole", exponential(now));
    draft.histogram("floating", floating);
    draft.histogram("custom", custom);
    draft.histogram("stale", Native { sum: f64::from_bits(STALE_NAN_BITS), time: now, ..Native::default() });
    for _ in 0..2 {
        assert_eq!(sent(&site, &draft).await, (204, [0, 4, 0]));
    }
    let held = |name: &str| {
        let found = site.series(name);
        assert_eq!((found.len(), found[0].samples.len()), (1, 1), "{name}");
        let Value::Histogram(histogram) = found[0].samples.value(0) else { panic!("a histogram") };
        (found[0].samples.start(0), Histogram::clone(&histogram))
    };
    let whole = Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 12.0,
        sum: 18.4,
        positive: vec![(0, 1.0), (1, 2.0), (3, 1.0), (4, 1.0)],
        negative: vec![(-2, 2.0), (-1, 3.0)],
        ..Histogram::default()
    };
    assert_eq!(held("whole"), (now - 1000, whole.clone()));
    let (_, floating) = held("floating");
    assert_eq!((floating.reset, floating.count, floating.zero_count), (ResetHint::Gauge, 4.5, 0.5));
    assert_eq!(floating.positive, [(0, 1.0), (1, 1.5), (3, 0.5), (4, 1.0)]);
    let (_, custom) = held("custom");
    assert_eq!(custom.positive, [(0, 3.0), (1, 5.0), (3, 4.0)]);
    assert_eq!(&*custom.custom, [0.1, 0.5, 2.5]);
    assert_eq!(held("stale").1.sum.to_bits(), STALE_NAN_BITS);
}

/// What is wrong with a request.
type Change = Box<dyn Fn(&mut Draft)>;

/// Each of these has a good series beside it, which must be stored whatever becomes of the other.
#[tokio::test]
async fn what_is_wrong_with_one_series_does_not_keep_the_rest() {
    let site = Site::new().await;
    let now = site.now();
    let long = "x".repeat(5000);
    let many: Vec<(String, &str)> = (0..130).map(|n| (format!("l{n:03}"), "v")).collect();
    let mut many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    many.insert(0, ("__name__", "m"));
    let labelled = |pairs: &[(&str, &str)]| -> Change {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Box::new(move |draft| {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            draft.add(&pairs, Sent { samples: vec![at(now, 1.0)], ..Sent::default() });
        })
    };
    let native = |change: fn(&mut Native)| -> Change {
        Box::new(move |draft| {
            let mut histogram = exponential(now);
            change(&mut histogram);
            draft.histogram("bad", histogram);
        })
    };
    let changed = |change: fn(&mut Sent)| -> Change {
        Box::new(move |draft| change(draft.floats("bad", &[at(now, 1.0)])))
    };
    let cases: Vec<(&str, Change)> = vec![
        ("has no name", labelled(&[("job", "a")])),
        ("has no name", labelled(&[("__name__", "")])),
        ("has no name", labelled(&[])),
        ("has the label `a` twice", labelled(&[("__name__", "m"), ("a", "1"), ("a", "2")])),
        ("has the label `a` twice", labelled(&[("__name__", "m"), ("a", "1"), ("a", "1")])),
        ("a label without a name", labelled(&[("", "x"), ("__name__", "m")])),
        ("longer than 4096 bytes", labelled(&[("__name__", "m"), ("a", &long)])),
        ("longer than 1024 bytes", labelled(&[("__name__", "m"), (&long, "a")])),
        ("more than 128 labels", labelled(&many)),
        ("3 references", changed(|sent| sent.labels.truncate(3))),
        ("refers to the symbol 77", changed(|sent| sent.labels[3] = 77)),
        ("refers to the symbol 4294967295", changed(|sent| sent.labels[0] = u32::MAX)),
        ("neither samples nor histograms", changed(|sent| sent.samples.clear())),
        ("in the future", changed(|sent| sent.samples[0].time += 86_400_000)),
        ("too old", changed(|sent| sent.samples[0].time = 1000)),
        ("too old", changed(|sent| sent.samples[0].time = i64::MIN)),
        ("in the future", changed(|sent| sent.samples[0].time = i64::MAX)),
        ("another value", changed(|sent| sent.samples.push(At { value: Some(2.0), ..sent.samples[0] }))),
        ("unknown schema", native(|h| h.schema = 9)),
        ("fewer buckets", native(|h| h.positive_deltas.truncate(2))),
        ("more buckets", native(|h| h.positive_deltas.push(1))),
        ("negative count", native(|h| h.positive_deltas[0] = -5)),
        ("overlap", native(|h| h.positive[1].offset = -1)),
        ("integer and float", native(|h| h.positive_counts = vec![1.0])),
        ("bounds of its own", native(|h| h.custom = vec![1.0])),
        ("don't ascend", native(|h| (h.schema, h.custom) = (-53, vec![1.0, 1.0]))),
        ("zero or negative buckets", native(|h| (h.schema, h.custom) = (-53, vec![1.0, 2.0]))),
    ];
    for (n, (expected, change)) in cases.into_iter().enumerate() {
        let (mut draft, good) = (Draft::default(), format!("good_{n}"));
        change(&mut draft);
        draft.floats(&good, &[at(now, 1.0)]);
        let answer = site.post("/api/v1/write", &HEADERS, draft.packed()).await;
        let said = answer.detail();
        assert!(answer.status == 400 && said.contains(expected) && said.len() < 600, "{expected}: {said}");
        let samples = if expected == "another value" { 2 } else { 1 };
        assert_eq!(written(&answer), Some([samples, 0, 0]), "{expected}");
        assert_eq!(floats(&site, &good), [(now, 0, 1.0_f64.to_bits())], "{expected}");
        // Whatever was refused is refused again, and nothing else becomes of it.
        let again = site.post("/api/v1/write", &HEADERS, draft.packed()).await;
        assert_eq!((again.status.as_u16(), written(&again)), (400, Some([samples, 0, 0])), "{expected}");
    }
    let beside = site.metrics.stats().await.series - site.series("bad").len();
    assert_eq!(beside, 27, "only the good ones");
}

/// What senders should not do, and what does no harm.
#[tokio::test]
async fn what_is_unusual_is_taken() {
    let site = Site::new().await;
    let now = site.now();
    let mut draft = Draft::default();
    let one = |n| Sent { samples: vec![at(now + n, n as f64)], ..Sent::default() };
    draft.add(&[("z", "1"), ("a", "2"), ("__name__", "unsorted")], one(0));
    draft.add(&[("__name__", "empty_value"), ("a", "")], one(0));
    draft.add(&[("__name__", "ключ.with dots"), ("größe", "漢字 🦀")], one(0));
    draft.add(&[("__name__", "__reserved"), ("__meta", "x")], one(0));
    // The same series several times, and in one floats and histograms.
    draft.floats("split", &[at(now - 2, 1.0)]);
    draft.floats("split", &[at(now - 1, 2.0)]);
    draft.floats("mixed", &[at(now - 1, 2.0)]).histograms.push(exponential(now));
    draft.floats("good", &[at(now, 1.0)]).exemplars.clear();
    assert_eq!(sent(&site, &draft).await, (204, [8, 1, 0]));
    assert_eq!(site.series("unsorted")[0].labels.get("z"), Some("1"));
    assert_eq!(site.series("empty_value")[0].labels.len(), 1);
    assert_eq!(site.series("ключ.with dots")[0].labels.get("größe"), Some("漢字 🦀"));
    assert_eq!(floats(&site, "split").len(), 2);
    assert_eq!(site.series("mixed")[0].samples.len(), 2);
    // The same by version 1.0 is the same series.
    assert_eq!(site.metrics.stats().await.series, 7);
    // Nothing at all.
    assert_eq!(sent(&site, &Draft::default()).await, (204, [0, 0, 0]));
}

#[tokio::test]
async fn what_is_said_of_metrics_is_shown() {
    let (site, mut draft) = (Site::new().await, Draft::default());
    let (now, names) = (site.now(), ["c_total", "g", "h_bucket", "h_count", "s_sum", "s", "i", "t", "u"]);
    let (help, unit) = (draft.symbol("What it is."), draft.symbol("seconds"));
    for (name, kind) in names.into_iter().zip([1, 2, 3, 3, 5, 5, 6, 7, 99]) {
        draft.floats(name, &[at(now, 1.0)]).metadata = Some(Said { kind, help, unit });
    }
    draft.histogram("native", exponential(now)).metadata = Some(Said { kind: 4, help, unit: 0 });
    draft.floats("silent", &[at(now, 1.0)]).metadata = Some(Said { kind: 0, help: 0, unit: 0 });
    draft.floats("lost", &[at(now, 1.0)]).metadata = Some(Said { kind: 1, help: 999, unit: 0 });
    assert_eq!(sent(&site, &draft).await, (204, [11, 1, 0]));
    let said = site.metrics.families().said(None, 100, 10);
    let shown: Vec<(&str, &str)> =
        said.iter().map(|(name, said)| (name.as_str(), said[0].kind.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("c_total", "counter"),
            ("g", "gauge"),
            ("h", "histogram"),
            ("i", "info"),
            ("native", "gaugehistogram"),
            ("s", "summary"),
            ("t", "stateset"),
            ("u", "unknown"),
        ]
    );
    assert_eq!((said["h"].len(), said["s"].len()), (1, 1));
    assert_eq!((&*said["g"][0].help, &*said["g"][0].unit), ("What it is.", "seconds"));
}

#[tokio::test]
async fn exemplars_are_checked_kept_and_asked_for() {
    let site = Site::new().await;
    let now = site.now();
    let mut draft = Draft::default();
    let labels = draft.refs(&[("trace_id", "0af7651916cd43dd8448eb211c80319c")]);
    let good = Example { labels, value: 0.5, time: now };
    draft.floats("a", &[at(now, 1.0)]).exemplars =
        vec![good.clone(), Example { labels: Vec::new(), ..good.clone() }];
    assert_eq!(sent(&site, &draft).await, (204, [1, 0, 2]));
    assert_eq!(sent(&site, &draft).await, (204, [1, 0, 2]), "once more is the same");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let ask = async |form_of: &str| {
        let answer = site.post("/api/v1/query_exemplars", &form, form_of.as_bytes().to_vec()).await;
        (answer.status.as_u16(), answer.json()["data"].clone())
    };
    let (status, found) = ask("query=rate(a[5m])%20%2B%20nothing").await;
    assert_eq!((status, found[0]["seriesLabels"]["__name__"].as_str()), (200, Some("a")), "{found}");
    let example = &found[0]["exemplars"][0];
    assert_eq!(
        (example["labels"]["trace_id"].as_str(), example["value"].as_str()),
        (Some("0af7651916cd43dd8448eb211c80319c"), Some("0.5"))
    );
    assert_eq!(example["timestamp"].as_f64().map(|time| (time * 1000.0).round() as i64), Some(now));
    assert_eq!(ask("query=a&start=0&end=1").await, (200, serde_json::json!([])));
    assert_eq!(ask("query=a%20%2B").await.0, 400);
    assert_eq!(ask("query=1").await, (200, serde_json::json!([])));
    let long = draft.refs(&[("trace_id", &"x".repeat(200))]);
    for bad in [
        Example { time: 0, ..good.clone() },
        Example { labels: vec![1], ..good.clone() },
        Example { labels: vec![1, 999], ..good.clone() },
        Example { labels: long, ..good },
    ] {
        draft.series[0].exemplars = vec![bad];
        assert_eq!(sent(&site, &draft).await, (400, [1, 0, 0]));
    }
}

#[tokio::test]
async fn the_form_is_told_by_the_headers_alone() {
    let (site, mut draft) = (Site::new().await, Draft::default());
    draft.floats("a", &[at(site.now(), 1.0)]);
    let body = draft.packed();
    let [proto, coding, version, _] = HEADERS;
    let post = async |headers: &[(&str, &str)]| {
        let answer = site.post("/api/v1/write", headers, body.clone()).await;
        (answer.status.as_u16(), written(&answer))
    };
    for media in [
        "application/json",
        "image/png",
        "text/plain",
        "application/x-protobuf;proto=io.prometheus.write.v3.Request",
        "application/x-protobuf;proto=",
        "application/x-protobuf;proto=prometheus.ReadRequest",
    ] {
        assert_eq!(post(&[("content-type", media), coding, version]).await, (415, None), "{media}");
    }
    for packing in ["gzip", "deflate", "zstd", "identity", "snappy, snappy"] {
        assert_eq!(post(&[proto, ("content-encoding", packing), version]).await, (415, None), "{packing}");
    }
    // As version 1.0 it is empty, by the fields that 2.0 leaves free.
    let first = ("content-type", "application/x-protobuf");
    assert_eq!(post(&[first, coding]).await, (204, Some([0, 0, 0])));
    assert!(site.series("a").is_empty());
    for media in [
        "application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"",
        "Application/X-Protobuf ; Proto=io.prometheus.write.v2.Request; charset=utf-8",
    ] {
        assert_eq!(post(&[("content-type", media), coding]).await, (204, Some([1, 0, 0])), "{media}");
    }
}

#[tokio::test]
async fn a_body_that_is_broken_stores_nothing_and_says_so() {
    let (site, mut draft) = (Site::new().await, Draft::default());
    draft.floats("a", &[at(site.now(), 1.0)]);
    let good = draft.packed();
    let mut corrupt = good.clone();
    corrupt[0] = b'0';
    draft.symbols[0] = "not empty".to_owned();
    let bodies =
        [Vec::new(), b"not snappy".to_vec(), good[..good.len() - 1].to_vec(), corrupt, draft.packed()];
    for body in bodies {
        let answer = site.post("/api/v1/write", &HEADERS, body).await;
        assert_eq!((answer.status.as_u16(), written(&answer)), (400, Some([0, 0, 0])), "{answer:?}");
    }
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 33 << 20]).unwrap();
    for body in [bomb, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], vec![0; 17 << 20]] {
        let answer = site.post("/api/v1/write", &HEADERS, body).await;
        assert_eq!((answer.status.as_u16(), written(&answer)), (413, Some([0, 0, 0])), "{answer:?}");
    }
    assert!(site.series("a").is_empty());
}

/// 5xx, so that the sender keeps it; sent again it is stored once.
#[tokio::test]
async fn a_failing_store_writes_nothing_and_is_tried_again() {
    let (site, mut draft) = (Site::new().await, Draft::default());
    draft.floats("a", &[at(site.now(), 1.0)]);
    site.faults.fail_syncs();
    let answer = site.post("/api/v1/write", &HEADERS, draft.packed()).await;
    assert_eq!((answer.status.as_u16(), written(&answer)), (503, Some([0, 0, 0])));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(site.series("a").is_empty());
}

#[tokio::test]
async fn late_samples_within_the_window_are_put_in_their_place() {
    let mut config = TowerConfig::default();
    config.metrics.out_of_order_window = hmsops_model::Millis::from_mins(5);
    let (site, mut draft) = (Site::with(config).await, Draft::default());
    let now = site.now();
    let of = |draft: &mut Draft, samples: &[At]| {
        draft.series.clear();
        draft.floats("a", samples);
    };
    of(&mut draft, &[at(now, 3.0)]);
    assert_eq!(sent(&site, &draft).await, (204, [1, 0, 0]));
    of(&mut draft, &[at(now - 299_000, 1.0), at(now - 1000, 2.0)]);
    assert_eq!(sent(&site, &draft).await, (204, [2, 0, 0]));
    assert_eq!(sent(&site, &draft).await, (204, [2, 0, 0]), "again");
    of(&mut draft, &[at(now - 1000, 2.5), at(now - 301_000, 0.0)]);
    assert_eq!(sent(&site, &draft).await, (400, [0, 0, 0]));
    let times: Vec<i64> = floats(&site, "a").iter().map(|(time, ..)| *time).collect();
    assert_eq!(times, [now - 299_000, now - 1000, now]);
    assert_eq!(site.metrics.stats().await.late, 2);
}
