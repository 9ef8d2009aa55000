use std::collections::BTreeMap;

use hmsops_model::Value;
use hmsops_model::labels::Labels;

use super::*;

fn expand_at(text: &str, value: f64) -> Result<String, TemplateError> {
    let labels = Labels::new([("job", "photo"), ("instance", "a.example.org:80")]);
    let lookup = |query: &str| -> Result<Vec<Point>, String> {
        if query == "none" {
            return Ok(Vec::new());
        }
        let point = |host: &str, value| Point {
            labels: Labels::new([("host", host)]),
            time: 0,
            value: Value::Float(value),
        };
        Ok(vec![point("b", 2.0), point("a", 1.5)])
    };
    let external = BTreeMap::from([("dc".to_owned(), "east".to_owned())]);
    let context = Context {
        labels: &labels,
        value: &Value::Float(value),
        external_labels: &external,
        external_url: "https://ops.example.org/prom",
        at: 61_500,
        lookup: &lookup,
    };
    Template::parse(text)?.expand(&context)
}

fn expand(text: &str) -> String {
    expand_at(text, 0.25).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_rules_use_comes_out_as_go_prints_it() {
    for (text, expected) in [
        ("plain }} text", "plain }} text"),
        (
            "{{ $labels.job }} of {{.Labels.instance}}: {{ $value }}{{ $labels.none }}",
            "photo of a.example.org:80: 0.25",
        ),
        ("{{ $labels }}", "map[instance:a.example.org:80 job:photo]"),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("a  {{- \" \" -}}  b", "a b"),
        ("{{ if gt $value 0.5 }}high{{ else if gt $value 0.2 }}middle{{ else }}low{{ end }}", "middle"),
        ("{{ with query \"up\" }}{{ . | first | value }}{{ end }}", "2"),
        ("{{ with query \"none\" }}some{{ else }}none{{ end }}", "none"),
        (
            "{{ range query \"up\" | sortByLabel \"host\" }}{{ .Labels.host }}={{ .Value }} {{ end }}",
            "a=1.5 b=2 ",
        ),
        ("{{ range $i, $s := query \"up\" }}{{ $i }}{{ label \"host\" $s }}{{ end }}", "0b1a"),
        (
            "{{ range $k, $v := $labels }}{{ if eq $k \"job\" }}{{ continue }}{{ end }}{{ $v }}{{ end }}",
            "a.example.org:80",
        ),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" $labels.job }}", "<photo>"),
        (
            "{{ printf \"%.2f %5.1f|%-5s|%05d %q %t %g %e %v%%\" $value 2.25 \"ab\" 42 \"x\" true 1e6 12345.678 0.1 }}",
            "0.25   2.2|ab   |00042 \"x\" true 1e+06 1.234568e+04 0.1%",
        ),
        ("{{ printf \"%d %s\" $value }}", "%!d(float64=0.25) %!s(MISSING)"),
        ("{{ print 1 2 \"a\" 3 }}", "1 2a3"),
        ("{{ (query \"up\" | first).Labels.host }}", "b"),
        ("{{ $labels.instance | stripPort }} {{ stripDomain $labels.instance }}", "a.example.org a:80"),
        ("{{ reReplaceAll \"(.)o\" \"${1}0\" \"photo\" }} {{ match \"^p\" \"photo\" }}", "ph0t0 true"),
        ("{{ title \"some words\" }} {{ toUpper \"a\" }}", "Some Words A"),
        (
            "{{ $externalLabels.dc }} {{ externalURL }} {{ pathPrefix }}",
            "east https://ops.example.org/prom /prom",
        ),
        ("{{ now }} {{ len \"abc\" }} {{ index $labels \"job\" }}", "61.5 3 photo"),
        ("{{ and true \"x\" }} {{ or 0 \"y\" }} {{ not true }}", "x y false"),
    ] {
        assert_eq!(expand(text), expected, "{text}");
    }
}

#[test]
fn numbers_are_written_for_people() {
    for (text, value, expected) in [
        ("{{ humanize $value }}", 1_234_567.0, "1.235M"),
        ("{{ humanize $value }}", 0.001_25, "1.25m"),
        ("{{ humanize $value }}", f64::INFINITY, "+Inf"),
        ("{{ humanize1024 $value }}", 1_048_576.0, "1Mi"),
        ("{{ humanizePercentage $value }}", 0.123_456, "12.35%"),
        ("{{ $value | humanizeDuration }}", 90_061.0, "1d 1h 1m 1s"),
        ("{{ $value | humanizeDuration }}", 1.5, "1.5s"),
        ("{{ $value | humanizeDuration }}", 0.012, "12ms"),
        ("{{ $value | humanizeTimestamp }}", 1_435_065_584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ $value | toDuration }}", 3723.5, "1h2m3.5s"),
        ("{{ $value }}", 123_456_789.0, "1.23456789e+08"),
        ("{{ $value }}", 1e6, "1e+06"),
        ("{{ $value }}", 0.000_012, "1.2e-05"),
        ("{{ $value }}", 100_000.0, "100000"),
        ("{{ $value }}", f64::NAN, "NaN"),
    ] {
        assert_eq!(expand_at(text, value).unwrap(), expected, "{text} of {value}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, expected) in [
        ("{{ foo }}", "line 1: function \"foo\" not defined"),
        ("a\n{{ $x }}", "line 2: undefined variable \"$x\""),
        ("{{ if true }}", "line 1: unexpected end of text in if"),
        ("{{ end }}", "line 1: unexpected {{end}}"),
        ("{{ \"a }}", "line 1: unterminated quoted string"),
        ("{{ $value", "line 1: unclosed action"),
        ("{{ 1 2 }}", "line 1: can't give argument to non-function"),
        ("{{ block \"x\" . }}{{ end }}", "line 1: `block` is not known here; use define and template"),
        ("{{ .Nope }}", "line 1: can't evaluate field Nope"),
        ("{{ gt $value 1 }}", "line 1: error calling gt: incompatible types for comparison: float64 and int"),
        (
            "{{ query \"none\" | first }}",
            "line 1: error calling first: first() called on vector with no elements",
        ),
        ("{{ template \"t\" }}", "line 1: template \"t\" not defined"),
        (
            "{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}",
            "line 1: templates call each other more than 50 deep",
        ),
        ("{{ $x := query \"up\" }}{{ break }}", "line 1: {{break}} outside {{range}}"),
    ] {
        let error = expand_at(text, 0.25).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
    let deep = "{{ if true }}".repeat(10_000);
    assert!(Template::parse(&deep).is_err());
    let brackets = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(Template::parse(&brackets).is_err());
}
