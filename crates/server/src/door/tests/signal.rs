//! Rules, alerts, silences, heals, tickets and notices through the doors.

use super::*;

fn spike() -> Value {
    json!({
        "name": "photo_error_spike",
        "expr": "rate(photo.upload.ok[1m]) < 0.7",
        "for_seconds": 0,
        "on_fire": "rollback legacy-forms --to=prev",
        "notify": ["oncall@csac.gov"],
    })
}

impl Site {
    async fn delete(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::DELETE, path, None).await
    }

    /// What the evaluator would say of a rule.
    async fn evaluated(&self, rule: &str, outcome: hmsops_control::event::Outcome) {
        let rule = hmsops_model::RuleName::new(rule).unwrap();
        let expr = self.context.engine.snapshot().state.signals.rules[&rule].spec.expr.clone();
        let evaluation = hmsops_control::event::Evaluation {
            rule,
            expr,
            outcome,
            reading: Some("share".into()),
            texts: [].into(),
        };
        let event = hmsops_control::Event::Evaluated(Box::new(evaluation));
        self.context.engine.submit(event).await.unwrap();
    }

    async fn fires(&self, rule: &str, value: f64) {
        let series = hmsops_model::Labels::new([("pod", "a")]);
        self.evaluated(rule, hmsops_control::event::Outcome::Holds(vec![(series, value)])).await;
    }
}

/// Chapter 20 §8: `Alert.create`, its two readings, and what is said of a service that is not there yet.
#[tokio::test]
async fn a_rule_is_declared_shown_and_removed() {
    let site = Site::new(false);
    let (status, answer) = site.post("/hms/v1/rules", spike()).await;
    assert_eq!(
        (status, &answer["changed"], &answer["reading"]),
        (StatusCode::OK, &json!(true), &json!("undecided"))
    );
    assert_eq!(answer["readings"].as_array().unwrap().len(), 2, "{answer}");
    assert!(answer["warnings"][0].as_str().unwrap().contains("no service `legacy-forms`"), "{answer}");
    let site = site.with_forms().await;
    let (_, again) = site.post("/hms/v1/rules", spike()).await;
    assert_eq!((&again["changed"], &again["warnings"]), (&json!(false), &json!([])));
    let (_, rule) = site.get("/hms/v1/rules/photo_error_spike").await;
    assert_eq!(
        (&rule["health"], &rule["heal"]),
        (&json!("not-evaluated"), &json!("rollback legacy-forms --to=prev"))
    );
    assert_eq!((&rule["service"], &rule["interval_ms"]), (&json!("legacy-forms"), &json!(5000)));
    site.fires("photo_error_spike", 0.42).await;
    let (_, rule) = site.get("/hms/v1/rules/photo_error_spike").await;
    assert_eq!(
        (&rule["health"], &rule["reading"], &rule["alerts"][0]["id"]),
        (&json!("ok"), &json!("share"), &json!("a-1"))
    );
    let (_, list) = site.get("/hms/v1/rules?service=legacy-forms&limit=1").await;
    assert_eq!((&list["items"][0]["name"], &list["next"]), (&json!("photo_error_spike"), &Value::Null));
    let (status, gone) = site.delete("/hms/v1/rules/photo_error_spike?reason=replaced").await;
    assert_eq!((status, &gone["alerts"]), (StatusCode::OK, &json!([])), "{gone}");
    assert_eq!(site.get("/hms/v1/rules/photo_error_spike").await.0, 404);
    assert_eq!(site.delete("/hms/v1/rules/photo_error_spike").await.0, 404);
    assert_eq!(site.get("/hms/v1/alerts/a-1").await.1["condition"], "resolved");
}

