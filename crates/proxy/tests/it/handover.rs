//! A new process takes a gateway's place: nobody notices, and what the tower says reaches both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hmsops_model::{ReleaseId, Weight};
use hmsops_wire::gateway::{FromGateway, ToGateway};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::world::{Client, Reply, Running, Tower, backend, gateway, patiently, portal, raw, route};

/// The tower, once it has called again after a hand-over.
async fn again(old: &mut Tower, gateway: &Running) -> Tower {
    old.hung_up().await;
    gateway.tower().await
}

fn hello(message: &FromGateway) -> Option<(u64, Vec<(u64, Weight)>)> {
    let FromGateway::Hello { gateway_run, routes, .. } = message else { return None };
    Some((*gateway_run, routes.iter().map(|route| (route.epoch, route.weight)).collect()))
}

/// Clients of each kind ask without a pause while one process after another takes over.
#[tokio::test(flavor = "multi_thread")]
async fn five_processes_follow_each_other_and_no_request_fails() {
    let (stable, canary) = (backend(Reply::Status(200, "ok")).await, backend(Reply::Status(200, "ok")).await);
    let mut running = gateway().await;
    let mut tower = running.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 5000)).await;
    let (address, done) = (running.listen, Arc::new(AtomicBool::new(false)));
    let mut clients = tokio::task::JoinSet::new();
    for kind in 0..6 {
        let done = Arc::clone(&done);
        clients.spawn(async move {
            let (mut kept, mut asked) = (Client::new(address).await, 0_u64);
            while !done.load(Ordering::Relaxed) {
                asked += 1;
                if kind % 2 == 0 {
                    let answer = raw(address, b"GET / HTTP/1.1\r\nhost: portal\r\nconnection: close\r\n\r\n");
                    assert!(answer.await.starts_with("HTTP/1.1 200"), "a new connection, request {asked}");
                } else {
                    assert_eq!(kept.post("/").await.status, 200, "a kept connection, request {asked}");
                }
            }
            asked
        });
    }
    let mut before = Vec::new();
    for _ in 0..5 {
        let next = running.successor().await;
        let mut new = again(&mut tower, &next).await;
        let (_, routes) = new.wait("a hello", hello).await;
        assert_eq!(routes, [(1, Weight::from_bp(5000).unwrap())], "the weight is as it was");
        new.ticks.append(&mut tower.ticks);
        tower = new;
        before.push(std::mem::replace(&mut running, next));
    }
    done.store(true, Ordering::Relaxed);
    let asked: u64 = clients.join_all().await.into_iter().sum();
    for gateway in before {
        gateway.ended().await;
    }
    // Ticks come again after each call of the tower's; each counts once.
    let total = patiently("all counts", async {
        loop {
            tower.ticks.sort_by_key(|tick| (tick.gateway_run, tick.seq));
            tower.ticks.dedup_by_key(|tick| (tick.gateway_run, tick.seq));
            let (stable, canary) = tower.sum();
            if stable.requests + canary.requests >= asked {
                return stable.requests + canary.requests;
            }
            tower.wait("a tick", |message| matches!(message, FromGateway::Tick(_)).then_some(())).await;
        }
    });
    assert_eq!(total.await, asked, "each request is counted, by whichever process");
}

/// A request waits for a canary at the old process; the tower speaks with the new one only.
#[tokio::test(flavor = "multi_thread")]
async fn a_retreat_reaches_requests_at_the_process_that_drains() {
    let (stable, canary) = (backend(Reply::Status(200, "stable")).await, backend(Reply::Hang).await);
    let old = gateway().await;
    let mut tower = old.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let mut client = old.client().await;
    let waiting = tokio::spawn(async move { client.get("/").await });
    tower
        .wait("the request to wait", |message| match message {
            FromGateway::Tick(tick) => (tick.canary_waiting > 0).then_some(()),
            _ => None,
        })
        .await;
    let new = old.successor().await;
    let mut tower = again(&mut tower, &new).await;
    assert!(old.is_running() && !waiting.is_finished());
    tower.retreat(1).await;
    let got = patiently("an answer", waiting).await.unwrap();
    assert_eq!((got.status, got.body.as_deref()), (200, Some("stable")));
    tower
        .wait("the drain of both", |message| match message {
            FromGateway::Drained { release, .. } => (*release == ReleaseId(1)).then_some(()),
            _ => None,
        })
        .await;
    old.ended().await;
    // The new one has kept it.
    let again = new.stop().await.start().await;
    let mut tower = again.tower().await;
    tower.say(ToGateway::Set { route: route(9, &stable.address, &canary.address, 100) }).await;
    tower.wait("a refusal", |message| matches!(message, FromGateway::Refused { .. }).then_some(())).await;
}

