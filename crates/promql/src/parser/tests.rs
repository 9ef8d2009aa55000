//! Queries in, the same queries out; errors say where and what was expected.

use proptest::prelude::*;

use super::*;

fn printed(text: &str) -> String {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

#[test]
fn queries_print_as_prometheus_prints_them() {
    for (text, expected) in [
        ("up", "up"),
        ("photo.upload.ok{svc='x',service.name=\"y\"}", "photo.upload.ok{\"service.name\"=\"y\",svc=\"x\"}"),
        ("{\"my.metric\", \"my.label\"=~\"x\"}", "{\"my.label\"=~\"x\",__name__=\"my.metric\"}"),
        ("SUM(rate(x[300]))BY(b,\"a.b\")", "sum by (b, \"a.b\") (rate(x[5m]))"),
        ("sum without() (x)", "sum without () (x)"),
        ("topk(3,x)", "topk(3, x)"),
        ("a+on(x)group_left(y)b", "a + on (x) group_left (y) b"),
        ("a==bool b", "a == bool b"),
        ("a and ignoring(x) b or c unless d", "a and ignoring (x) b or c unless d"),
        ("-2^2", "-2 ^ 2"),
        ("-(a)", "-(a)"),
        ("x[5m] offset -1h @ 100", "x[5m] @ 100.000 offset -1h"),
        ("rate(x[5m])[1h:] @ end()", "rate(x[5m])[1h:] @ end()"),
        ("x[min_of(5m,step())*2]", "x[min_of(5m, step()) * 2]"),
        ("x offset (1h+step())", "x offset (1h + step())"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("x smoothed", "x smoothed"),
        ("rate(x[1m] anchored)", "rate(x[1m] anchored)"),
        ("sum", "sum"),
        ("by", "by"),
        ("offset.ms", "offset.ms"),
        ("1e3 + Inf", "1000 + +Inf"),
        ("time() - 5m", "time() - 5m"),
    ] {
        assert_eq!(printed(text), expected, "{text}");
        assert_eq!(printed(expected), expected);
    }
}

#[test]
fn errors_name_position_and_expectation() {
    for (text, expected) in [
        ("", "1:1: parse error: no expression found in input"),
        ("sum(", "1:5: parse error: unexpected end of input, expected an expression"),
        ("x{a=1}", "1:5: parse error: unexpected number in label matching, expected string"),
        ("x[5m", "1:5: parse error: unexpected end of input in subquery or range, expected \":\" or \"]\""),
        ("a\n + * b", "2:4: parse error: unexpected \"*\", expected an expression"),
        ("ratee(x[5m])", "1:1: parse error: unknown function with name \"ratee\"; did you mean \"rate\"?"),
        (
            "rate(x)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        ("{a=\"\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("x{a=~\"(\"}", "1:3: parse error: error parsing regexp: unclosed group"),
        ("1 == 2", "1:2: parse error: comparisons between scalars must use BOOL modifier"),
        ("x[-5m]", "1:3: parse error: duration must be greater than 0"),
        ("foo.", "1:4: parse error: unexpected character: '.'"),
        ("x $ y", "1:3: parse error: unexpected character: '$'"),
        ("sum(x) by (1)", "1:12: parse error: unexpected number in grouping opts, expected a label"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn every_node_knows_where_it_stands() {
    let text = "sum(rate(x{a=\"b\"}[5m] offset 1h)) / 2";
    let expr = parse(text).unwrap();
    let Kind::Binary(binary) = &expr.kind else { panic!() };
    let Kind::Aggregate(aggregate) = &binary.left.kind else { panic!() };
    let Kind::Call(call) = &aggregate.expr.kind else { panic!() };
    let shown = |expr: &Expr| &text[expr.span.start..expr.span.end];
    assert_eq!(shown(&expr), text);
    assert_eq!(shown(&aggregate.expr), "rate(x{a=\"b\"}[5m] offset 1h)");
    assert_eq!(shown(&call.args[0]), "x{a=\"b\"}[5m] offset 1h");
    assert_eq!(shown(&binary.right), "2");
}

#[test]
fn what_is_too_deep_too_long_or_too_much_is_refused() {
    for text in [
        "(".repeat(10_000),
        "-".repeat(10_000),
        format!("x{}", "+x".repeat(10_000)),
        format!("x[{}1s]", "(".repeat(10_000)),
        "sum(".repeat(10_000),
        format!("x{{{}}}", "a=\"b\",".repeat(100_000)),
        format!("x{{{}}}", "a=\"b\",".repeat(MATCHERS_MAX + 1)),
        format!("x{}", "[1s:]".repeat(1000)),
    ] {
        assert!(parse(&text).is_err(), "{}", &text[..20]);
    }
    assert!(parse(&format!("x{}", " + x".repeat(DEPTH_MAX - 10))).is_ok());
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_]{0,5}", "[a-z]{1,3}\\.[a-z]{1,3}"].prop_filter("a word of its own", |name| {
        !matches!(
            name.as_str(),
            "on" | "bool" | "inf" | "nan" | "and" | "or" | "ignoring" | "unless" | "atan2"
        )
    })
}

fn length() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u32..9).prop_map(|n| format!("{n}m")),
        (1u32..9999).prop_map(|n| format!("{n}")),
        Just("step()".to_owned()),
        (1u32..9).prop_map(|n| format!("(range() / {n} + 1s)")),
    ]
}

fn vector() -> impl Strategy<Value = String> {
    let selector = (name(), proptest::option::of("[ -~]{0,6}"), proptest::option::of(length())).prop_map(
        |(name, value, offset)| {
            let braces = value.map(|value| format!("{{l=~{}}}", crate::quote::quote(&regex::escape(&value))));
            let offset = offset.map(|offset| format!(" offset {offset}"));
            format!("{name}{}{}", braces.unwrap_or_default(), offset.unwrap_or_default())
        },
    );
    selector.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), name()).prop_map(|(x, label)| format!("sum by (\"{label}\") ({x})")),
            (inner.clone(), length(), length())
                .prop_map(|(x, a, b)| format!("max_over_time(({x})[{a}:{b}])")),
            (inner.clone(), inner.clone(), 0..BinaryOp::ALL.len())
                .prop_map(|(a, b, op)| format!("{a} {} {b}", BinaryOp::ALL[op].0)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} * on (x) group_right (y, z) {b}")),
            inner.clone().prop_map(|x| format!("-{x}")),
            inner.clone().prop_map(|x| format!("({x})")),
            (inner, -1e9..1e9f64).prop_map(|(x, n)| format!("clamp_max({x}, {n})")),
        ]
    })
}

use crate::ast::BinaryOp;

proptest! {
    #[test]
    fn what_is_printed_reads_back(text in vector()) {
        let once = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let printed = once.to_string();
        let again = parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(&once, &again, "{}", printed);
        prop_assert_eq!(printed, again.to_string());
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_soup_of_tokens_is_answered(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("sum"), Just("("), Just(")"), Just("x"), Just("["), Just("]"), Just("5m"), Just("+"),
                Just("by"), Just("{"), Just("}"), Just("="), Just("\"a\""), Just(","), Just("@"), Just("offset"),
                Just("rate"), Just("on"), Just(":"), Just("1"), Just("-"), Just("^"), Just("bool"), Just("fill"),
            ],
            0..20,
        )
    ) {
        let _ = parse(&parts.join(" "));
    }
}
