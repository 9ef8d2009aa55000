//! Probes through the doors.

use super::*;

#[tokio::test]
async fn probes_are_listed_before_they_were_seen_and_run_on_demand() {
    let site = Site::new(false).with_forms().await;
    let (status, answer) = site.get("/hms/v1/probes").await;
    assert_eq!(status, 200, "{answer}");
    let probe = &answer["probes"][0];
    assert_eq!(
        (&probe["service"], &probe["check"], &probe["kind"], &probe["target"], &probe["role"]),
        (&json!("legacy-forms"), &json!("its port"), &json!("tcp"), &json!("127.0.0.1:1"), &json!("stable"))
    );
    assert_eq!((&probe["every_ms"], &probe["last"]), (&json!(1000), &json!(null)));
    assert_eq!(site.get("/hms/v1/probes/legacy-forms").await.1, answer);
    let (status, run) = site.post("/hms/v1/probes/legacy-forms/run", json!({})).await;
    assert_eq!((status, &run["passed"]), (StatusCode::OK, &json!(false)), "{run}");
    assert_eq!(
        (&run["runs"][0]["verdict"], &run["runs"][0]["said"]),
        (&json!("failed"), &json!("connection refused"))
    );
    let (_, after) = site.get("/hms/v1/probes").await;
    assert_eq!(after, answer, "a look that a person asks for is no evidence");
}

#[tokio::test]
async fn a_run_that_is_asked_wrongly_says_what_there_is() {
    let site = Site::new(false).with_forms().await;
    let (status, problem) = site.post("/hms/v1/probes/legacy-forms/run", json!({"check": "/health"})).await;
    assert_eq!((status, &problem["hint"]), (StatusCode::NOT_FOUND, &json!("known: its port")), "{problem}");
    let (status, problem) = site.post("/hms/v1/probes/legacy-from/run", json!({})).await;
    assert_eq!(
        (status, &problem["hint"]),
        (StatusCode::NOT_FOUND, &json!("known: legacy-forms")),
        "{problem}"
    );
    assert_eq!(site.post("/hms/v1/probes/legacy-forms/run", json!({"chekc": "x"})).await.0, 400);
    assert_eq!(site.get("/hms/v1/probes/nothing").await.0, 404);
}