/// The canary's instances are not stopped while the process before still has a request there.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_drained_when_both_processes_have_let_go_of_it() {
    let (stable, canary) = (backend(Reply::Status(200, "stable")).await, backend(Reply::Hang).await);
    let old = gateway().await;
    let mut tower = old.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let mut client = old.client().await;
    // What was posted is not asked twice: it stays where it is for the shield's time.
    let waiting = tokio::spawn(async move { client.post("/").await });
    tower
        .wait("the request to wait", |message| match message {
            FromGateway::Tick(tick) => (tick.canary_waiting > 0).then_some(()),
            _ => None,
        })
        .await;
    let new = old.successor().await;
    let mut tower = again(&mut tower, &new).await;
    tower.retreat(1).await;
    for _ in 0..20 {
        tower.say(ToGateway::Ping).await;
        let told = |message: &FromGateway| match message {
            FromGateway::Drained { .. } => Some(true),
            FromGateway::Pong => Some(false),
            _ => None,
        };
        assert!(!tower.wait("a pong", told).await, "told while a request waits");
        tower.wait("a tick", |message| matches!(message, FromGateway::Tick(_)).then_some(())).await;
    }
    waiting.abort();
    tower.wait("the drain", |message| matches!(message, FromGateway::Drained { .. }).then_some(())).await;
    old.ended().await;
}

/// Asks for a gateway's place, as another process does, and gets as far as the state.
async fn ask(old: &Running) -> UnixStream {
    let mut path = old.socket.as_os_str().to_owned();
    path.push(".next");
    let mut stream = UnixStream::connect(&path).await.unwrap();
    say(&mut stream, r#"{"word":"take-over","of":{"version":1,"program":"test"}}"#).await;
    assert_eq!(patiently("the sockets", stream.read_u8()).await.unwrap(), b's');
    assert!(hear(&mut stream).await.starts_with(r#"{"word":"state""#));
    stream
}

async fn say(stream: &mut UnixStream, word: &str) {
    stream.write_u32(word.len() as u32).await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut UnixStream) -> String {
    let len = patiently("a word", stream.read_u32()).await.unwrap();
    let mut word = vec![0; len as usize];
    patiently("a word", stream.read_exact(&mut word)).await.unwrap();
    String::from_utf8(word).unwrap()
}

/// Between the state and its being taken over, the old process passes on what its tower says.
#[tokio::test(flavor = "multi_thread")]
async fn a_retreat_in_the_middle_of_a_hand_over_is_passed_on_and_done() {
    let (stable, canary) =
        (backend(Reply::Status(200, "stable")).await, backend(Reply::Status(200, "new")).await);
    let old = gateway().await;
    let mut tower = old.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let mut next = ask(&old).await;
    tower.retreat(1).await;
    let passed_on = hear(&mut next).await;
    assert!(passed_on.contains("retreat") && passed_on.contains(portal().as_str()), "{passed_on}");
    assert_eq!(old.client().await.get("/").await.body.as_deref(), Some("stable"));
    say(&mut next, r#"{"word":"taken"}"#).await;
    tower.hung_up().await;
    assert_eq!(hear(&mut next).await, r#"{"word":"yours"}"#);
}

/// A process that wants to take over and fails leaves everything as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_fails_changes_nothing() {
    let stable = backend(Reply::Status(200, "stable")).await;
    let old = gateway().await;
    let mut tower = old.tower().await;
    tower.set(route(1, &stable.address, &stable.address, 0)).await;
    let mut client = old.client().await;
    drop(ask(&old).await);
    for word in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x01x", b"", b"\0\0\0\x0f{\"word\":\"yours\"}"] {
        let mut path = old.socket.as_os_str().to_owned();
        path.push(".next");
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(word).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        let _ = patiently("the end", stream.read_to_end(&mut all)).await;
        assert_eq!(client.get("/").await.status, 200);
    }
    tower.set(route(2, &stable.address, &stable.address, 0)).await;
    assert_eq!(client.get("/").await.status, 200);
    let new = old.successor().await;
    drop(client);
    old.ended().await;
    assert_eq!(new.client().await.get("/").await.status, 200);
}
