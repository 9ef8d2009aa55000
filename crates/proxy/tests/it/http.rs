//! Plain carrying: who is asked for which host, what is sent on, and how a gateway starts and ends.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use hmsops_disk::MemDisk;
use hmsops_proxy::plane::{Gateway, GatewayOptions};
use hmsops_wire::gateway::{FromGateway, ToGateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Client, Reply, backend, gateway, nowhere, patiently, portal, raw, route};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_have_their_services_and_unknown_ones_none() {
    let gateway = gateway().await;
    let (a, b) = (backend(Reply::Status(200, "a")).await, backend(Reply::Status(200, "b")).await);
    let mut tower = gateway.tower().await;
    let mut client = gateway.client().await;
    let mut named = route(1, &a.address, &a.address, 0);
    named.host = Some("A.gov".to_owned());
    tower.set(named).await;
    let ask = async |client: &mut Client, host: &str| {
        let got = client.send(hyper::Request::get("/").header("host", host)).await;
        (got.status, got.body.unwrap(), got.reason)
    };
    assert_eq!(ask(&mut client, "a.GOV:8080").await, (200, "a".to_owned(), None));
    let (status, _, reason) = ask(&mut client, "b.gov").await;
    assert_eq!((status, reason.as_deref()), (404, Some("no-route")));
    let mut any = route(2, &b.address, &b.address, 0);
    any.service = hmsops_model::ServiceName::new("other").unwrap();
    tower.set(any).await;
    assert_eq!(ask(&mut client, "b.gov").await, (200, "b".to_owned(), None));
    assert_eq!(ask(&mut client, "a.gov").await, (200, "a".to_owned(), None));
    tower.say(ToGateway::Remove { service: portal(), epoch: 3 }).await;
    tower.wait("the removal", |m| matches!(m, FromGateway::Applied { epoch: 3, .. }).then_some(())).await;
    assert_eq!(ask(&mut client, "a.gov").await.1, "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_stable_the_answer_says_so() {
    let gateway = gateway().await;
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    let mut none = route(1, "", "", 0);
    none.stable.upstreams.clear();
    none.canary = None;
    tower.set(none).await;
    let got = client.get("/").await;
    assert_eq!((got.status, got.reason.as_deref()), (503, Some("no-upstream")));
    tower.set(route(2, &nowhere().await, "", 0)).await;
    let got = client.get("/").await;
    assert_eq!((got.status, got.reason.as_deref()), (502, Some("refused")));
    let (stable, _) = tower.counts("both", |stable, _| stable.requests >= 2).await;
    assert_eq!((stable.n_bad(), stable.seen), (2, 2));
}

/// One of stable's addresses may be down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stables_next_address_is_asked_when_one_refuses() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    let mut two = route(1, &nowhere().await, "", 0);
    two.stable.upstreams.push(stable.address.clone());
    tower.set(two).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.post("/").await.status, 200);
    }
    let (stable, _) = tower.counts("all", |stable, _| stable.requests >= 20).await;
    // After five in a row it is left alone.
    assert_eq!((stable.seen, stable.shielded), (0, 5), "its refusals are counted and were not seen");
}

