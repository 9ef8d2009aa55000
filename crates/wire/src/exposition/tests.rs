use std::fmt::Write as _;

use hmsops_model::Labels;
use proptest::prelude::*;

use super::*;

/// As `name{…} value @time ^start`, one a line.
fn shown(parsed: &Parsed) -> String {
    let mut lines = Vec::new();
    for sample in &parsed.samples {
        let time = sample.time.map(|time| format!(" @{time}")).unwrap_or_default();
        let start = sample.start.map(|start| format!(" ^{start}")).unwrap_or_default();
        lines.push(format!("{} {}{time}{start}", sample.labels, sample.value));
    }
    lines.join("\n")
}

fn text(page: &str) -> Result<Parsed, String> {
    parse(page.as_bytes(), Format::Text, 1000).map_err(|error| error.to_string())
}

fn open_metrics(page: &str) -> Result<Parsed, String> {
    parse(page.as_bytes(), Format::OpenMetrics, 1000).map_err(|error| error.to_string())
}

#[test]
fn a_page_of_text_is_read() {
    let page = "\
# HELP http_requests_total Requests,\\nwith a \\\\ and a \"quote\".
# TYPE http_requests_total counter
http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000
http_requests_total { method = \"post\" , code = \"400\" , }  3\t-5

# a comment
#another
   up 1
up{} +Inf
neg -Inf
nan{a=\"\"} NaN
esc{path=\"C:\\\\DIR\\\\F.TXT\",error=\"no\\n\\\"such\\\" \\f # }\"} 1.458255915e9
sum 8.0e-05
last 1e3";
    let parsed = text(page).unwrap();
    assert_eq!(
        shown(&parsed),
        "\
http_requests_total{code=\"200\", method=\"post\"} 1027 @1395066363000
http_requests_total{code=\"400\", method=\"post\"} 3 @-5
up 1
up inf
neg -inf
nan NaN
esc{error=\"no\\n\\\"such\\\" \\\\f # }\", path=\"C:\\\\DIR\\\\F.TXT\"} 1458255915
sum 0.00008
last 1000"
    );
    assert_eq!(
        parsed.families,
        [Family {
            name: "http_requests_total".into(),
            kind: Kind::Counter,
            help: Some("Requests,\nwith a \\ and a \"quote\".".into()),
            unit: None,
        }]
    );
}

#[test]
fn names_in_quotes_are_any_text() {
    let page = "\
# HELP \"photo.upload\" x
# TYPE \"photo.upload\" gauge
{\"photo.upload\"} 1
{\"photo.upload\",\"service.name\"=\"a\"} 2
{a=\"b\",\"ünïcode \\\"x\\\"\"} 3
plain{\"service.name\"=\"a\",b=\"c\"} 4
";
    let expected = [
        Labels::new([("__name__", "photo.upload")]),
        Labels::new([("__name__", "photo.upload"), ("service.name", "a")]),
        Labels::new([("__name__", "ünïcode \"x\""), ("a", "b")]),
        Labels::new([("__name__", "plain"), ("service.name", "a"), ("b", "c")]),
    ];
    for parsed in [text(page), open_metrics(&format!("{page}# EOF\n"))] {
        let parsed = parsed.unwrap();
        let labels: Vec<&Labels> = parsed.samples.iter().map(|sample| &sample.labels).collect();
        assert_eq!(labels, expected.iter().collect::<Vec<_>>());
        assert_eq!(
            (parsed.families[0].name.as_str(), parsed.families[0].kind),
            ("photo.upload", Kind::Gauge)
        );
    }
}

/// The same bucket has the same labels whoever writes it.
#[test]
fn bounds_are_written_as_floats() {
    for (given, expected) in [
        ("1", "1.0"),
        ("0", "0.0"),
        ("-0", "0.0"),
        ("-1", "-1.0"),
        ("0.5", "0.5"),
        ("100000", "100000.0"),
        ("1000000", "1e+06"),
        ("10000000000", "1e+10"),
        ("123456789", "1.23456789e+08"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1e-7", "1e-07"),
        ("+Inf", "+Inf"),
        ("inf", "+Inf"),
        ("2.50", "2.5"),
        ("x", "x"),
    ] {
        let page = format!("# TYPE h histogram\nh_bucket{{le=\"{given}\"}} 1\n");
        assert_eq!(text(&page).unwrap().samples[0].labels.get("le"), Some(expected));
        let page = format!("# TYPE s summary\ns{{quantile=\"{given}\"}} 1\n");
        assert_eq!(text(&page).unwrap().samples[0].labels.get("quantile"), Some(expected));
    }
    let page = "# TYPE h histogram\n# TYPE g gauge\ng{le=\"1\"} 1\nother{le=\"1\"} 1\n";
    assert!(text(page).unwrap().samples.iter().all(|sample| sample.labels.get("le") == Some("1")));
}

#[test]
fn text_that_is_wrong_says_where_and_what_was_expected() {
    for (page, expected) in [
        ("a", "line 1, column 2: expected a value, found the end of the page"),
        ("a\n", "line 1, column 2: expected a value, found the end of the line"),
        ("up 1\na{b='c'} 1\n", "line 2, column 5: expected the label's value in double quotes, found `'`"),
        (
            "a{b=\n",
            "line 1, column 5: expected the label's value in double quotes, found the end of the line",
        ),
        ("a{b=\"c\n\"} 1", "line 1, column 5: expected a closing quote in this line"),
        ("a{b=\"c\\", "line 1, column 5: expected a closing quote in this line"),
        ("a{b} 1", "line 1, column 4: expected `=` after the label's name, found `}`"),
        ("a{=\"\"} 0", "line 1, column 3: expected a label's name or `}`, found `=`"),
        ("a{,} 0", "line 1, column 3: expected a label's name or `}`, found `,`"),
        ("a{b=\"c\",,} 0", "line 1, column 9: expected a label's name or `}`, found `,`"),
        ("a{b=\"c\"d=\"e\"} 0", "line 1, column 8: expected `,` or `}`, found `d`"),
        ("a{b=\"1\",c=\"2\",b=\"3\"} 0", "line 1, column 3: the label `b` is given twice"),
        ("a{__name__=\"b\"} 0", "line 1, column 3: `__name__` is no label of its own; write the name before"),
        ("{a=\"ok\"} 1", "line 1, column 1: expected a metric's name before or within the braces"),
        ("{\"\"} 1", "line 1, column 2: expected a name, found empty quotes"),
        ("a{\"b\"} 1", "line 1, column 6: expected `=` after the label's name, found `}`"),
        ("{\"a\",\"b\"} 1", "line 1, column 9: expected `=` after the label's name, found `}`"),
        ("a.b 1", "line 1, column 2: expected a value, found `.b`"),
        ("0a 1", "line 1, column 1: expected a metric's name, found `0a`"),
        ("foo 1_2", "line 1, column 5: expected a value, found `1_2`"),
        ("foo 0x1p-3", "line 1, column 5: expected a value, found `0x1p-3`"),
        (
            "foo 0 1_2",
            "line 1, column 7: expected a time in whole milliseconds or the end of the line, found `1_2`",
        ),
        (
            "foo 0 1.5",
            "line 1, column 7: expected a time in whole milliseconds or the end of the line, found `1.5`",
        ),
        ("foo 0 1 2", "line 1, column 9: expected the end of the line, found `2`"),
        (
            "# TYPE foo bar",
            "line 1, column 12: expected counter, gauge, histogram, summary or untyped, found `bar`",
        ),
        ("# TYPE #\n", "line 1, column 8: expected a metric's name, found `#`"),
        ("é{ 1", "line 1, column 1: expected a metric's name, found `é`"),
        ("a{b=\"éé\"} x", "line 1, column 11: expected a value, found `x`"),
    ] {
        let error = text(page).unwrap_err();
        assert!(error.starts_with(expected), "{page:?}: {error}");
    }
    let error = parse(b"a 1\nb{c=\"\xff\"} 1\n", Format::Text, 9).unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 6: expected UTF-8, found a byte that is none");
}

#[test]
fn open_metrics_has_units_exemplars_and_starts() {
    let page = "\
# TYPE a_seconds counter
# UNIT a_seconds seconds
# HELP a_seconds some \\\"help\\\"\\n
a_seconds_total{x=\"1\"} 5 1520879607.789 # {trace=\"é\"} 0.5 1520879607.5
a_seconds_created{x=\"1\"} 1520430000.123 1520879607.789
a_seconds_total{x=\"2\"} 7
# TYPE h histogram
h_bucket{le=\"1\"} 1
h_bucket{le=\"+Inf\"} 2 # {} 3
h_count 2
h_sum 3.5
h_created 12
plain NaN
# EOF
";
    let parsed = judge(page.as_bytes(), 100).unwrap();
    assert_eq!(shown(&parsed), shown(&open_metrics(page).unwrap()));
    assert_eq!(
        shown(&parsed),
        "\
a_seconds_total{x=\"1\"} 5 @1520879607789 ^1520430000123
a_seconds_total{x=\"2\"} 7
h_bucket{le=\"1.0\"} 1 ^12000
h_bucket{le=\"+Inf\"} 2 ^12000
h_count 2 ^12000
h_sum 3.5 ^12000
plain NaN"
    );
    let family = &parsed.families[0];
    assert_eq!((family.kind, family.unit.as_deref()), (Kind::Counter, Some("seconds")));
    assert_eq!(family.help.as_deref(), Some("some \"help\"\n"));
    assert_eq!(parsed.families.len(), 2);
}

#[test]
fn open_metrics_that_is_no_open_metrics_is_refused() {
    for (page, expected) in [
        ("", "line 1, column 1: expected `# EOF` as the last line, found the end of the page"),
        ("a 1\n", "line 2, column 1: expected `# EOF` as the last line, found the end of the page"),
        ("a 1", "line 1, column 4: expected the end of the line, found the end of the page"),
        (
            "# EOF\n\n",
            "line 2, column 1: expected the end of the page after `# EOF`, found the end of the line",
        ),
        ("# EOF\na 1\n", "line 2, column 1: expected the end of the page after `# EOF`, found `a`"),
        ("a 1\n\n# EOF", "line 2, column 1: expected a metric's name, found the end of the line"),
        ("a  1\n# EOF", "line 1, column 3: expected a value, found ' '"),
        ("a 1 \n# EOF", "line 1, column 5: expected a time in seconds, found the end of the line"),
        ("a 1 Inf\n# EOF", "line 1, column 5: expected a time in seconds, found one that is not finite"),
        ("a{b=\"c\",} 1\n# EOF", "line 1, column 9: expected a label's name or `}`, found `}`"),
        ("a{b = \"c\"} 1\n# EOF", "line 1, column 4: expected `=` after the label's name, found ' '"),
        ("# comment\n# EOF", "line 1, column 3: expected HELP, TYPE, UNIT or EOF, found `comment`"),
        ("#x\n# EOF", "line 1, column 2: expected a space and HELP, TYPE, UNIT or EOF, found `x`"),
        ("# TYPE a untyped\n# EOF", "line 1, column 10: expected counter, gauge, histogram, gaugehistogram,"),
        ("# HELP a\n# EOF", "line 1, column 9: expected one space after the metric's name, found the end"),
        ("a 1 # {b=\"c\"}\n# EOF", "line 1, column 14: expected one space and the exemplar's value, found"),
    ] {
        let error = open_metrics(page).unwrap_err();
        assert!(error.starts_with(expected), "{page:?}: {error}");
    }
}

/// What programs write in spite of the rules is scraped, and told to who asks.
#[test]
fn rules_are_for_who_writes_a_page() {
    for (page, expected) in [
        ("# TYPE a counter\na_total -1\n", "line 2, column 1: the value of a counter must not be negative"),
        ("# TYPE a counter\na_total NaN\n", "line 2, column 1: the value of a counter must not be NaN"),
        (
            "# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1.5\n",
            "line 2, column 1: a count must be a whole number",
        ),
        ("a 1\nb 1\na 2\n", "line 3, column 1: `a` belongs to two metrics"),
        ("a 1 2\na 1 1\n", "line 2, column 1: the times of samples with the same labels must not go back"),
        ("# TYPE a gauge\n# TYPE a gauge\n", "line 2, column 1: `a` has a second line of TYPE"),
        ("# TYPE a gauge\na 1\n# HELP a x\n", "line 3, column 1: expected HELP of `a` before its samples"),
        ("# UNIT a s\n", "line 1, column 1: expected the name `a` to end in its unit `_s`"),
        ("# TYPE a stateset\na 1\n", "line 2, column 1: expected the label `a` with the state's name"),
        (
            "# TYPE a summary\na{quantile=\"2\"} 1\n",
            "line 2, column 1: expected a number from 0 to 1 as `quantile`",
        ),
        (
            "# TYPE a histogram\na_sum 1\na_count 1\na_bucket{le=\"-1\"} 1\na_bucket{le=\"+Inf\"} 1\n",
            "line 1, column 1: a histogram with negative buckets must not have a sum",
        ),
        ("a 1 # {b=\"c\"} 1\n", "line 1, column 1: only buckets and counters may have exemplars"),
    ] {
        let page = format!("{page}# EOF\n");
        let error = judge(page.as_bytes(), 100).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{page:?}: {error}");
        assert!(open_metrics(&page).is_ok(), "{page:?}");
    }
}

#[test]
fn there_is_an_end_to_samples_and_labels() {
    for format in [Format::Text, Format::OpenMetrics] {
        let error = parse(b"a 1\nb 2\nc 3\n# EOF\n", format, 2).unwrap_err().to_string();
        assert_eq!(error, "line 3, column 1: the page has more than 2 samples");
    }
    let mut metadata = String::new();
    for n in 0..=FAMILIES_MAX {
        writeln!(metadata, "# HELP m{n} x").unwrap();
    }
    for error in [text(&metadata), open_metrics(&(metadata + "# EOF"))].map(Result::unwrap_err) {
        assert!(error.ends_with("the page has more than 100000 metrics"), "{error}");
    }
    let labels: Vec<String> = (0..128).map(|n| format!("l{n}=\"x\"")).collect();
    let series = |count: usize| text(&format!("a{{{}}} 1", labels[..count].join(",")));
    assert!(series(127).is_ok());
    assert!(series(128).unwrap_err().contains("the series has more than 128 labels"));
    let long = "x".repeat(4097);
    assert!(
        text(&format!("a{{b=\"{long}\"}} 1")).unwrap_err().contains("the value of the label `b` is longer")
    );
    assert!(text(&format!("{long} 1")).unwrap_err().contains("the metric's name is longer"));
    assert!(text(&format!("a{{{long}=\"b\"}} 1")).unwrap_err().contains("the label's name is longer"));
}

#[test]
fn content_types_name_formats() {
    for (header, expected) in [
        ("text/plain", Some(Format::Text)),
        ("text/plain; version=0.0.4; charset=utf-8", Some(Format::Text)),
        ("Text/Plain;version=1.0.0;escaping=allow-utf-8", Some(Format::Text)),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Some(Format::OpenMetrics)),
        ("application/openmetrics-text;charset=utf-8; Version=\"0.0.1\"", Some(Format::OpenMetrics)),
        ("application/openmetrics-text; version=2.0.0", None),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily", None),
        ("text/html", None),
        ("", None),
    ] {
        assert_eq!(Format::of_content_type(header), expected, "{header}");
    }
}

/// A series as text, with what it says.
fn series() -> impl Strategy<Value = (Labels, f64, Option<i64>)> {
    let pairs =
        proptest::collection::btree_map("[a-zA-Z_.é\"\\\\\n]{1,6}", "[a-z\"\\\\\n {},=#é]{0,8}", 0..5);
    let value = any::<f64>().prop_map(|value| if value.is_nan() { 0.0 } else { value });
    ("[a-z.:\"\\\\]{1,8}", pairs, value, any::<Option<i64>>()).prop_map(|(name, mut pairs, value, time)| {
        pairs.remove("__name__");
        let name = ("__name__".to_owned(), name);
        (Labels::new(pairs.into_iter().chain([name])), value, time)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(all in proptest::collection::vec(series(), 0..8)) {
        let quoted = |text: &str| {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
        };
        let mut page = String::new();
        for (labels, value, time) in &all {
            let mut parts = vec![quoted(labels.name().unwrap())];
            let others = labels.iter().filter(|(name, _)| *name != "__name__");
            parts.extend(others.map(|(name, value)| format!("{}={}", quoted(name), quoted(value))));
            let time = time.map(|time| format!(" {time}")).unwrap_or_default();
            writeln!(page, "{{{}}} {value:e}{time}", parts.join(",")).unwrap();
        }
        let read = text(&page).unwrap();
        let read: Vec<_> =
            read.samples.into_iter().map(|sample| (sample.labels, sample.value, sample.time)).collect();
        prop_assert_eq!(read, all);
    }

    #[test]
    fn bytes_from_outside_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        words in proptest::collection::vec("(# |TYPE |HELP |UNIT |EOF|\n|a|\\{|\\}|\"|\\\\|,|=| |1|histogram|_bucket|le|é)", 0..40),
    ) {
        let words = words.concat();
        for page in [noise.as_slice(), words.as_bytes()] {
            let _ = parse(page, Format::Text, 10);
            let _ = parse(page, Format::OpenMetrics, 10);
            let _ = judge(page, 10);
        }
    }
}
