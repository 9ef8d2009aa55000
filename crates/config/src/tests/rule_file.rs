//! Rule files: what they mean, and each mistake in its place, within the expression too.

use hmsops_model::{Millis, OnNoData, RuleSpec};

use super::{ALERTS, each_has_one_error, edited, errors, warnings};
use crate::{parse_recordings, parse_rules};

fn rules(text: &str) -> Vec<RuleSpec> {
    let checked = parse_rules(text);
    assert_eq!(checked.diagnostics, [], "{text}");
    checked.value.unwrap()
}

/// A file of one rule, with these keys besides its name.
fn with(keys: &str) -> String {
    format!(
        "groups:\n  - name: g\n    rules:\n      - alert: a\n        {}\n",
        keys.replace('\n', "\n        ")
    )
}

#[test]
fn rules_are_read_from_annotations_and_from_keys() {
    let rules = rules(ALERTS);
    let [photo, portal, disk] = &rules[..] else { panic!("{rules:#?}") };
    assert_eq!(photo.name.as_str(), "photo_error_spike");
    assert_eq!(photo.expr, "rate(photo.upload.ok[1m]) < 0.7");
    assert_eq!(photo.heal.as_ref().unwrap().to_string(), "rollback dmv-photo --to=prev");
    assert_eq!((photo.hold, photo.interval), (Millis::from_secs(60), Millis::from_secs(5)));
    assert_eq!(photo.notify, ["oncall@csac.gov", "pager"]);
    assert_eq!((photo.labels["team"].as_str(), photo.labels["severity"].as_str()), ("dmv", "page"));
    assert_eq!(photo.annotations["runbook_url"], "runbooks/dmv/PHOTO.md");
    assert_eq!((photo.on_nodata, photo.is_literal), (OnNoData::Keep, false));
    assert_eq!(portal.heal.as_ref().unwrap().to_string(), "restart csac-portal");
    assert_eq!((portal.hold, portal.keep_firing_for), (Millis::from_mins(5), Millis::from_mins(2)));
    assert_eq!((portal.on_nodata, portal.is_literal), (OnNoData::Ok, true));
    assert_eq!(portal.service.as_ref().unwrap().as_str(), "csac-portal");
    assert_eq!((disk.name.as_str(), disk.interval), ("disk is \"full\"", Millis::from_secs(15)));
    assert_eq!((disk.hold, &disk.heal, &disk.notify), (Millis::ZERO, &None, &vec![]));
}

#[test]
fn a_rule_that_heals_is_looked_at_each_five_seconds_or_more_often() {
    let at = |interval: &str, heal: &str| {
        let text = with(&format!("expr: up == 0{heal}")).replace("name: g", &format!("name: g{interval}"));
        rules(&text)[0].interval
    };
    let heal = "\non_fire: restart a";
    assert_eq!(at("", ""), Millis::from_secs(15));
    assert_eq!(at("\n    interval: 1m", ""), Millis::from_mins(1));
    assert_eq!(at("\n    interval: 1m", heal), Millis::from_secs(5));
    assert_eq!(at("\n    interval: 2s", heal), Millis::from_secs(2));
    assert_eq!(at("\n    interval: 0s", heal), Millis::from_secs(5));
}

#[test]
fn files_of_prometheus_are_taken_as_they_are() {
    assert_eq!(rules("groups: []"), []);
    assert_eq!(rules("groups: [{name: a, rules: []}]"), []);
    let text = with(
        "expr: up == 0\nfor: 1w2d\nlabels: {severity: \"\", \"k8s.pod\": x}\nannotations: {summary: \"{{ $value }}\"}",
    );
    assert_eq!(rules(&text)[0].hold, Millis(777_600_000));
    assert_eq!(rules(&with("expr: up == 0\nfor: 0"))[0].hold, Millis::ZERO);
    let recorded =
        "groups: [{name: g, limit: 5, rules: [{record: a:b, expr: sum(up)}, {alert: a, expr: up == 0}]}]";
    assert_eq!(warnings("a.yaml", recorded), [""; 0]);
    let alerts = parse_rules(recorded).value.unwrap();
    assert_eq!((alerts.len(), alerts[0].group.name.as_str(), alerts[0].group.limit), (1, "g", 5));
    let recordings = parse_recordings(recorded, "a.yaml").value.unwrap();
    assert_eq!((recordings.len(), recordings[0].rules.len()), (1, 1));
    assert_eq!((recordings[0].rules[0].name.as_str(), recordings[0].limit), ("a:b", 5));
    let alone = "groups: [{name: g, rules: [{alert: a, expr: up == 0}]}]";
    assert_eq!(parse_recordings(alone, "a.yaml").value.unwrap().len(), 0);
    for wrong in ["record: a:b, expr: up <<", "record: a:b, expr: up, for: 1m", "record: \"{a}\", expr: up"] {
        let text = format!("groups: [{{name: g, rules: [{{{wrong}}}]}}]");
        assert!(
            parse_rules(&text).value.is_none() && parse_recordings(&text, "a.yaml").value.is_none(),
            "{wrong}"
        );
    }
}

