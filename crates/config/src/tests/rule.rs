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

#[test]
fn each_mistake_names_its_field_and_place() {
    let some = |text: &str| Some(text.to_owned());
    let labels = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    for (new, field, message, offset, width) in [
        (NewRule { name: "a/b".into(), ..chapter() }, "name", "`a/b` is not a rule's name", 0, 3),
        (
            NewRule { expr: "up[5m]".into(), ..chapter() },
            "expr",
            "the expression gives a range vector, an alert needs series",
            0,
            6,
        ),
        (
            NewRule { on_fire: some("kubectl x"), ..chapter() },
            "on_fire",
            "unknown heal verb `kubectl`; known: rollback, restart",
            0,
            7,
        ),
        (
            NewRule { on_nodata: some("kep"), ..chapter() },
            "on_nodata",
            "`kep` does not say what no data means",
            0,
            3,
        ),
        (NewRule { reading: some("share"), ..chapter() }, "reading", "`share` is not a reading", 0, 5),
        (NewRule { service: some("DMV"), ..chapter() }, "service", "`DMV` is not a service name", 0, 3),
        (
            NewRule { notify: vec!["a@b".into(), "@".into()], ..chapter() },
            "notify.1",
            "`@` is neither a mail address nor a webhook's name",
            0,
            1,
        ),
        (
            NewRule { labels: labels("sever ity", "x"), ..chapter() },
            "labels.sever ity",
            "`sever ity` is not a label's name",
            0,
            1,
        ),
        (
            NewRule { labels: labels("__x", "x"), ..chapter() },
            "labels.__x",
            "the label `__x` belongs to the inside",
            0,
            1,
        ),
        (
            NewRule { labels: labels("alertname", "x"), ..chapter() },
            "labels.alertname",
            "`alertname` is the rule's own name",
            0,
            1,
        ),
        (
            NewRule { annotations: labels("a", "\u{1}"), ..chapter() },
            "annotations.a",
            "`a` holds a control character",
            0,
            1,
        ),
        (
            NewRule { annotations: labels("a b", "x"), ..chapter() },
            "annotations.a b",
            "`a b` is not an annotation's name",
            0,
            1,
        ),
        (NewRule { hold: days(400), ..chapter() }, "for", "`for` of 400 d is longer than 365 d", 0, 1),
        (
            NewRule { interval: Some(Millis(10)), ..chapter() },
            "interval",
            "`interval` of 10 ms is not between 1 s and 1 d",
            0,
            1,
        ),
    ] {
        assert_eq!(one(new), (field.to_owned(), message.to_owned(), offset, width));
    }
    let found = parse_rule(NewRule { expr: "up ==\n  é <".into(), ..chapter() }).unwrap_err().remove(0);
    assert_eq!((found.line, found.column, found.offset), (2, 6, 11), "{found:?}");
    let long = NewRule { annotations: labels("a", &"x".repeat(30_000)), ..chapter() };
    assert!(one(long).1.ends_with("is longer than 24576"));
    let many = NewRule { name: String::new(), expr: String::new(), on_fire: some("no"), ..chapter() };
    assert_eq!(parse_rule(many).unwrap_err().len(), 3);
}
