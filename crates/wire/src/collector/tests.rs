use hmsops_model::{Labels, Tally};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// The published definition.
const PROTO: &str = include_str!("../../../../proto/hmsops/v1/collector.proto");

fn label(name: &str, value: &str) -> Label {
    Label { name: name.into(), value: value.into() }
}

fn metric(name: &str) -> Metric {
    Metric {
        name: name.into(),
        labels: vec![label("path", "/up")],
        time_unix_ms: 1_700_000_000_123,
        sum: 4.5,
        count: 3,
        min: 0.5,
        max: 2.5,
        last: 1.5,
    }
}

fn request(metrics: Vec<Metric>) -> EmitRequest {
    EmitRequest {
        source: "3f1c".into(),
        sequence: 7,
        labels: vec![label("service", "csac-portal"), label("path", "/")],
        metrics,
        dropped: 2,
    }
}

#[test]
fn a_batch_becomes_rows() {
    let emitted = batch(&request(vec![metric("photo.upload.ok")])).unwrap();
    let labels = Labels::new([("__name__", "photo.upload.ok"), ("path", "/up"), ("service", "csac-portal")]);
    let tally = Tally { sum: 4.5, count: 3, min: 0.5, max: 2.5, last: 1.5 };
    assert_eq!(emitted.rows, [Row { labels, time: 1_700_000_000_123, tally }]);
    assert_eq!((emitted.source.as_str(), emitted.sequence, emitted.dropped), ("3f1c", 7, 2));
    assert_eq!(emitted.refused, []);
}

/// A metric that is wrong does not take the others with it.
#[test]
fn what_cant_be_stored_is_refused_alone() {
    let changed = |change: fn(&mut Metric)| {
        let mut metric = metric("m");
        change(&mut metric);
        metric
    };
    for (broken, expected) in [
        (changed(|m| m.name.clear()), "the metric has no name"),
        (changed(|m| m.name = "x".repeat(4097)), "the metric's name is longer than 4096 bytes: `xxx"),
        (changed(|m| m.count = 0), "`m` has the count 0; leave out what was not emitted"),
        (changed(|m| m.min = 3.0), "`m` has the min 3, above its max 2.5"),
        (changed(|m| m.last = 9.0), "`m` has the last value 9, outside of its min 0.5 and max 2.5"),
        (changed(|m| m.time_unix_ms = 0), "`m` has no time"),
        (changed(|m| m.labels.push(label("path", "x"))), "the label `path` is given twice"),
        (changed(|m| m.labels.push(label("", "x"))), "the label with the value `x` has no name"),
        (changed(|m| m.labels.push(label("__name__", "x"))), "`__name__` is no label of its own"),
        (changed(|m| m.labels[0].value = "x".repeat(4097)), "the value of the label `path` is longer"),
        (changed(|m| m.labels[0].name = "x".repeat(1025)), "the name of the label `xxx"),
        (
            changed(|m| m.labels = (0..127).map(|n| label(&format!("l{n}"), "1")).collect()),
            "`m` has 130 labels, at most 128 are taken",
        ),
        (
            changed(|m| m.labels = (0..129).map(|n| label(&format!("l{n}"), "1")).collect()),
            "there are 129 labels, at most 128 are taken",
        ),
    ] {
        let emitted = batch(&request(vec![metric("a"), broken, metric("b")])).unwrap();
        assert_eq!(emitted.rows.len(), 2, "{expected}");
        let [Refusal { index: 1, why }] = emitted.refused.as_slice() else { panic!("{:?}", emitted.refused) };
        assert!(why.starts_with(expected), "{why}");
    }
}

#[test]
fn a_batch_that_cant_be_told_from_another_is_refused() {
    let changed = |change: fn(&mut EmitRequest)| {
        let mut request = request(vec![metric("m")]);
        change(&mut request);
        batch(&request).unwrap_err().to_string()
    };
    for (error, expected) in [
        (changed(|r| r.source.clear()), "`source` is empty"),
        (changed(|r| r.source = "s".repeat(129)), "`source` is longer than 128 bytes"),
        (changed(|r| r.sequence = 0), "`sequence` is 0"),
        (changed(|r| r.labels.push(label("service", "x"))), "the label `service` is given twice"),
        (changed(|r| r.metrics = vec![metric("m"); 10_001]), "more than 10000 metrics"),
    ] {
        assert!(error.starts_with("the batch of metrics ") && error.contains(expected), "{error}");
    }
}

