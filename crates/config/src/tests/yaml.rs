//! The YAML that is read, and the YAML that is refused.

use std::fmt::Write as _;

use hmsops_model::limits::{CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX};

use super::{CANARY, edited, errors};
use crate::{parse_release, parse_services, parse_tower};

fn canary(text: &str) -> Vec<String> {
    errors("canary.yaml", text)
}

#[test]
fn versions_stay_as_written() {
    for (line, tag) in [
        ("image: a:1.10", "1.10"),
        ("image: a:1", "1"),
        ("image: \"a:1.10\"", "1.10"),
        ("image: 'a:007'", "007"),
        ("image: host:5000/a/b:1e3", "1e3"),
    ] {
        let spec = parse_release(&edited(CANARY, 3, Some(line))).value.unwrap();
        assert_eq!(spec.image.tag.as_str(), tag);
    }
    for written in ["1.10", "\"1.10\"", "'1.10'"] {
        let text = format!(
            "services: {{a: {{driver: external, stable: {written}, upstreams: {{{written}: [\"h:1\"]}}}}}}"
        );
        let specs = parse_services(&text).value.unwrap();
        assert_eq!(specs[0].stable.as_ref().unwrap().as_str(), "1.10");
    }
}

#[test]
fn forms_of_one_text_are_one_value() {
    let plain = parse_release(CANARY).value;
    assert!(plain.is_some());
    assert_eq!(parse_release(&CANARY.replace('\n', "\r\n")).value, plain);
    assert_eq!(parse_release(&CANARY.replace('\n', "\r")).value, plain);
    assert_eq!(parse_release(&format!("\u{feff}{CANARY}")).value, plain);
    assert_eq!(parse_release(&format!("---\n{CANARY}...\n")).value, plain);
    assert_eq!(parse_release(&CANARY.replace("healthChecks", "health_checks")).value, plain);
    assert_eq!(parse_release(&format!("{CANARY}x-note: [anything, {{at: all}}]\n")).value, plain);
    let json = r#"{"service": "csac-portal", "image": "csac-portal:1.8.0", "strategy": {"type": "canary",
        "steps": [{"weight": 1}, {"weight": 25}, {"weight": 100}]},
        "healthChecks": [{"path": "/api/v1/health", "threshold": "3 fails/60 s"}]}"#;
    assert_eq!(parse_release(json).value, plain);
}

#[test]
fn limits_are_said_and_nothing_is_read() {
    let long = format!("# {}", "x".repeat(CONFIG_BYTES_MAX));
    assert_eq!(canary(&long), ["1:1 this file has 1048578 bytes, which is more than 1048576"]);
    let deep = format!("x-a: {}{}", "[".repeat(CONFIG_DEPTH_MAX), "]".repeat(CONFIG_DEPTH_MAX));
    assert_eq!(canary(&deep), ["1:37 lists and maps are nested deeper than 32"]);
    let deeper = format!("x-a: {}", "[".repeat(500_000));
    let said = canary(&deeper);
    assert!(said.len() == 1 && said[0].ends_with("lists and maps are nested deeper than 32"), "{said:?}");
    let many = format!("x-a: [{}]", "1,".repeat(CONFIG_NODES_MAX));
    let said = canary(&many);
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("this file holds more than 100000 values"), "{said:?}");
    let wide = format!("x-a: [{}]", "{a: 1},".repeat(CONFIG_NODES_MAX));
    assert!(canary(&wide)[0].ends_with("this file holds more than 100000 values"));
    let flood = "a b: 1\n".repeat(20_000).replace('a', "s");
    assert!(parse_release(&flood).diagnostics.len() <= 101);
}

#[test]
fn what_is_no_text_of_ours_is_refused_once() {
    for (text, expected) in [
        ("service: a\0b\n", "1:11 the character U+0000 is not allowed in a text file"),
        ("a: é\r\nservice: é\u{1b}[31m\n", "2:11 the character U+001B is not allowed in a text file"),
        ("service: a\n---\nservice: b\n", "2:1 a second document starts here"),
        ("? [service]\n: a\n", "1:3 a key must be a text, not a list or a map"),
        ("service: *nobody\n", "1:10 anchors and aliases (`&name`, `*name`) are not read here"),
        ("service: &a b\nimage: *a\nx: 1\n", "1:13 anchors and aliases (`&name`, `*name`) are not read here"),
        ("service: \"a\" b\n", "1:14 something stands behind a quoted text"),
        ("service: {a: 1\nimage: b\n", "1:10 `{` is not closed"),
        ("service:\n\ta: b\n", "2:2 a tab stands where only spaces may"),
        ("- service\n- image\n", "1:1 a release is a map, not a list"),
        ("service\n", "1:1 a release is a map, not a text"),
        ("", "1:1 this file is empty"),
        ("# nothing\n\n", "1:1 this file is empty"),
        ("~\n", "1:1 this file is empty"),
    ] {
        assert_eq!(canary(text).first().map(String::as_str), Some(expected), "{text:?}");
        assert_eq!(parse_release(text).value, None);
    }
    assert!(parse_tower("# nothing\n").value.is_some());
}

#[test]
fn aliases_cannot_blow_up() {
    let mut text = String::from("x-a: &a [1]\n");
    for level in 0..24u8 {
        let (from, to) = (char::from(b'a' + level), char::from(b'b' + level));
        writeln!(text, "x-{to}: &{to} [*{from}, *{from}]").unwrap();
    }
    let refused = "1:9 anchors and aliases (`&name`, `*name`) are not read here".to_owned();
    assert!(canary(&text).contains(&refused));
}
