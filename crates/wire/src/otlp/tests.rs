use hmsops_model::sample::Value;
use prost::Message as _;

use super::message::*;
use super::*;

/// A request of one metric, as the protocol's documentation writes it.
fn request(metric: &str) -> String {
    format!(
        r#"{{"resourceMetrics": [{{"resource": {{"attributes": [
            {{"key": "service.name", "value": {{"stringValue": "portal"}}}},
            {{"key": "service.namespace", "value": {{"stringValue": "csac"}}}},
            {{"key": "service.instance.id", "value": {{"stringValue": "i-1"}}}},
            {{"key": "host.cpus", "value": {{"intValue": "8"}}}},
            {{"key": "tags", "value": {{"arrayValue": {{"values": [{{"stringValue": "a"}}, {{"boolValue": true}}]}}}}}}
        ]}}, "scopeMetrics": [{{"scope": {{"name": "x"}}, "metrics": [{metric}]}}]}}]}}"#
    )
}

fn read(metric: &str) -> Batch {
    let request = decode_json(request(metric).as_bytes()).unwrap();
    // What is written as protobuf is read as the same.
    assert_eq!(decode(&request.0.encode_to_vec()).unwrap(), request);
    translate(&request)
}

fn floats(batch: &Batch) -> Vec<(String, f64)> {
    let float = |point: &Point| match &point.said {
        Said::Value(Value::Float(value)) | Said::Growth(value) => Some((point.labels.to_string(), *value)),
        Said::Value(_) => None,
    };
    batch.points.iter().filter_map(float).collect()
}

#[test]
fn a_counter_keeps_its_name_and_says_where_it_comes_from() {
    let batch = read(
        r#"{"name": "photo.uploads", "unit": "1", "description": "uploads", "sum": {"aggregationTemporality": 2, "isMonotonic": true,
            "dataPoints": [{"asInt": "5", "timeUnixNano": "1700000000123456789", "startTimeUnixNano": 1690000000000000000,
                "attributes": [{"key": "lane", "value": {"stringValue": "fast"}}]}]}}"#,
    );
    assert_eq!(
        batch.families[0],
        Family { name: "photo.uploads".into(), kind: "counter", help: "uploads".into(), unit: "1".into() }
    );
    let point = &batch.points[0];
    assert_eq!(
        (point.time, point.start, &point.said),
        (1_700_000_000_123, 1_690_000_000_000, &Said::Value(Value::Float(5.0)))
    );
    let labels: Vec<(&str, &str)> = point.labels.iter().collect();
    let expected = [
        ("__name__", "photo.uploads"),
        ("instance", "i-1"),
        ("job", "csac/portal"),
        ("lane", "fast"),
        ("service", "portal"),
    ];
    assert_eq!(labels, expected);
    let info = &batch.points[1].labels;
    assert_eq!(
        (info.get("__name__"), info.get("host.cpus"), info.get("tags")),
        (Some("target_info"), Some("8"), Some("[\"a\",true]"))
    );
    assert_eq!(batch.refused, 0);
}

#[test]
fn every_kind_of_metric_becomes_what_prometheus_makes_of_it() {
    let sum = |temporality: u8, is_monotonic: bool| {
        let batch = read(&format!(
            r#"{{"name": "x", "sum": {{"aggregationTemporality": {temporality}, "isMonotonic": {is_monotonic}, "dataPoints": [{{"asDouble": 2.5, "timeUnixNano": "1000000"}}]}}}}"#
        ));
        (batch.families[0].kind, batch.points[0].said.clone())
    };
    assert_eq!(sum(1, true), ("counter", Said::Growth(2.5)));
    assert_eq!(sum(1, false), ("gauge", Said::Growth(2.5)));
    assert_eq!(sum(2, false), ("gauge", Said::Value(Value::Float(2.5))));
    let gone = read(r#"{"name": "x", "gauge": {"dataPoints": [{"timeUnixNano": "1000000", "flags": 1}]}}"#);
    assert!(matches!(&gone.points[0].said, Said::Value(value) if value.is_stale()));
    let histogram = read(
        r#"{"name": "h", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": "1000000", "count": "6", "sum": 9.5,
            "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 1]}]}}"#,
    );
    let found: Vec<f64> = floats(&histogram).into_iter().map(|(_, value)| value).collect();
    assert_eq!(found[..5], [1.0, 3.0, 6.0, 6.0, 9.5], "three buckets, count, sum");
    let le: Vec<Option<&str>> = histogram.points.iter().take(3).map(|point| point.labels.get("le")).collect();
    assert_eq!(le, [Some("0.5"), Some("1"), Some("+Inf")]);
    let summary = read(
        r#"{"name": "s", "summary": {"dataPoints": [{"timeUnixNano": "1000000", "count": 2, "sum": 3, "quantileValues": [{"quantile": 0.9, "value": 7}]}]}}"#,
    );
    let found: Vec<f64> = floats(&summary).into_iter().map(|(_, value)| value).collect();
    assert_eq!(found[..3], [7.0, 2.0, 3.0]);
    let native = read(
        r#"{"name": "e", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": "1000000", "count": 4, "sum": 9,
            "scale": 1, "zeroCount": 1, "positive": {"offset": -1, "bucketCounts": [1, 2]}}]}}"#,
    );
    let Said::Value(Value::Histogram(histogram)) = &native.points[0].said else { panic!("{native:?}") };
    assert_eq!(
        (histogram.schema, histogram.zero_count, &histogram.positive[..]),
        (1, 1.0, &[(0, 1.0), (1, 2.0)][..])
    );
}