#[test]
fn nan_is_a_value() {
    let value = f64::NAN;
    let nan = Metric { sum: value, min: value, max: value, last: value, count: 1, ..metric("m") };
    let request = request(vec![nan]);
    assert!(batch(&request).unwrap().rows[0].tally.sum.is_nan());
    let json = json::encode(&request);
    assert!(String::from_utf8_lossy(&json).contains(r#""sum":"NaN""#));
    assert!(json::decode(&json).unwrap().metrics[0].last.is_nan());
}

#[test]
fn json_says_the_same_as_protobuf() {
    let text = r#"{"source": "3f1c", "sequence": 7, "labels": {"service": "csac-portal", "path": "/"}, "dropped": 2,
        "metrics": [{"name": "m", "labels": {"path": "/up"}, "time": 1700000000123, "sum": 4.5, "count": 3,
                     "min": 0.5, "max": "+Inf", "last": 1}]}"#;
    let expected = request(vec![Metric { max: f64::INFINITY, last: 1.0, ..metric("m") }]);
    assert_eq!(json::decode(text.as_bytes()).unwrap(), expected);
    assert_eq!(decode(&expected.encode_to_vec()).unwrap(), expected);
}

#[test]
fn json_that_is_wrong_says_where() {
    for (text, expected) in [
        (r#"{"source":"a","sequence":1,"metrics":[],"labls":{}}"#, "unknown field `labls`, expected one of"),
        (r#"{"sequence":1,"metrics":[]}"#, "missing field `source`"),
        (r#"{"source":"a","sequence":-1,"metrics":[]}"#, "invalid value: integer `-1`, expected u64"),
        (r#"{"source":"a","sequence":1,"metrics":[{"name":"m","value":1}]}"#, "unknown field `value`"),
        (
            r#"{"source":"a","sequence":1,"metrics":[{"name":"m","time":1,"sum":"inf"}]}"#,
            "invalid value: string \"inf\", expected a number, \"NaN\", \"+Inf\" or \"-Inf\" at line 1",
        ),
        (r#"{"source":"a","sequence":1,"labels":[],"metrics":[]}"#, "an object of label names and texts"),
        ("", "EOF"),
    ] {
        let error = json::decode(text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("the batch of metrics can't be read: ") && error.contains(expected),
            "{error}"
        );
    }
    let twice = br#"{"source":"a","sequence":1,"labels":{"x":"1","x":"2"},"metrics":[]}"#;
    let error = batch(&json::decode(twice).unwrap()).unwrap_err().to_string();
    assert!(error.contains("the label `x` is given twice"), "{error}");
}

#[test]
fn answers_survive_json() {
    let answer =
        EmitResponse { stored: 2, duplicate: true, refused: vec![Refusal { index: 1, why: "x".into() }] };
    let json = json::encode_response(&answer);
    assert_eq!(json, br#"{"stored":2,"duplicate":true,"refused":[{"index":1,"why":"x"}]}"#);
    assert_eq!(json::decode_response(&json).unwrap(), answer);
}

/// A few megabytes must not become gigabytes.
#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let many = [0x22, 0].repeat(10_001);
    assert!(decode(&many).unwrap_err().to_string().contains("more than 10000 metrics"));
    let labels = [0x1a, 0].repeat(129);
    assert!(decode(&labels).unwrap_err().to_string().contains("more than 128 labels"));
    let inner = Metric { labels: vec![Label::default(); 257], ..Metric::default() };
    let error = decode(&request(vec![inner]).encode_to_vec()).unwrap_err();
    assert!(error.to_string().contains("more than 256 labels of a metric"), "{error}");
    let long = vec![b' '; REQUEST_BYTES_MAX + 1];
    assert!(matches!(decode(&long), Err(WireError::TooLarge { .. })));
    assert!(matches!(json::decode(&long), Err(WireError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let _ = decode(&bytes);
        let mut good = request(vec![metric("a"), metric("b")]).encode_to_vec();
        let at = at.index(good.len());
        good[at] = byte;
        if let Ok(request) = decode(&good) {
            let _ = batch(&request);
        }
        let _ = decode(&good[..at]);
        let mut json = json::encode(&request(vec![metric("a")]));
        let at = at.min(json.len() - 1);
        json[at] = byte;
        let _ = json::decode(&json);
    }
}

/// `(message, field, number, type)` of each field of the published definition.
fn published() -> Vec<(String, String, u32, String)> {
    let mut message = String::new();
    let mut fields = Vec::new();
    for line in PROTO.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some(name) = line.strip_prefix("message ").and_then(|rest| rest.strip_suffix(" {")) {
            message = name.to_owned();
        } else if let Some((left, number)) = line.strip_suffix(';').and_then(|line| line.split_once(" = "))
            && let Some((kind, name)) = left.rsplit_once(' ')
            && let Ok(number) = number.parse()
        {
            fields.push((message.clone(), name.to_owned(), number, kind.to_owned()));
        }
    }
    fields
}

/// The wire type that a protobuf type has.
fn wire_type(kind: &str) -> u8 {
    match kind {
        "uint64" | "int64" | "uint32" | "bool" => 0,
        "double" => 1,
        _ => 2,
    }
}

/// Structs and published text can't drift apart: same names in the same order, same numbers, same wire types.
#[test]
fn the_published_definition_is_what_is_spoken() {
    let full = Label { name: "n".into(), value: "v".into() };
    let refusal = Refusal { index: 1, why: "w".into() };
    let response = EmitResponse { stored: 1, duplicate: true, refused: vec![refusal.clone()] };
    let spoken = [
        ("EmitRequest", request(vec![metric("m")]).encode_to_vec(), format!("{:?}", request(Vec::new()))),
        ("Label", full.encode_to_vec(), format!("{full:?}")),
        (
            "Metric",
            metric("m").encode_to_vec(),
            format!("{:?}", Metric { labels: Vec::new(), ..metric("m") }),
        ),
        (
            "EmitResponse",
            response.encode_to_vec(),
            format!("{:?}", EmitResponse { refused: Vec::new(), ..response }),
        ),
        ("Refusal", refusal.encode_to_vec(), format!("{refusal:?}")),
    ];
    let published = published();
    assert_eq!(published.len(), 20);
    for (message, bytes, debug) in spoken {
        let mut found = std::collections::BTreeMap::new();
        let mut fields = Fields::new("a message", &bytes);
        while let Some(field) = fields.read().unwrap() {
            found.insert(field.number, bytes[field.start] & 7);
        }
        let mine: Vec<_> = published.iter().filter(|(of, ..)| of == message).collect();
        let expected = mine.iter().map(|(_, _, number, kind)| (*number, wire_type(kind))).collect();
        assert_eq!(found, expected, "{message}");
        let mut rest = debug.as_str();
        for (_, name, ..) in mine {
            let (_, after) =
                rest.split_once(&format!("{name}: ")).unwrap_or_else(|| panic!("{message}.{name}"));
            rest = after;
        }
    }
}
