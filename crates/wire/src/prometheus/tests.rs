use std::sync::Arc;

use hmsops_model::sample::CUSTOM_SCHEMA;
use hmsops_model::{Samples, Tally};

use super::*;

fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).unwrap();
    let value: Result<serde_json::Value, _> = serde_json::from_str(&text);
    assert!(value.is_ok(), "{text}");
    text
}

fn up() -> Labels {
    Labels::new([("__name__", "up"), ("path", "C:\\\"é\"\n")])
}

/// The text that follows `"resultType":`.
fn result(data: Data<'_>) -> String {
    let text = text(query(data, Notes::default()));
    let rest = text.strip_prefix(r#"{"status":"success","data":{"resultType":"#).unwrap();
    rest.strip_suffix("}}").unwrap().to_owned()
}

#[test]
fn numbers_and_times_are_spelled_as_by_prometheus() {
    for (value, expected) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (-123_456_789.5, "-123456789.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-2.5e300, "-2.5e+300"),
        (1e-6, "0.000001"),
        (9.5e-7, "9.5e-07"),
        (5e-324, "5e-324"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(result(Data::Scalar(0, value)), format!(r#""scalar","result":[0,"{expected}"]"#));
    }
    for (time, expected) in [
        (1_435_781_451_781, "1435781451.781"),
        (1_000, "1"),
        (1_500, "1.500"),
        (7, "0.007"),
        (-7, "-0.007"),
        (-1_500, "-1.500"),
        (i64::MIN, "-9223372036854775.808"),
    ] {
        assert_eq!(result(Data::Text(time, "a\"b")), format!(r#""string","result":[{expected},"a\"b"]"#));
    }
}

#[test]
fn a_vector_has_labels_and_values() {
    let tally = Tally { sum: 3.0, count: 2, min: 1.0, max: 2.0, last: 2.0 };
    let points = [(up(), 1_500, Value::Float(1.0)), (Labels::empty(), 0, Value::Tally(tally))];
    assert_eq!(
        result(Data::Vector(&points)),
        r#""vector","result":[{"metric":{"__name__":"up","path":"C:\\\"é\"\n"},"value":[1.500,"1"]},{"metric":{},"value":[0,"2"]}]"#
    );
    assert_eq!(result(Data::Vector(&[])), r#""vector","result":[]"#);
}

#[test]
fn a_matrix_has_floats_and_histograms_apart() {
    let histogram = Value::Histogram(Arc::new(Histogram { count: 1.0, sum: 2.5, ..Histogram::default() }));
    let mut mixed = Samples::default();
    mixed.push(1_000, 0, Value::Float(1.0));
    mixed.push(2_000, 0, histogram.clone());
    mixed.push(3_000, 0, Value::Float(3.0));
    let mut only = Samples::default();
    only.push(1_000, 0, histogram);
    let labels = Labels::new([("a", "b")]);
    let series = [
        Series { labels: labels.clone(), samples: Samples::from_floats(vec![1_000, 2_000], vec![1.0, 0.5]) },
        Series { labels: labels.clone(), samples: mixed },
        Series { labels: labels.clone(), samples: only },
        Series { labels, samples: Samples::default() },
    ];
    assert_eq!(
        result(Data::Matrix(&series)),
        [
            r#""matrix","result":[{"metric":{"a":"b"},"values":[[1,"1"],[2,"0.5"]]}"#,
            r#"{"metric":{"a":"b"},"values":[[1,"1"],[3,"3"]],"histograms":[[2,{"count":"1","sum":"2.5"}]]}"#,
            r#"{"metric":{"a":"b"},"histograms":[[1,{"count":"1","sum":"2.5"}]]}"#,
            r#"{"metric":{"a":"b"}}]"#,
        ]
        .join(",")
    );
}

#[test]
fn a_histogram_has_its_buckets_from_the_lowest() {
    let shown = |histogram: Histogram| {
        result(Data::Vector(&[(Labels::empty(), 0, Value::Histogram(Arc::new(histogram)))]))
    };
    let exponential = Histogram {
        schema: 1,
        count: 9.0,
        sum: -1.0,
        zero_threshold: 0.25,
        zero_count: 2.0,
        positive: vec![(0, 1.0), (1, 0.0), (2, 3.0)],
        negative: vec![(0, 1.0), (2, 2.0)],
        ..Histogram::default()
    };
    assert_eq!(
        shown(exponential),
        concat!(
            r#""vector","result":[{"metric":{},"histogram":[0,{"count":"9","sum":"-1","buckets":["#,
            r#"[1,"-2","-1.4142135623730951","2"],[1,"-1","-0.7071067811865476","1"],[3,"-0.25","0.25","2"],"#,
            r#"[0,"0.7071067811865476","1","1"],[0,"1.4142135623730951","2","3"]]}]}]"#
        )
    );
    let custom = Histogram {
        schema: CUSTOM_SCHEMA,
        count: 6.0,
        positive: vec![(0, 1.0), (1, 2.0), (2, 3.0)],
        custom: [0.5, 10.0].into(),
        ..Histogram::default()
    };
    assert_eq!(
        shown(custom),
        concat!(
            r#""vector","result":[{"metric":{},"histogram":[0,{"count":"6","sum":"0","buckets":["#,
            r#"[3,"-Inf","0.5","1"],[0,"0.5","10","2"],[0,"10","+Inf","3"]]}]}]"#
        )
    );
    let coarse = Histogram { schema: -4, positive: vec![(64, 1.0)], ..Histogram::default() };
    let shown = shown(coarse);
    assert!(shown.contains(r#"[0,"2.7430620343968443e+303","1.7976931348623157e+308","1"]"#), "{shown}");
}

#[test]
fn notes_and_failures_have_their_places() {
    let warnings = ["w \"1\"".to_owned()];
    let infos = ["i".to_owned(), "j".to_owned()];
    let notes = Notes { warnings: &warnings, infos: &infos };
    assert_eq!(
        text(query(Data::Scalar(0, 1.0), notes)),
        r#"{"status":"success","data":{"resultType":"scalar","result":[0,"1"]},"warnings":["w \"1\""],"infos":["i","j"]}"#
    );
    assert_eq!(text(success(&["a", "b"], Notes::default())), r#"{"status":"success","data":["a","b"]}"#);
    assert_eq!(
        text(success(&[up()], Notes { infos: &infos, ..Notes::default() })),
        r#"{"status":"success","data":[{"__name__":"up","path":"C:\\\"é\"\n"}],"infos":["i","j"]}"#
    );
    assert_eq!(
        text(failure(Failure::BadData, "invalid parameter \"query\": no")),
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": no"}"#
    );
    assert_eq!((Failure::Execution.status(), Failure::Execution.name()), (422, "execution"));
}