/// What cannot be taken is counted with its reason, and the rest is taken.
#[test]
fn half_a_batch_that_is_wrong_leaves_the_other_half() {
    let good = r#"{"name": "x", "gauge": {"dataPoints": [{"asInt": 1, "timeUnixNano": "1000000"}]}}"#;
    for (bad, why) in [
        (r#"{"name": "", "gauge": {"dataPoints": [{"asInt": 1, "timeUnixNano": "1"}]}}"#, "has a name"),
        (r#"{"name": "y", "gauge": {"dataPoints": [{"asInt": 1}]}}"#, "when it is of"),
        (r#"{"name": "y", "gauge": {"dataPoints": [{"timeUnixNano": "1"}]}}"#, "has a value"),
        (r#"{"name": "y", "sum": {"dataPoints": [{"asInt": 1, "timeUnixNano": "1"}]}}"#, "temporality"),
        (
            r#"{"name": "y", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": "1", "bucketCounts": [1]  , "explicitBounds": [1]}]}}"#,
            "one bucket more",
        ),
        (
            r#"{"name": "y", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": "1", "bucketCounts": [1, 1, 1], "explicitBounds": [2, 1]}]}}"#,
            "ascend",
        ),
        (
            r#"{"name": "y", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [{"timeUnixNano": "1", "scale": 1}]}}"#,
            "delta",
        ),
        (
            r#"{"name": "y", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": "1", "scale": -5}]}}"#,
            "coarser",
        ),
        (
            r#"{"name": "y", "gauge": {"dataPoints": [{"asInt": 1, "timeUnixNano": "1", "attributes": [{"key": "__name__", "value": {"stringValue": "z"}}]}]}}"#,
            "`__name__`",
        ),
    ] {
        let batch = read(&format!("{bad}, {good}"));
        assert_eq!(batch.refused, 1, "{bad}");
        assert!(
            batch.refused_why.as_ref().is_some_and(|said| said.contains(why)),
            "{bad}: {:?}",
            batch.refused_why
        );
        assert_eq!(batch.points.iter().filter(|point| point.labels.get("__name__") == Some("x")).count(), 1);
    }
}

#[test]
fn what_is_no_request_is_refused() {
    for text in [
        "",
        "[]",
        "{",
        r#"{"resourceMetrics": 1}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 1}]}]}]}"#,
    ] {
        assert!(decode_json(text.as_bytes()).is_err(), "{text}");
    }
    assert!(decode(&[0xff; 20]).is_err());
    assert!(matches!(decode(&vec![0; REQUEST_BYTES_MAX + 1]), Err(WireError::TooLarge { .. })));
    let point = NumberDataPoint::default();
    let gauge = Gauge { data_points: vec![point; POINTS_MAX + 1] };
    let metric = Metric { data: Some(Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric] };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    assert!(matches!(decode(&request.encode_to_vec()), Err(WireError::TooMany { .. })));
    // Lists of lists, deeper than a thread's stack.
    let mut deep = AnyValue::default();
    for _ in 0..200 {
        deep = AnyValue { value: Some(Any::Array(ArrayValue { values: vec![deep] })) };
    }
    let attributes = vec![KeyValue { key: "a".into(), value: Some(deep) }];
    let resource = Resource { attributes };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: Some(resource), scope_metrics: Vec::new() }],
    };
    assert!(decode(&request.encode_to_vec()).is_err());
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(decode_json(deep.as_bytes()).is_err());
}
