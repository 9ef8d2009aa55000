//! Rules as the API sends them: what they mean, and each mistake with its field and place.

use std::collections::BTreeMap;

use hmsops_model::{Millis, OnNoData};

use crate::tower::days;
use crate::{HEAL_INTERVAL_DEFAULT, INTERVAL_DEFAULT, Mistake, NewRule, parse_rule, readings};

fn chapter() -> NewRule {
    NewRule {
        name: "photo_error_spike".to_owned(),
        expr: "rate(photo.upload.ok[1m]) < 0.7".to_owned(),
        hold: Millis::from_secs(60),
        on_fire: Some("rollback dmv-photo --to=prev".to_owned()),
        ..NewRule::default()
    }
}

fn one(new: NewRule) -> (String, String, usize, usize) {
    let mut mistakes = parse_rule(new).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    let Mistake { field, message, hint, offset, width, .. } = mistakes.remove(0);
    assert!(!hint.is_empty(), "{message}");
    (field, message, offset, width)
}

#[test]
fn the_chapters_rule_is_read() {
    let spec = parse_rule(chapter()).unwrap();
    assert_eq!(spec.heal.unwrap().to_string(), "rollback dmv-photo --to=prev");
    assert_eq!((spec.hold, spec.interval), (Millis::from_secs(60), HEAL_INTERVAL_DEFAULT));
    assert_eq!((spec.on_nodata, spec.is_literal, spec.service), (OnNoData::Keep, false, None));
    let calm = parse_rule(NewRule { on_fire: None, ..chapter() }).unwrap();
    assert_eq!((calm.interval, calm.heal), (INTERVAL_DEFAULT, None));
    let said = readings(&chapter().expr);
    assert!(said[0].starts_with("share: ") && said[1].starts_with("per-second: "), "{said:?}");
    assert_eq!(readings("up == 0"), Vec::<String>::new());
    assert_eq!(readings("up =="), Vec::<String>::new());
}

#[test]
fn annotations_say_what_fields_say() {
    let annotated = |pairs: &[(&str, &str)]| NewRule {
        on_fire: None,
        annotations: pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        ..chapter()
    };
    let spec = parse_rule(annotated(&[
        ("hmsops_on_fire", "restart dmv-photo"),
        ("hmsops_on_nodata", "alert"),
        ("hmsops_reading", "per-second"),
        ("hmsops_notify", "a@b, pager,a@b"),
        ("hmsops_service", "dmv-photo"),
        ("runbook_url", "runbooks/x.md"),
    ]))
    .unwrap();
    assert_eq!(spec.heal.unwrap().to_string(), "restart dmv-photo");
    assert_eq!((spec.on_nodata, spec.is_literal), (OnNoData::Alert, true));
    assert_eq!(spec.notify, ["a@b", "pager"]);
    assert_eq!(spec.service.unwrap().as_str(), "dmv-photo");
    let found = one(annotated(&[("hmsops_notify", "a@b, Pager Duty")]));
    let expected = "`Pager Duty` is neither a mail address nor a webhook's name";
    assert_eq!(found, ("annotations.hmsops_notify".to_owned(), expected.to_owned(), 5, 10));
    let found = one(annotated(&[("hmsops_onfire", "restart a")]));
    assert_eq!(found.1, "unknown annotation `hmsops_onfire`");
    let twice =
        NewRule { on_fire: Some("restart a".to_owned()), ..annotated(&[("hmsops_on_fire", "restart a")]) };
    assert_eq!(one(twice).1, "`on_fire` and the annotation `hmsops_on_fire` say the same thing");
    let runbook = NewRule { runbook: Some("a.md".to_owned()), ..chapter() };
    assert_eq!(parse_rule(runbook).unwrap().annotations["runbook_url"], "a.md");
}

/// Each rule has one mistake: its field, where it begins, how long it is, what it is.
fn each(cases: impl IntoIterator<Item = (NewRule, &'static str)>) {
    for (new, expected) in cases {
        let (field, message, offset, width) = one(new);
        assert_eq!(format!("{field} {offset}+{width}: {message}"), expected);
    }
}

fn pair(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

#[test]
fn each_mistake_names_its_field_and_place() {
    let heal = |text: &str| NewRule { on_fire: Some(text.to_owned()), ..chapter() };
    let notify = |text: &str| NewRule { notify: vec!["a@b".into(), text.into()], ..chapter() };
    let nodata = |text: &str| NewRule { on_nodata: Some(text.to_owned()), ..chapter() };
    let expr = |text: &str| NewRule { expr: text.to_owned(), ..chapter() };
    let interval = |span: Millis| NewRule { interval: Some(span), ..chapter() };
    each([
        (NewRule { name: "a/b".into(), ..chapter() }, "name 0+3: `a/b` is not a rule's name"),
        (expr("up[5m]"), "expr 0+6: the expression gives a range vector, an alert needs series"),
        (heal("kubectl x"), "on_fire 0+7: unknown heal verb `kubectl`; known: rollback, restart"),
        (heal("restart a|b"), "on_fire 9+1: `|` is for a shell, and a heal runs without one"),
        (nodata("kep"), "on_nodata 0+3: `kep` does not say what no data means"),
        (NewRule { reading: Some("share".to_owned()), ..chapter() }, "reading 0+5: `share` is not a reading"),
        (
            NewRule { service: Some("DMV".to_owned()), ..chapter() },
            "service 0+3: `DMV` is not a service name",
        ),
        (notify("@"), "notify.1 0+1: `@` is neither a mail address nor a webhook's name"),
        (NewRule { hold: days(400), ..chapter() }, "for 0+1: `for` of 400 d is longer than 365 d"),
        (interval(Millis(10)), "interval 0+1: `interval` of 10 ms is not between 1 s and 1 d"),
    ]);
    let found = parse_rule(expr("up ==\n  é <")).unwrap_err().remove(0);
    assert_eq!((found.line, found.column, found.offset), (2, 6, 11), "{found:?}");
    let many = NewRule { name: String::new(), ..expr("") };
    assert_eq!(parse_rule(NewRule { on_fire: Some("no".to_owned()), ..many }).unwrap_err().len(), 3);
}

#[test]
fn labels_and_annotations_are_checked() {
    let label = |name: &str, value: &str| NewRule { labels: pair(name, value), ..chapter() };
    let note = |name: &str, value: &str| NewRule { annotations: pair(name, value), ..chapter() };
    each([
        (label("sever ity", "x"), "labels.sever ity 0+1: `sever ity` is not a label's name"),
        (label("", "x"), "labels. 0+1: `` is not a label's name"),
        (label("__x", "x"), "labels.__x 0+1: the label `__x` belongs to the inside"),
        (label("alertname", "x"), "labels.alertname 0+1: `alertname` is the rule's own name"),
        (label("a", "\0"), "labels.a 0+1: `a` holds a control character"),
        (note("a", "\u{1}"), "annotations.a 0+1: `a` holds a control character"),
        (note("a b", "x"), "annotations.a b 0+1: `a b` is not an annotation's name"),
        (note("hmsops_heal", "x"), "annotations.hmsops_heal 0+1: unknown annotation `hmsops_heal`"),
    ]);
    assert!(one(note("a", &"x".repeat(30_000))).1.ends_with("is longer than 24576"));
    let many = (0..65).map(|n| (format!("l{n}"), String::new())).collect();
    assert_eq!(one(NewRule { labels: many, ..chapter() }).1, "65 labels are more than 64");
}
