//! A retreat is at once, for good, and waits for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hmsops_model::{Millis, ReleaseId, Weight};
use hmsops_wire::gateway::{FromGateway, RetreatBy, ToGateway};

use crate::world::{Client, Reply, backend, gateway, gateway_with, patiently, portal, route};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retreat_moves_all_traffic_and_those_who_wait() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Hang).await;
    let mut tower = gateway.tower().await;
    let mut long = route(1, &stable.address, &canary.address, 10_000);
    long.canary.as_mut().unwrap().shield_after = Some(Millis(60_000));
    tower.set(long).await;
    let waiting: Vec<_> = futures(gateway.listen, 10);
    patiently("ten requests at the canary", async {
        while canary.asked() < 10 {
            tower
                .wait("a tick", |m| matches!(m, FromGateway::Tick(t) if t.canary_waiting > 0).then_some(()))
                .await;
        }
    })
    .await;
    assert_eq!(tower.retreat(1).await, Weight::ALL);
    for answer in waiting {
        assert_eq!(patiently("an answer", answer).await.unwrap(), (200, Some("stable".to_owned())));
    }
    let mut client = gateway.client().await;
    for _ in 0..100 {
        assert_eq!(client.get("/").await.body.as_deref(), Some("stable"));
    }
    assert_eq!(canary.asked(), 10);
    let drained = |message: &FromGateway| match message {
        FromGateway::Drained { service, release } => Some((service.clone(), *release)),
        _ => None,
    };
    assert_eq!(tower.wait("the drain", drained).await, (portal(), ReleaseId(1)));
    assert_eq!(tower.retreat(1).await, Weight::ALL, "told twice, done once");
}

