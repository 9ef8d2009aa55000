//! The split is what was asked for, and the ticks say what happened, once.

use std::collections::BTreeSet;

use hmsops_model::service::Identity;
use hmsops_model::{Tick, Unit};
use hmsops_wire::gateway::{FromGateway, ToGateway};

use crate::world::{Client, Reply, backend, gateway, route};

/// Five thousand clients at 10 %: the share lies in the 99.9 % binomial interval, each stays on its arm, and
/// the ticks sum to what was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_split_by_weight_and_stay_where_they_are() {
    let gateway = gateway().await;
    let (stable, canary) =
        (backend(Reply::Status(200, "stable")).await, backend(Reply::Status(200, "canary")).await);
    let mut tower = gateway.tower().await;
    let mut split = route(1, &stable.address, &canary.address, 1000);
    (split.identity, split.sticky) = (Identity::Cookie("session".to_owned()), true);
    tower.set(split).await;
    let mut client = gateway.client().await;
    let mut warm = 0;
    while !tower.ticks.iter().any(|tick| tick.unit == Unit::Client) {
        for i in 0..20 {
            warm += 1;
            client
                .send(hyper::Request::get("/").header("host", "p").header("cookie", format!("session=w{i}")))
                .await;
        }
        tower.counts("the warm-up", |s, c| s.requests + c.requests >= warm).await;
    }
    let clients: Vec<_> = (0..4_u64).map(|part| tokio::spawn(ask_twice(gateway.listen, part))).collect();
    let mut on_canary = 0;
    for part in clients {
        on_canary += part.await.unwrap();
    }
    let (share, sigma) = (on_canary as f64 / 5000.0, (0.1_f64 * 0.9 / 5000.0).sqrt());
    assert!((share - 0.1).abs() <= 3.29 * sigma, "{share}");
    let (stable, canary) = tower.counts("all", |s, c| s.requests + c.requests >= warm + 10_000).await;
    assert_eq!(stable.requests + canary.requests, warm + 10_000);
    assert_eq!(stable.n_bad() + canary.n_bad(), 0);
    assert_eq!(stable.latencies.count() + canary.latencies.count(), warm + 10_000);
}

/// How many of 1250 clients are on the canary; each asks twice.
async fn ask_twice(listen: std::net::SocketAddr, part: u64) -> u64 {
    let (mut client, mut on_canary) = (Client::new(listen).await, 0);
    for i in 0..1250 {
        let mut answers = BTreeSet::new();
        for _ in 0..2 {
            let cookie = format!("session={part}-{i}");
            let request = hyper::Request::get("/").header("host", "portal").header("cookie", cookie);
            answers.insert(client.send(request).await.body.unwrap());
        }
        assert_eq!(answers.len(), 1, "a client stays on its arm");
        on_canary += u64::from(answers.contains("canary"));
    }
    on_canary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticks_are_sent_again_after_a_reconnect_and_not_after_an_acknowledgement() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &stable.address, 0)).await;
    let mut client = gateway.client().await;
    let ask = async |client: &mut Client, n| {
        for _ in 0..n {
            assert_eq!(client.get("/").await.status, 200);
        }
    };
    ask(&mut client, 50).await;
    tower.counts("the first fifty", |stable, _| stable.requests >= 50).await;
    let last = tower.ticks.last().unwrap();
    let (gateway_run, seq) = (last.gateway_run, last.seq);
    tower.say(ToGateway::TickAck { gateway_run, seq }).await;
    tower.say(ToGateway::Ping).await;
    tower.wait("the pong", |m| matches!(m, FromGateway::Pong).then_some(())).await;

    ask(&mut client, 50).await;
    tower.counts("the second fifty", |stable, _| stable.requests >= 100).await;
    drop(tower);
    ask(&mut client, 50).await;
    let mut tower = gateway.tower().await;
    let (stable, _) = tower.counts("what was not acknowledged", |stable, _| stable.requests >= 100).await;
    assert_eq!(stable.requests, 100);
    let seqs: Vec<_> = tower.ticks.iter().map(|tick: &Tick| tick.seq).collect();
    assert!(seqs.windows(2).all(|two| two[1] == two[0] + 1), "without a gap: {seqs:?}");
    assert_eq!(seqs[0], seq + 1, "and without what was acknowledged");
}

/// A newer tower replaces the older.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_latest_tower_is_obeyed() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let mut old = gateway.tower().await;
    old.set(route(1, &stable.address, &stable.address, 0)).await;
    let mut new = gateway.tower().await;
    new.set(route(2, &stable.address, &stable.address, 0)).await;
    old.hung_up().await;
    new.say(ToGateway::Ping).await;
    new.wait("the pong", |m| matches!(m, FromGateway::Pong).then_some(())).await;
}

/// A client that goes is nobody's error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_its_client_gave_up_is_not_counted() {
    let (gateway, stable) = (gateway().await, backend(Reply::Hang).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &stable.address, 10_000)).await;
    let listen = gateway.listen;
    let post = tokio::spawn(async move { Client::new(listen).await.post("/").await });
    tower
        .wait("the request", |m| matches!(m, FromGateway::Tick(t) if t.canary_waiting == 1).then_some(()))
        .await;
    post.abort();
    tower.wait("its end", |m| matches!(m, FromGateway::Tick(t) if t.canary_waiting == 0).then_some(())).await;
    let (stable, canary) = tower.sum();
    assert_eq!((stable.requests, canary.requests), (0, 0));
}