#[tokio::test]
async fn wrong_rules_are_refused_with_field_and_place_and_change_nothing() {
    let site = Site::new(false);
    let wrong = |field: &str, value: Value| {
        let mut rule = spike();
        rule[field] = value;
        rule
    };
    for (rule, field, column, said) in [
        (
            wrong("on_fire", json!("kubectl rollout undo")),
            "on_fire",
            1,
            "unknown heal verb `kubectl`; known: rollback, restart",
        ),
        (wrong("expr", json!("rate(x[1m] < 0.7")), "expr", 17, "does not parse"),
        (wrong("reading", json!("sum")), "reading", 1, "not a reading"),
        (wrong("name", json!("a/b")), "name", 1, "not a rule's name"),
    ] {
        let (status, problem) = site.post("/hms/v1/rules", rule).await;
        assert_eq!(status, 400, "{problem}");
        let mistake = &problem["mistakes"][0];
        assert_eq!((&mistake["file"], &mistake["column"]), (&json!(field), &json!(column)), "{problem}");
        assert!(mistake["message"].as_str().unwrap().contains(said), "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(said) && problem["hint"].is_string(),
            "{problem}"
        );
    }
    for (rule, said) in [
        (wrong("for_seconds", json!(u64::MAX)), "too long"),
        (wrong("for_seconds", json!(-1)), "invalid value"),
        (wrong("shell", json!("rm")), "unknown field `shell`"),
    ] {
        let (status, problem) = site.post("/hms/v1/rules", rule).await;
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    assert!(site.context.engine.snapshot().state.signals.rules.is_empty());
}

/// One owner per object: the file wins.
#[tokio::test]
async fn a_rule_of_a_file_is_changed_there_only() {
    let site = Site::new(false);
    let text = hmsops_config::NewRule {
        name: "photo_error_spike".into(),
        expr: "x > 1".into(),
        ..Default::default()
    };
    let spec = hmsops_config::parse_rule(text).unwrap();
    let by = hmsops_control::Who { actor: "ops/alerts/photo.yaml".into(), source: "repo".into() };
    let event = hmsops_control::Event::Rules { rules: vec![(spec, Vec::new())], by };
    site.context.engine.submit(event).await.unwrap();
    for (status, problem) in
        [site.post("/hms/v1/rules", spike()).await, site.delete("/hms/v1/rules/photo_error_spike").await]
    {
        assert_eq!(status, 409, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("`ops/alerts/photo.yaml`"), "{problem}");
    }
}

/// M19: a silence is logged with its reason, holds notices and heal, and both say so.
#[tokio::test]
async fn an_alert_is_acked_and_silenced_with_a_reason() {
    let site = Site::new(false).with_forms().await;
    let mut rule = spike();
    rule["on_fire"] = Value::Null;
    rule["service"] = json!("legacy-forms");
    assert_eq!(site.post("/hms/v1/rules", rule).await.0, 200);
    site.fires("photo_error_spike", 0.42).await;
    let (_, list) = site.get("/hms/v1/alerts?active=true").await;
    let alert = &list["items"][0];
    assert_eq!(
        (&alert["state"], &alert["value"], &alert["value_text"]),
        (&json!("fired"), &json!(0.42), &json!("0.42"))
    );
    assert!(alert["sentence"].as_str().unwrap().starts_with("photo_error_spike fired "), "{alert}");
    for (path, body) in [
        ("/hms/v1/alerts/a-1/ack", json!({})),
        ("/hms/v1/silences", json!({"rule": "photo_error_spike", "for_ms": 1, "reason": " "})),
        ("/hms/v1/heals/pause", json!({"reason": ""})),
    ] {
        let (status, problem) = site.post(path, body).await;
        assert!(
            status == 400 && problem["detail"].as_str().unwrap().contains("a reason is needed"),
            "{problem}"
        );
    }
    let (_, acked) = site.post("/hms/v1/alerts/a-1/ack", json!({"reason": "I look at it"})).await;
    assert_eq!((&acked["state"], &acked["acked_by"]), (&json!("fired, acked"), &json!("admin")), "{acked}");
    let asked = json!({"rule": "photo_error_spike", "for_ms": 7_200_000, "reason": "planned upgrade"});
    let (status, silence) = site.post("/hms/v1/silences", asked).await;
    assert_eq!((status, &silence["id"]), (StatusCode::OK, &json!("s-1")), "{silence}");
    assert!(
        silence["sentence"]
            .as_str()
            .unwrap()
            .ends_with("its heal is held too (--keep-heal); release detectors stay on")
    );
    let (_, alert) = site.get("/hms/v1/alerts/a-1").await;
    assert_eq!((&alert["silenced_by"], &alert["silenced_until"]), (&json!(["s-1"]), &silence["until"]));
    let (_, log) = site.get("/hms/v1/audit?subject=rule/photo_error_spike").await;
    assert!(log.to_string().contains("planned upgrade") && log.to_string().contains("I look at it"), "{log}");
    let (status, ended) = site.delete("/hms/v1/silences/s-1?reason=done").await;
    assert_eq!((status, &ended["ended_why"]), (StatusCode::OK, &json!("lifted: done")), "{ended}");
    assert_eq!(site.delete("/hms/v1/silences/s-1").await.0, 409);
    assert_eq!(site.get("/hms/v1/silences?active=true").await.1["items"], json!([]));
    for (path, body, status) in [
        ("/hms/v1/silences", json!({"rule": "nothing", "for_ms": 1000, "reason": "x"}), 404),
        ("/hms/v1/silences", json!({"rule": "photo_error_spike", "for_ms": 0, "reason": "x"}), 409),
        ("/hms/v1/alerts/a-9/ack", json!({"reason": "x"}), 404),
        ("/hms/v1/alerts/9/ack", json!({"reason": "x"}), 400),
    ] {
        assert_eq!(site.post(path, body).await.0, status, "{path}");
    }
}

/// Neither no data nor a query that fails is fine: both stand among what is active.
#[tokio::test]
async fn a_rule_that_cannot_see_is_among_the_active_ones() {
    let site = Site::new(false);
    let mut other = spike();
    other["name"] = json!("other");
    assert_eq!(site.post("/hms/v1/rules", spike()).await.0, 200);
    assert_eq!(site.post("/hms/v1/rules", other).await.0, 200);
    assert_eq!(site.get("/hms/v1/alerts?active=true").await.1["items"], json!([]));
    site.evaluated("other", hmsops_control::event::Outcome::NoData).await;
    site.evaluated("photo_error_spike", hmsops_control::event::Outcome::Failed("too many series".into()))
        .await;
    let (_, first) = site.get("/hms/v1/alerts?active=true&limit=1").await;
    assert_eq!(
        (&first["items"][0]["id"], &first["items"][0]["state"]),
        (&Value::Null, &json!("query error")),
        "{first}"
    );
    assert_eq!(first["items"][0]["sentence"], "photo_error_spike: query failed: too many series");
    let (_, second) =
        site.get(&format!("/hms/v1/alerts?active=true&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!(
        (&second["items"][0]["rule"], &second["items"][0]["state"]),
        (&json!("other"), &json!("no data")),
        "{second}"
    );
    assert_eq!(second["next"], Value::Null);
    assert_eq!(site.get("/hms/v1/alerts?cursor=x").await.0, 400);
}

/// A heal that fails opens a ticket with what it printed; a person closes it with a reason.
#[tokio::test]
async fn heals_run_pause_and_end_in_a_persons_hands() {
    let site = Site::new(false).with_forms().await;
    assert_eq!(site.post("/hms/v1/rules", spike()).await.0, 200);
    let (status, dry) =
        site.post("/hms/v1/heals", json!({"rule": "photo_error_spike", "dry_run": true, "reason": ""})).await;
    assert_eq!(
        (status, dry),
        (StatusCode::OK, json!({"id": null, "action": "rollback legacy-forms --to=prev"}))
    );
    assert_eq!(site.get("/hms/v1/heals").await.1, json!({"items": [], "next": null, "paused": null}));
    assert_eq!(site.post("/hms/v1/heals/pause", json!({"reason": "works"})).await.0, 200);
    assert_eq!(site.get("/hms/v1/heals").await.1["paused"]["reason"], "works");
    let asked = json!({"rule": "photo_error_spike", "reason": "now"});
    assert_eq!(site.post("/hms/v1/heals", asked.clone()).await.0, 409, "healing is paused");
    assert_eq!(site.post("/hms/v1/heals/resume", json!({"reason": "done"})).await.0, 200);
    assert_eq!(site.post("/hms/v1/heals/resume", json!({"reason": "done"})).await.0, 409);
    site.fires("photo_error_spike", 0.42).await;
    let (_, alert) = site.get("/hms/v1/alerts/a-1").await;
    assert_eq!((&alert["state"], &alert["heal"]), (&json!("fired, heal-running"), &json!("h-1")), "{alert}");
    assert!(
        alert["sentence"].as_str().unwrap().ends_with("; rollback legacy-forms --to=prev runs"),
        "{alert}"
    );
    assert_eq!(site.post("/hms/v1/heals", asked).await.0, 409, "one is under way");
    let report = hmsops_control::HealReport {
        success: false,
        exit: "exited with status 1".into(),
        output: "no proven version".into(),
    };
    let event = hmsops_control::Event::Heal { id: hmsops_model::HealId(1), report };
    site.context.engine.submit(event).await.unwrap();
    let (_, heal) = site.get("/hms/v1/heals/h-1").await;
    assert_eq!(
        (&heal["phase"], &heal["output"], &heal["ticket"]),
        (&json!("failed"), &json!("no proven version"), &json!("t-1"))
    );
    let (_, alert) = site.get("/hms/v1/alerts/a-1").await;
    assert_eq!(
        (&alert["state"], &alert["ticket"], &alert["heal"]),
        (&json!("fired, take-over"), &json!("t-1"), &json!("h-1"))
    );
    let (_, tickets) = site.get("/hms/v1/tickets?open=true").await;
    assert_eq!(tickets["items"][0]["title"], "Take-Over Required: legacy-forms");
    assert!(tickets["items"][0]["text"].as_str().unwrap().contains("no proven version"));
    let (_, closed) = site.post("/hms/v1/tickets/t-1/close", json!({"reason": "put 1.7.3 back"})).await;
    assert_eq!(
        (&closed["close_reason"], &closed["closed_by"]["actor"]),
        (&json!("put 1.7.3 back"), &json!("admin"))
    );
    assert_eq!(site.get("/hms/v1/tickets?open=true").await.1["items"], json!([]));
    assert_eq!(site.post("/hms/v1/tickets/t-1/close", json!({"reason": "again"})).await.0, 409);
}

#[tokio::test]
async fn notices_are_tried_listed_and_retried() {
    let site = Site::new(false);
    let (status, made) = site.post("/hms/v1/notices/test", json!({"receiver": "oncall@csac.gov"})).await;
    assert_eq!(
        (status, &made["phase"], &made["about"]),
        (StatusCode::OK, &json!("waiting"), &json!("test")),
        "{made}"
    );
    assert_eq!(site.post("/hms/v1/notices/test", json!({"receiver": "a b"})).await.0, 400);
    assert_eq!(site.post("/hms/v1/notices/n-1/retry", json!({})).await.0, 409, "it was not given up");
    let report = hmsops_control::NoticeReport::Failed {
        why: "no such user".into(),
        is_final: true,
        retry_after: None,
    };
    let event = hmsops_control::Event::Notice { id: hmsops_model::NoticeId(1), report };
    site.context.engine.submit(event).await.unwrap();
    let (_, dead) = site.get("/hms/v1/notices?dead=true").await;
    assert_eq!(
        (&dead["items"][0]["phase"], &dead["items"][0]["last_error"]),
        (&json!("dead"), &json!("no such user"))
    );
    assert_eq!(site.get("/hms/v1/notices?pending=true").await.1["items"], json!([]));
    let (status, again) = site.post("/hms/v1/notices/n-1/retry", json!({})).await;
    assert_eq!((status, &again["phase"]), (StatusCode::OK, &json!("waiting")), "{again}");
    assert!(again["next_at"].is_string());
}

#[tokio::test]
async fn the_pages_of_alerts_act_by_forms() {
    let site = Site::new(false).with_forms().await;
    let (_, page) = site.get("/alerts").await;
    assert!(page.as_str().unwrap().contains("hmsops alert create"), "{page}");
    assert_eq!(site.post("/hms/v1/rules", spike()).await.0, 200);
    site.fires("photo_error_spike", 0.42).await;
    for path in [
        "/",
        "/alerts",
        "/alerts/a-1",
        "/tickets",
        "/notices",
        "/rules/photo_error_spike/silence",
        "/heals/pause",
    ] {
        let (status, page) = site.get(path).await;
        assert!(status == 200 && page.as_str().unwrap().starts_with("<!doctype html>"), "{path}: {page}");
    }
    assert!(
        site.get("/alerts/a-1").await.1.as_str().unwrap().contains("photo_error_spike fired at 0.42"),
        "its course"
    );
    assert_eq!(site.get("/alerts/a-9").await.0, 404);
    let form = |path: &str, text: &str| {
        bare(Method::POST, path)
            .header("authorization", format!("Bearer {}", site.token))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(text.to_owned()))
            .unwrap()
    };
    for (path, text, status) in [
        ("/alerts/a-1/ack", "reason=", 409),
        ("/alerts/a-1/ack", "reason=mine", 303),
        ("/rules/photo_error_spike/silence", "for=soon&reason=x", 409),
        ("/rules/photo_error_spike/silence", "for=2h&reason=planned+upgrade&keep_heal=true", 303),
        ("/silences/s-1/end", "reason=over", 303),
        ("/heals/pause", "reason=works", 303),
        ("/heals/resume", "reason=done", 303),
        ("/tickets/t-1/close", "reason=x", 409),
    ] {
        assert_eq!(site.send(form(path, text)).await.status(), status, "{path} {text}");
    }
    let silences = site.get("/hms/v1/silences").await.1;
    assert_eq!(
        (&silences["items"][0]["keep_heal"], &silences["items"][0]["ended_why"]),
        (&json!(true), &json!("lifted: over"))
    );
}

/// What runs elsewhere is not ours to restart; a reason stands with what is.
#[tokio::test]
async fn a_service_that_runs_elsewhere_is_not_restarted() {
    let site = Site::new(false).with_forms().await;
    let (status, problem) =
        site.post("/hms/v1/services/legacy-forms/restart", json!({"reason": "slow"})).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("runs elsewhere"), "{problem}");
    assert_eq!(site.post("/hms/v1/services/x/restart", json!({})).await.0, 404);
}