/// A server may close a kept connection at any moment; users must not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_closes_fails_nobody() {
    let (gateway, stable) = (gateway().await, backend(Reply::Fickle).await);
    let (mut tower, mut client) = (gateway.tower().await, gateway.client().await);
    tower.set(route(1, &stable.address, "", 0)).await;
    for _ in 0..300 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let (stable, _) = tower.counts("all", |stable, _| stable.requests >= 300).await;
    assert_eq!(stable.n_bad(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_sent_on_as_a_proxy_should() {
    let (gateway, stable) = (gateway().await, backend(Reply::Echo).await);
    gateway.tower().await.set(route(1, &stable.address, "", 0)).await;
    let request = "GET http://portal.gov/a?b=c HTTP/1.1\r\nHost: ignored\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    let answer = raw(gateway.listen, request.as_bytes()).await.to_ascii_lowercase();
    for field in [
        "get /a?b=c http/1.1\r\n",
        "\r\nhost: portal.gov\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: portal.gov\r\n",
        "traceparent: 00-0af765",
    ] {
        assert!(answer.contains(field), "{field}: {answer}");
    }
    assert!(!answer.contains("x-hop") && !answer.contains("canary"), "{answer}");
    let old = raw(gateway.listen, b"GET /old HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.contains("GET /old HTTP/1.1"), "{old}");
    assert!(
        raw(gateway.listen, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .contains(" 501 ")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream_both_ways() {
    let gateway = gateway().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Answers each chunk's size at once, before the next has come: nothing may be held back.
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        let mut piece = [0; 1024];
        while !seen.ends_with(b"one\r\n") {
            let n = stream.read(&mut piece).await.unwrap();
            seen.extend_from_slice(&piece[..n]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nONE\r\n").await.unwrap();
        while !seen.ends_with(b"0\r\n\r\n") {
            let n = stream.read(&mut piece).await.unwrap();
            seen.extend_from_slice(&piece[..n]);
        }
        stream.write_all(b"3\r\nTWO\r\n0\r\n\r\n").await.unwrap();
    });
    gateway.tower().await.set(route(1, &address, "", 0)).await;
    let mut stream = TcpStream::connect(gateway.listen).await.unwrap();
    let head =
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
    stream.write_all(head).await.unwrap();
    let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
    while !seen.windows(3).any(|three| three == b"ONE") {
        let n = patiently("the first half", stream.read(&mut piece)).await.unwrap();
        assert!(n > 0);
        seen.extend_from_slice(&piece[..n]);
    }
    stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    patiently("the second half", stream.read_to_end(&mut seen)).await.unwrap();
    assert!(seen.windows(3).any(|three| three == b"TWO"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_joined() {
    let gateway = gateway().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
        while !seen.ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut piece).await.unwrap();
            seen.extend_from_slice(&piece[..n]);
        }
        assert!(String::from_utf8_lossy(&seen).to_ascii_lowercase().contains("upgrade: websocket"));
        let answer = b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        let n = stream.read(&mut piece).await.unwrap();
        stream.write_all(&piece[..n]).await.unwrap();
    });
    let mut tower = gateway.tower().await;
    tower.set(route(1, &address, "", 0)).await;
    let mut stream = TcpStream::connect(gateway.listen).await.unwrap();
    let head = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
    while !seen.ends_with(b"first") {
        let n = patiently("the switch", stream.read(&mut piece)).await.unwrap();
        seen.extend_from_slice(&piece[..n]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"));
    stream.write_all(b"there and back").await.unwrap();
    let mut rest = Vec::new();
    patiently("the echo", stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"there and back");
    let (stable, _) = tower.counts("the request", |stable, _| stable.requests >= 1).await;
    assert_eq!(stable.n_bad(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_finishes_what_runs() {
    let gateway = gateway().await;
    let (stable, release) = slow_backend().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable, "", 0)).await;
    let listen = gateway.listen;
    let running = tokio::spawn(async move { Client::new(listen).await.get("/").await });
    release.asked.await.unwrap();
    tower.say(ToGateway::Shutdown { drain_ms: 20_000 }).await;
    patiently("the end of accepting", async {
        while TcpStream::connect(listen).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    release.go.send(()).unwrap();
    assert_eq!(running.await.unwrap().body.as_deref(), Some("slow"));
    let (stable, _) = tower.counts("the last request", |stable, _| stable.requests >= 1).await;
    assert_eq!(stable.n_bad(), 0);
    gateway.ended().await;
}

struct Release {
    asked: tokio::sync::oneshot::Receiver<()>,
    go: tokio::sync::oneshot::Sender<()>,
}

/// Answers one request, when told to.
async fn slow_backend() -> (String, Release) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, asked) = tokio::sync::oneshot::channel();
    let (go, wait) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut piece = [0; 1024];
        let _ = stream.read(&mut piece).await.unwrap();
        tell.send(()).unwrap();
        wait.await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow").await.unwrap();
    });
    (address, Release { asked, go })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_or_socket_names_what_to_do() {
    let gateway = gateway().await;
    let mode = std::fs::metadata(&gateway.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = tempfile::tempdir().unwrap();
    let options = |socket: std::path::PathBuf| {
        GatewayOptions::new("public", gateway.listen, socket, Arc::new(MemDisk::new()), "gateway.json")
    };
    let error = Gateway::bind(options(folder.path().join("other.sock"))).await.err().unwrap().to_string();
    let pid = format!("(pid {})", std::process::id());
    assert!(
        error.contains(&gateway.listen.to_string()) && error.contains(&pid) && error.contains("--listen"),
        "{error}"
    );
    let elsewhere = |socket| {
        let mut options = options(socket);
        options.listen = "127.0.0.1:0".parse().unwrap();
        options
    };
    let error = Gateway::bind(elsewhere(gateway.socket.clone())).await.err().unwrap().to_string();
    assert!(error.starts_with("a gateway is already running on"), "{error}");
    let long = folder.path().join("x".repeat(200));
    let error = Gateway::bind(elsewhere(long)).await.err().unwrap().to_string();
    assert!(error.contains("shorter than 108 bytes"), "{error}");
    // What a killed gateway left behind is in nobody's way.
    let stale = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(Gateway::bind(elsewhere(stale)).await.is_ok());
}