/// What can't be asked of stable is not kept waiting for a canary that hangs until the usual time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_at_a_canary_that_hangs_is_given_up_soon_after_the_retreat() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Hang).await;
    let mut tower = gateway.tower().await;
    let mut route = route(1, &stable.address, &canary.address, 10_000);
    route.canary.as_mut().unwrap().shield_after = Some(Millis(100));
    tower.set(route).await;
    let listen = gateway.listen;
    let waiting = tokio::spawn(async move { Client::new(listen).await.post("/login").await.status });
    patiently("the request at the canary", async {
        while canary.asked() < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tower.retreat(1).await;
    // The usual time-out is 30 s, and this waits for less.
    assert_eq!(patiently("an answer", waiting).await.unwrap(), 504);
    let seen = |message: &FromGateway| match message {
        FromGateway::Tick(tick) if tick.canary.seen == 1 => tick.canary.bad.keys().next().copied(),
        _ => None,
    };
    assert_eq!(tower.wait("its count", seen).await, hmsops_model::BadKind::Timeout);
}

type Answers = Vec<tokio::task::JoinHandle<(u16, Option<String>)>>;

fn futures(listen: std::net::SocketAddr, n: usize) -> Answers {
    let ask = move || async move {
        let got = Client::new(listen).await.get("/").await;
        (got.status, got.body)
    };
    (0..n).map(|_| tokio::spawn(ask())).collect()
}

/// A POST may have done its work: it keeps waiting for the canary that has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_in_flight_stays_where_it_is() {
    let gateway = gateway_with(|options| options.limits.head = Duration::from_secs(1)).await;
    let (stable, canary) = (backend(Reply::Status(200, "stable")).await, backend(Reply::Hang).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let listen = gateway.listen;
    let post = tokio::spawn(async move { Client::new(listen).await.post("/login").await });
    tower
        .wait("the request", |m| matches!(m, FromGateway::Tick(t) if t.canary_waiting == 1).then_some(()))
        .await;
    tower.retreat(1).await;
    let got = patiently("the time-out", post).await.unwrap();
    assert_eq!((got.status, got.reason.as_deref()), (504, Some("timeout")));
    assert_eq!(stable.asked(), 0);
    tower.wait("the drain", |m| matches!(m, FromGateway::Drained { .. }).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_changes_of_weight_fail_nobody() {
    let gateway = gateway().await;
    let (stable, canary) =
        (backend(Reply::Status(200, "stable")).await, backend(Reply::Status(200, "canary")).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 100)).await;
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (done, listen) = (Arc::clone(&done), gateway.listen);
            tokio::spawn(async move {
                let (mut client, mut n) = (Client::new(listen).await, 0_u64);
                while !done.load(Ordering::SeqCst) {
                    let got = if n % 4 == 0 { client.post("/").await } else { client.get("/").await };
                    assert!(got.status == 200 && got.body.is_some(), "{got:?}");
                    n += 1;
                }
                n
            })
        })
        .collect();
    for epoch in 2..202_u64 {
        tower.set(route(epoch, &stable.address, &canary.address, (epoch * 49 % 10_001) as u16)).await;
    }
    done.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for client in clients {
        sent += patiently("a client's end", client).await.unwrap();
    }
    let (stable, canary) = tower.counts("all requests", |s, c| s.requests + c.requests >= sent).await;
    assert_eq!((stable.requests + canary.requests, stable.n_bad() + canary.n_bad()), (sent, 0));
    assert!(canary.requests > 0 && stable.requests > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_tower_retreats_by_itself_and_says_so_later() {
    let gateway = gateway_with(|options| options.retreat_after = Millis(300)).await;
    let (stable, canary) =
        (backend(Reply::Status(200, "stable")).await, backend(Reply::Status(200, "canary")).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    drop(tower);
    let mut client = gateway.client().await;
    patiently("the retreat", async {
        while client.get("/").await.body.as_deref() != Some("stable") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut tower = gateway.tower().await;
    let FromGateway::Hello { routes, .. } = tower.hear().await else { panic!("no hello") };
    assert!(routes.iter().all(|route| route.retreated && route.weight == Weight::NONE), "{routes:?}");
    let FromGateway::Retreated { by, weight_was, release, .. } = tower.hear().await else {
        panic!("not told")
    };
    assert_eq!((by, weight_was, release), (RetreatBy::Gateway, Weight::ALL, ReleaseId(1)));
    tower.say(ToGateway::Set { route: route(2, &stable.address, &canary.address, 1) }).await;
    let why = tower
        .wait("the refusal", |message| match message {
            FromGateway::Refused { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await;
    assert_eq!(why, "release `r-1` has retreated and gets no weight again");
}

/// Words keep a canary out; that a connection is open does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tower_that_hangs_is_a_tower_that_is_gone() {
    let gateway = gateway_with(|options| options.retreat_after = Millis(300)).await;
    let (stable, canary) =
        (backend(Reply::Status(200, "stable")).await, backend(Reply::Status(200, "canary")).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let by = |message: &FromGateway| match message {
        FromGateway::Retreated { by, .. } => Some(*by),
        _ => None,
    };
    assert_eq!(tower.wait("the retreat", by).await, RetreatBy::Gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_gateway_serves_stable_until_it_is_told_again() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Status(200, "canary")).await;
    let mut tower = gateway.tower().await;
    tower.set(route(7, &stable.address, &canary.address, 10_000)).await;
    let gateway = gateway.stop().await.start().await;
    let mut client = gateway.client().await;
    assert_eq!(client.get("/").await.body.as_deref(), Some("stable"));
    let mut tower = gateway.tower().await;
    let FromGateway::Hello { routes, .. } = tower.hear().await else { panic!("no hello") };
    assert_eq!((routes[0].epoch, routes[0].weight, routes[0].retreated), (6, Weight::NONE, false));
    tower.set(route(7, &stable.address, &canary.address, 10_000)).await;
    assert_eq!(client.get("/").await.body.as_deref(), Some("canary"));

    tower.retreat(1).await;
    let gateway = gateway.stop().await.start().await;
    let mut tower = gateway.tower().await;
    tower.say(ToGateway::Set { route: route(8, &stable.address, &canary.address, 10_000) }).await;
    tower.wait("the refusal", |m| matches!(m, FromGateway::Refused { .. }).then_some(())).await;
    assert_eq!(gateway.client().await.get("/").await.body.as_deref(), Some("stable"));
}

/// A state nobody can read must not keep users out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_state_is_put_aside() {
    use hmsops_disk::Disk;
    let stopped = gateway().await.stop().await;
    stopped.disk.replace("gateway.json", b"{torn").unwrap();
    let gateway = stopped.start().await;
    assert_eq!(gateway.client().await.get("/").await.status, 404);
    assert_eq!(gateway.disk.read("gateway.json.unreadable", 100).unwrap(), b"{torn");
}