#[test]
fn a_mistake_in_an_expression_is_shown_where_it_stands() {
    for (keys, expected) in [
        ("expr: rate(up[1m] < 0.7", "5:32"),
        ("expr: 'up{a=''b''} << 1'", "5:29"),
        ("expr: \"up{a=\\\"b\\\"} << 1\"", "5:29"),
        ("expr: |\n  up ==\n    rate(up)", "7:18"),
        ("expr: |-\n  up << 1", "6:15"),
        // In these the file spells the text in another way, so the place within the text is said.
        ("expr: >\n  up ==\n  << 1", "6:11"),
        ("expr: up ==\n  << 1", "5:15"),
        ("expr: \"up\\u0020<< 1\"", "5:15"),
    ] {
        let said = errors("a.yaml", &with(keys));
        assert_eq!(said.len(), 1, "{keys}: {said:?}");
        assert!(
            said[0].starts_with(&format!("{expected} the expression does not parse: ")),
            "{keys}: {said:?}"
        );
        assert_eq!(
            said[0].contains(" of this text)"),
            matches!(expected, "5:15" | "6:11"),
            "{keys}: {said:?}"
        );
    }
}

#[test]
fn each_mistake_has_its_place() {
    let up = |keys: &str| format!("expr: up == 0\n{keys}");
    let cases = [
        ("for: 1m".to_owned(), "4:9 `expr` is missing: a rule says what it watches"),
        (up("expr: up"), "6:9 `expr` is given twice"),
        (up("fro: 1m"), "6:9 unknown key `fro` in a rule"),
        (up("for: 1 parsec"), "6:16 `parsec` is not a unit of time"),
        (up("for: 2y"), "6:14 `for` of 730 d is longer than 365 d"),
        ("expr: up[5m]".into(), "5:15 the expression gives a range vector, an alert needs series"),
        ("expr: [up]".into(), "5:15 `expr` is a list, one value was expected"),
        (up("record: b"), "6:9 a rule alerts or records, not both"),
        (up("on_fire: kubectl delete pod x"), "6:18 unknown heal verb `kubectl`; known: rollback, restart"),
        (up("on_fire: rollback a --to=prev; true"), "6:38 `;` is for a shell, and a heal runs without one"),
        (
            up("on_fire: \"rolback a --to=prev\""),
            "6:19 unknown heal verb `rolback`; known: rollback, restart",
        ),
        (up("on_fire: [restart, a]"), "6:18 `on_fire` is a list, one value was expected"),
        (up("on_nodata: kep"), "6:20 `kep` does not say what no data means"),
        (up("reading: share"), "6:18 `share` is not a reading"),
        (up("service: DMV"), "6:18 `DMV` is not a service name"),
        (up("notify: [a@b, Me]"), "6:23 `Me` is neither a mail address nor a webhook's name"),
        (up("notify: a@b, Me"), "6:22 `Me` is neither a mail address nor a webhook's name"),
        (up("labels: {sever ity: x}"), "6:29 `sever ity` is not a label's name"),
        (up("labels: {alertname: x}"), "6:29 `alertname` is the rule's own name"),
        (up("labels: [a]"), "6:17 `labels` is a list, a map was expected"),
        (up("annotations: {summary: }"), "6:30 `summary` is empty"),
        (up("annotations: {hmsops_on_fier: restart a}"), "6:39 unknown annotation `hmsops_on_fier`"),
        (up("annotations: {hmsops_on_fire: restart}"), "6:39 `restart` does not say which service"),
        (
            up("annotations: {hmsops_on_fire: restart a}\non_fire: restart a"),
            "6:39 `on_fire` and the annotation `hmsops_on_fire` say the same thing",
        ),
    ];
    each_has_one_error("a.yaml", cases.map(|(keys, expected)| (with(&keys), expected)));
    let long = with(&format!("expr: up\nannotations: {{a: {}}}", "x".repeat(30_000)));
    assert!(
        errors("a.yaml", &long)[0].starts_with("4:9 a rule with 30004 bytes of text"),
        "{:?}",
        errors("a.yaml", &long)
    );
}

#[test]
fn mistakes_around_the_rules_have_their_place() {
    let cases = [
        (2, "gruops:", "2:1 unknown key `gruops` in a rule file"),
        (3, "  - nmae: dmv", "3:5 unknown key `nmae` in a group of rules"),
        (3, "  - limit: 0", "3:5 `name` is missing: a group has a name"),
        (4, "    interval: 1ms", "4:15 `interval` of 1 ms is shorter than 1 s"),
        (4, "    limit: few", "4:12 `few` is not a number of alerts or series"),
        (4, "    query_offset: 2h", "4:19 `query_offset` of 2 h is longer than 1 h"),
        (5, "    labels: {__team: dmv}", "5:22 the label `__team` belongs to the inside"),
        (7, "      - alrt: photo_error_spike", "7:9 unknown key `alrt` in a rule"),
        (7, "      - labels: {}", "10:9 `labels` is given twice"),
        (7, "      - alert: a/b", "7:16 `a/b` is not a rule's name"),
        (18, "      - alert: photo_error_spike", "18:16 the alert `photo_error_spike` is given twice"),
    ];
    each_has_one_error(
        "a.yaml",
        cases.map(|(line, new, expected)| (edited(ALERTS, line, Some(new)), expected)),
    );
    let twice = format!("{ALERTS}  - name: dmv\n    rules: []\n");
    assert_eq!(errors("a.yaml", &twice), ["31:11 the group `dmv` is given twice"]);
    assert_eq!(
        errors("alerts.yaml", "groups:\n  - name: a\n"),
        ["2:5 `rules` is missing: a group holds rules"]
    );
    let nameless = "groups: [{name: g, rules: [{expr: up == 0}]}]";
    assert_eq!(errors("a.yaml", nameless), ["1:28 a rule has no name"]);
}
