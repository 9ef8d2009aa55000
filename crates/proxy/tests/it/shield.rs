//! Users are shielded from the canary, and it is counted all the same.

use std::time::Duration;

use hmsops_model::service::BadRule;
use hmsops_model::{BadKind, Millis};

use crate::world::{Reply, backend, gateway, nowhere, route};

/// Ten GETs at a canary that has all traffic and does this: every user gets stable's answer, each is counted.
async fn check_shielded(canary: &str, kind: BadKind) {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let mut tower = gateway.tower().await;
    let mut all = route(1, &stable.address, canary, 10_000);
    if kind == BadKind::Timeout {
        all.canary.as_mut().unwrap().shield_after = Some(Millis(100));
    }
    tower.set(all).await;
    let mut client = gateway.client().await;
    for _ in 0..10 {
        let got = client.get("/").await;
        assert_eq!((got.status, got.body.as_deref(), got.reason), (200, Some("stable"), None), "{kind:?}");
    }
    let (stable, canary) = tower.counts("ten bad answers", |_, canary| canary.n_bad() >= 10).await;
    assert_eq!(canary.bad, [(kind, 10)].into());
    assert_eq!((canary.requests, canary.shielded, canary.seen, canary.new_bad), (10, 10, 0, 10));
    assert!(canary.first_bad_at.is_some() && canary.first_bad_at <= canary.last_bad_at);
    assert_eq!(stable.requests, 0, "a request is counted where it was drawn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_500_of_the_canary_is_answered_by_stable() {
    check_shielded(&backend(Reply::Status(500, "canary")).await.address, BadKind::Status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_refuses_is_answered_for_by_stable() {
    check_shielded(&nowhere().await, BadKind::Refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_hangs_is_answered_for_by_stable() {
    check_shielded(&backend(Reply::Hang).await.address, BadKind::Timeout).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_breaks_off_is_answered_for_by_stable() {
    check_shielded(&backend(Reply::Reset).await.address, BadKind::Broken).await;
}

/// What may have happened must not happen twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_is_retried_only_when_nothing_was_sent() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let (bad, reset) = (backend(Reply::Status(500, "canary")).await, backend(Reply::Reset).await);
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    tower.set(route(1, &stable.address, &bad.address, 10_000)).await;
    let got = client.post("/login").await;
    assert_eq!((got.status, got.body.as_deref()), (500, Some("canary")));
    tower.set(route(2, &stable.address, &reset.address, 10_000)).await;
    let got = client.post("/login").await;
    assert_eq!((got.status, got.reason.as_deref()), (502, Some("broken")));
    assert_eq!((stable.asked(), bad.asked(), reset.asked()), (0, 1, 1));
    tower.set(route(3, &stable.address, &nowhere().await, 10_000)).await;
    let got = client.post("/login").await;
    assert_eq!((got.status, got.body.as_deref()), (200, Some("stable")));
    let (_, canary) = tower.counts("three bad answers", |_, canary| canary.n_bad() >= 3).await;
    assert_eq!((canary.seen, canary.shielded), (2, 1));
}

/// A body that was held goes to stable as it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_with_a_small_body_is_shielded() {
    let (gateway, stable) = (gateway().await, backend(Reply::Echo).await);
    let canary = backend(Reply::Status(503, "canary")).await;
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let request = hyper::Request::put("/doc").header("host", "portal");
    let got = client.send_with(request, "twelve bytes").await;
    let body = got.body.unwrap();
    assert!(got.status == 200 && body.contains("content-length: 12"), "{body}");
    assert_eq!((stable.asked(), canary.asked()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_declared_bad_counts_on_its_path_only() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Status(401, "canary")).await;
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    let mut route = route(1, &stable.address, &canary.address, 10_000);
    route.bad.push(BadRule::Answer { path: Some("/login".to_owned()), status: vec![401] });
    tower.set(route).await;
    assert_eq!(client.get("/login?next=/").await.status, 200);
    assert_eq!(client.get("/other").await.status, 401);
    let (_, canary) = tower.counts("both", |_, canary| canary.requests >= 2).await;
    assert_eq!(canary.bad, [(BadKind::Declared, 1)].into());
}

/// When both fail the user sees stable's answer, and the canary's was seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_arms_fail_was_seen() {
    let gateway = gateway().await;
    let (stable, canary) =
        (backend(Reply::Status(503, "stable")).await, backend(Reply::Status(500, "canary")).await);
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    assert_eq!(client.get("/").await.status, 503);
    tower.set(route(2, &nowhere().await, &canary.address, 10_000)).await;
    assert_eq!(client.get("/").await.status, 500, "any answer is better than none");
    let (_, canary) = tower.counts("both", |_, canary| canary.requests >= 2).await;
    assert_eq!((canary.seen, canary.shielded), (2, 0));
}

/// The shield must not bring stable down: past its budget the canary's answers are the user's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shield_has_a_budget() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Status(500, "canary")).await;
    let mut tower = gateway.tower().await;
    // 10 % of the traffic, of which 10 % or 20 a second may be retried.
    tower.set(route(1, &stable.address, &canary.address, 5000)).await;
    let mut client = gateway.client().await;
    let mut failed = 0;
    for _ in 0..400 {
        failed += u64::from(client.get("/").await.status == 500);
    }
    let (stable, canary) =
        tower.counts("all", |stable, canary| stable.requests + canary.requests >= 400).await;
    assert_eq!(canary.seen, failed);
    assert_eq!(canary.n_bad(), canary.requests);
    assert!(canary.shielded >= 20 && stable.n_bad() == 0, "{canary:?}");
}

/// Without a declared `timeout` a slow answer is not bad, but the user is not kept waiting either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_canary_is_bad_only_if_the_service_says_so() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Hang).await;
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    let mut route = route(1, &stable.address, &canary.address, 10_000);
    route.bad = vec![BadRule::Status5xx];
    route.canary.as_mut().unwrap().shield_after = Some(Millis(50));
    tower.set(route).await;
    assert_eq!(client.get("/").await.status, 200);
    let (_, canary) = tower.counts("one", |_, canary| canary.requests >= 1).await;
    assert_eq!(canary.n_bad(), 0);
}

/// What the canary would have been given up for is held against stable, too; its user has the answer all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stable_as_slow_as_a_canary_that_is_given_up_counts_the_same() {
    let late = Reply::Late(Duration::from_millis(300), b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow");
    let (gateway, stable) = (gateway().await, backend(late).await);
    let mut tower = gateway.tower().await;
    let mut one = route(1, &stable.address, &nowhere().await, 1);
    one.canary.as_mut().unwrap().shield_after = Some(Millis(100));
    tower.set(one).await;
    let mut client = gateway.client().await;
    let got = client.get("/").await;
    assert_eq!((got.status, got.body.as_deref()), (200, Some("slow")));
    let (stable, _) =
        tower.counts("the slow answer", |stable, _| stable.requests >= 1 && stable.new_bad >= 1).await;
    assert_eq!(stable.bad, [(BadKind::Timeout, 1)].into());
    assert_eq!((stable.seen, stable.new_bad), (0, 1));
}
