use super::*;

/// Scripts rely on these names.
#[test]
fn names_in_json_are_those_of_the_tables() {
    for phase in [
        Phase::Starting,
        Phase::Watching,
        Phase::Baking,
        Phase::Done,
        Phase::RolledBack,
        Phase::Aborted,
        Phase::Failed,
        Phase::Superseded,
    ] {
        assert_eq!(serde_json::to_value(phase).unwrap(), phase.name());
    }
    for health in [Health::Fine, Health::Watch, Health::Failing, Health::Unknown, Health::Retired] {
        assert_eq!(serde_json::to_value(health).unwrap(), health.name());
    }
    for outcome in [EntryOutcome::Intended, EntryOutcome::Done, EntryOutcome::Failed, EntryOutcome::Refused] {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
    }
}

#[test]
fn requests_name_what_they_do_not_know() {
    let wrong = serde_json::from_str::<Deploy>(r#"{"name":"c.yaml","text":"","dryrun":true}"#).unwrap_err();
    assert!(wrong.to_string().contains("unknown field `dryrun`"), "{wrong}");
    let asked: Deploy = serde_json::from_str(r#"{"name":"c.yaml","text":"x"}"#).unwrap();
    assert_eq!(asked, Deploy { name: "c.yaml".into(), text: "x".into(), ..Deploy::default() });
}

#[test]
fn a_problem_has_the_fields_of_rfc_9457() {
    let problem = Problem {
        kind: "/problems/not-found".into(),
        title: "not found".into(),
        status: 404,
        detail: "there is no release r-9".into(),
        hint: None,
        instance: "/hms/v1/releases/r-9".into(),
        mistakes: Vec::new(),
    };
    let text = serde_json::to_string(&problem).unwrap();
    assert_eq!(
        text,
        r#"{"type":"/problems/not-found","title":"not found","status":404,"detail":"there is no release r-9","instance":"/hms/v1/releases/r-9"}"#
    );
    assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
}
