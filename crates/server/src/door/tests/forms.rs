//! What a person does to a release by the forms of its page.

use hmsops_control::Event;
use hmsops_model::freeze::{Freeze, FreezeSpan};
use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::{InstanceId, ServiceName, UnixMillis};

use super::*;

impl Site {
    /// Posts a form; the status, and where it leads or what it says.
    async fn fill_in(&self, path: &str, text: &str) -> (StatusCode, String) {
        let request = bare(Method::POST, path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(text.to_owned()))
            .unwrap();
        let response = self.send(request).await;
        let (status, to) = (response.status(), response.headers().get(LOCATION).cloned());
        if let Some(to) = to {
            return (status, to.to_str().unwrap().to_owned());
        }
        (status, read(response).await.1.as_str().unwrap_or_default().to_owned())
    }

    /// Looks of a prober at both versions, until the release has come up.
    async fn comes_up(&self) {
        let service = ServiceName::new("legacy-forms").unwrap();
        for id in [1, 2, 1, 2, 1, 2] {
            let (instance, verdict) = (InstanceId(id), ProbeVerdict::Pass { millis: 1 });
            for path in ["", "/health"] {
                let (service, path, verdict) = (service.clone(), path.to_owned(), verdict.clone());
                let probe = ProbeResult { service, instance, path, scheduled: true, verdict };
                self.context.engine.submit(Event::Probe(probe)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_form_asks_for_a_reason() {
    let site = Site::new(false).with_forms().await;
    assert_eq!(site.post("/hms/v1/deploy", json!({"name": "c.yaml", "text": CANARY})).await.0, 201);
    let (status, page) = site.get("/releases/r-1/abort").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.as_str().unwrap().contains("name=\"reason\""), "{page}");
    assert_eq!(site.fill_in("/releases/r-1/abort", "reason=").await.0, 409, "a reason is needed");
    let done = site.fill_in("/releases/r-1/abort", "reason=wrong+build%21").await;
    assert_eq!(done, (StatusCode::SEE_OTHER, "/releases/r-1".to_owned()));
    assert_eq!(site.get("/hms/v1/releases/r-1").await.1["why"], "Taken back by a person: wrong build!");
    let (status, sheet) = site.get("/assets/tower.css").await;
    assert!(status == 200 && sheet.as_str().unwrap().contains('{'), "{sheet}");
}

/// What cannot be undone, or was ruled out, is said yes to by a box each; without them nothing happens.
#[tokio::test]
async fn a_freeze_and_a_point_of_no_return_have_a_box_each() {
    let site = Site::new(false).with_forms().await;
    let text = format!("{CANARY}irreversible: true\n");
    assert_eq!(site.post("/hms/v1/deploy", json!({"name": "c.yaml", "text": text})).await.0, 201);
    site.comes_up().await;
    let (_, release) = site.get("/hms/v1/releases/r-1").await;
    assert!(release["headline"].as_str().unwrap().contains("no way back"), "{release}");
    let when = FreezeSpan::Once { from: UnixMillis(0), to: UnixMillis(i64::MAX / 2) };
    let freezes = vec![Freeze { when, why: Some("year end".into()) }];
    site.context.engine.submit(Event::Freezes(freezes)).await.unwrap();
    // Pages are drawn from a snapshot, which comes a moment after what is no change of state.
    let knows = |snapshot: &Arc<Snapshot>| !snapshot.evidence.seen.freezes.is_empty();
    assert!(wait_until(&site.context.engine, std::time::Duration::from_secs(10), knows).await);

    let (_, page) = site.get("/releases/r-1/promote").await;
    let page = page.as_str().unwrap();
    assert!(page.contains("name=\"no_return\"") && page.contains("name=\"override_freeze\""), "{page}");
    for (given, lacks) in [
        ("reason=the+backup+is+tested", "no way back"),
        ("reason=the+backup+is+tested&override_freeze=true", "no way back"),
        ("reason=the+backup+is+tested&no_return=true", "frozen"),
        ("reason=&no_return=true&override_freeze=true", "a reason is needed"),
    ] {
        let (status, said) = site.fill_in("/releases/r-1/promote", given).await;
        assert!(status == 409 && said.contains("Not done: ") && said.contains(lacks), "{given}: {said}");
    }
    assert!(site.context.engine.snapshot().state.releases[&hmsops_model::ReleaseId(1)].hold.is_some());
    let all = "reason=the+backup+is+tested&no_return=true&override_freeze=true";
    assert_eq!(site.fill_in("/releases/r-1/promote", all).await.0, StatusCode::SEE_OTHER);
    let state = site.context.engine.snapshot().state.clone();
    let release = &state.releases[&hmsops_model::ReleaseId(1)];
    assert!(release.committed && release.freeze_overridden.is_some() && release.hold.is_none());
}
