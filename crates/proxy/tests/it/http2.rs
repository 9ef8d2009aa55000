//! HTTP/2 on both sides of a gateway.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hmsops_model::route::Route;
use hmsops_model::service::Protocol;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::world::{Reply, backend, gateway, gateway_with, nowhere, patiently, route};

/// A route whose versions speak HTTP/2.
pub(crate) fn h2c(route: Route) -> Route {
    Route { protocol: Protocol::H2c, ..route }
}

async fn connect(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = made.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(cookies: &[&str]) -> Request<Empty<Bytes>> {
    let request = Request::get("http://portal/");
    let request = cookies.iter().fold(request, |request, cookie| request.header("cookie", *cookie));
    request.body(Empty::new()).unwrap()
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    let body = patiently("a body", response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_in_clear_is_taken_from_clients_that_know_and_asked_of_arms_as_http1() {
    let stable = backend(Reply::Echo).await;
    let gateway = gateway().await;
    gateway.tower().await.set(route(1, &stable.address, &stable.address, 0)).await;
    let url = format!("http://{}/a?b", gateway.listen);
    let curl =
        Command::new("curl").args(["-sSi", "--http2-prior-knowledge", "-H", "host: portal", &url]).output();
    let answer = patiently("curl", curl).await.unwrap();
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.starts_with("HTTP/2 200") && answer.contains("GET /a?b HTTP/1.1"), "{answer}");
    assert!(answer.contains("x-forwarded-proto: http\r\n"), "{answer}");
    let mut client = connect(gateway.listen).await;
    let head = text(client.send_request(get(&["a=1", "hms_session=x", "b=2"])).await.unwrap()).await;
    assert!(head.contains("cookie: a=1; b=2\r\n") && head.contains("host: portal\r\n"), "{head}");
    // Both versions on one port, whatever the first byte's fate.
    for first in ["P", "PR", "PRI"] {
        let mut stream = TcpStream::connect(gateway.listen).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        stream.write_all(b"OPFIND / HTTP/1.1\r\nhost: portal\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut all = Vec::new();
        patiently("the end", stream.read_to_end(&mut all)).await.unwrap();
        assert!(String::from_utf8_lossy(&all).starts_with("HTTP/1.1 200"), "{first}");
    }
}

/// Frames as RFC 9113 §4.1 has them.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET http://portal/ by the static table of RFC 7541.
const FIELDS: &[u8] = b"\x82\x86\x84\x41\x06portal";

async fn preface(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends until the gateway hangs up; what it said is read and dropped meanwhile.
async fn attack(address: SocketAddr, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let (mut read, mut write) = preface(address).await.into_split();
    let drained = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
    patiently("the gateway to hang up", async move {
        for turn in 0.. {
            if drained.is_finished() || write.write_all(&next(turn)).await.is_err() {
                return turn;
            }
            tokio::task::yield_now().await;
        }
        unreachable!()
    })
    .await
}

/// CVE-2023-44487, its form after the streams were taken, VU#421644, and bytes that are no HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn floods_are_cut_off_and_others_are_served() {
    let hanging = backend(Reply::Hang).await;
    let gateway = gateway_with(|options| options.limits.client_head = Duration::from_secs(2)).await;
    gateway.tower().await.set(route(1, &hanging.address, &hanging.address, 0)).await;
    let reset = |turn: u32| {
        let stream = turn * 2 + 1;
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, FIELDS);
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        both
    };
    let turns = attack(gateway.listen, reset).await;
    assert!(turns < 100_000, "{turns} resets");
    let (mut last, slow) = (0, |turn: u32| {
        // Taken first, given up later.
        let begun = frame(HEADERS, END_HEADERS | END_STREAM, turn * 2 + 1, FIELDS);
        let given_up =
            turn.checked_sub(20).map(|before| frame(RST_STREAM, 0, before * 2 + 1, &8_u32.to_be_bytes()));
        [begun, given_up.unwrap_or_default()].concat()
    });
    last += attack(gateway.listen, slow).await;
    assert!(last < 100_000, "{last} requests given up");
    let endless = |turn: u32| match turn {
        0 => frame(HEADERS, END_STREAM, 1, FIELDS),
        _ => frame(CONTINUATION, 0, 1, &[]),
    };
    assert!(attack(gateway.listen, endless).await < 100_000);
    let large = |turn: u32| match turn {
        0 => frame(HEADERS, END_STREAM, 1, FIELDS),
        // A literal without a name in the index: one field of 16 000 bytes, over and over.
        _ => frame(CONTINUATION, 0, 1, &[&b"\x00\x01a\x7f\x81\x7c"[..], &[b'x'; 16_000]].concat()),
    };
    assert!(attack(gateway.listen, large).await < 1000);
    assert!(attack(gateway.listen, |_| frame(0xff, 0xff, 0, &vec![0; 100_000])).await < 100);
    // A connection that says nothing more is closed after its time, and so is one that only pings.
    let mut stream = preface(gateway.listen).await;
    let mut all = Vec::new();
    patiently("the idle connection's end", stream.read_to_end(&mut all)).await.unwrap();
    assert!(attack(gateway.listen, |_| frame(PING, 0, 0, &[0; 8])).await > 0);
    let stable = backend(Reply::Status(200, "ok")).await;
    gateway.tower().await.set(route(2, &stable.address, &stable.address, 0)).await;
    assert_eq!(connect(gateway.listen).await.send_request(get(&[])).await.unwrap().status(), 200);
}

/// A connection that was used may rest as long over HTTP/2 as over HTTP/1.1, and not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http2_rests_between_two_requests() {
    let stable = backend(Reply::Status(200, "ok")).await;
    let gateway = gateway_with(|options| {
        options.limits.client_head = Duration::from_millis(100);
        options.limits.client_rest = Duration::from_secs(1);
    })
    .await;
    gateway.tower().await.set(route(1, &stable.address, &stable.address, 0)).await;
    let stream = TcpStream::connect(gateway.listen).await.unwrap();
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = made.unwrap();
    let ended = tokio::spawn(connection);
    let asked_at = tokio::time::Instant::now();
    assert_eq!(sender.send_request(get(&[])).await.unwrap().status(), 200);
    let _gone = patiently("the end of a rest", ended).await.unwrap();
    assert!(asked_at.elapsed() > Duration::from_millis(900), "{:?}", asked_at.elapsed());
}

/// A server of HTTP/2 that goes away in good order after each few requests, and refuses some streams unread.
struct Fickle {
    address: String,
    /// Paths of requests that must not be asked twice.
    posts: Arc<Mutex<Vec<String>>>,
    refused: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Fickle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn fickle() -> Fickle {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (posts, refused) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicU64>::default());
    let (yes, no) = (Arc::clone(&posts), Arc::clone(&refused));
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (yes, no) = (Arc::clone(&yes), Arc::clone(&no));
            tokio::spawn(async move {
                // Closing a socket with bytes unread would take back answers that are on their way.
                let stream = stream.into_std().unwrap();
                let lingering = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
                let stream = TcpStream::from_std(stream).unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut turn = 0;
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    turn += 1;
                    if turn == 4 {
                        no.fetch_add(1, Ordering::SeqCst);
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                        continue;
                    }
                    if request.method() == "POST" {
                        yes.lock().unwrap().push(request.uri().path().to_owned());
                    }
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
                    if turn >= 20 {
                        connection.graceful_shutdown();
                    }
                }
                drop(connection);
                let mut rest = lingering;
                let _ = rest.shutdown().await;
                let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
            });
        }
    });
    Fickle { address, posts, refused, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arm_that_goes_away_or_refuses_streams_fails_no_get_and_gets_no_post_twice() {
    let stable = fickle().await;
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(h2c(route(1, &stable.address, &stable.address, 0))).await;
    let mut clients = tokio::task::JoinSet::new();
    for at in 0..4_usize {
        let mut client = gateway.client().await;
        clients.spawn(async move {
            let mut failed = 0;
            for turn in 0..100 {
                let method = if at % 2 == 0 { "GET" } else { "POST" };
                let request =
                    Request::builder().method(method).uri(format!("/{at}-{turn}")).header("host", "portal");
                let got = client.send(request).await;
                // One that is being sent as the arm says that it goes may have been begun.
                let may_fail = method == "POST" && got.reason.as_deref() == Some("broken");
                assert!(got.body.as_deref() == Some("ok") || may_fail, "{method} {turn}: {got:?}");
                failed += u64::from(may_fail);
            }
            failed
        });
    }
    let failed: u64 = clients.join_all().await.into_iter().sum();
    let mut posts = stable.posts.lock().unwrap().clone();
    posts.sort();
    let count = posts.len();
    posts.dedup();
    assert_eq!(posts.len(), count, "none was asked twice");
    assert!(failed < 20, "{failed} of 200");
    assert!(stable.refused.load(Ordering::SeqCst) > 0);
    let (counted, _) = tower.counts("all", |stable, _| stable.requests == 400).await;
    assert_eq!(counted.errors, failed);
    tower.set(h2c(route(2, &nowhere().await, &stable.address, 0))).await;
    assert_eq!(gateway.client().await.get("/").await.status, 502);
}

/// Many requests at a time share connections, and each gets its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_requests_at_a_time_share_a_few_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (connections, gate) = (Arc::<AtomicU64>::default(), Arc::new(tokio::sync::Barrier::new(300)));
    let count = Arc::clone(&connections);
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&gate);
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let gate = Arc::clone(&gate);
                async move {
                    gate.wait().await;
                    let path = request.uri().path().to_owned();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(path))))
                }
            });
            let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.max_concurrent_streams(1000).serve_connection(TokioIo::new(stream), service));
        }
    });
    let gateway = gateway().await;
    gateway.tower().await.set(h2c(route(1, &address, &address, 0))).await;
    let mut asked = tokio::task::JoinSet::new();
    for at in 0..300 {
        let mut client = gateway.client().await;
        asked.spawn(async move {
            let path = format!("/{at}");
            assert_eq!(client.get(&path).await.body, Some(path));
        });
    }
    asked.join_all().await;
    let connections = connections.load(Ordering::SeqCst);
    assert!((3..=6).contains(&connections), "{connections} connections");
    server.abort();
}

/// A canary of HTTP/2 that answers each request with one interim answer after another and nothing else: it is given up
/// as one that hangs, keeps none of the answers in memory, and the next request finds a connection of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_interim_answers_over_http2_is_a_hang() {
    let stable = fickle().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                let mut preface = [0; 24];
                read.read_exact(&mut preface).await.unwrap();
                write.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                let mut head = [0; 9];
                while head[3] != HEADERS {
                    read.read_exact(&mut head).await.unwrap();
                    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                    let mut payload = vec![0; len as usize];
                    read.read_exact(&mut payload).await.unwrap();
                }
                let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
                // `:status: 103`, by its name in the static table (RFC 7541, §6.2.2 and Appendix A).
                let interim = frame(HEADERS, END_HEADERS, stream, b"\x08\x03103").repeat(100);
                while write.write_all(&interim).await.is_ok() {}
            });
        }
    });
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    let mut all = h2c(route(1, &stable.address, &address, 10_000));
    all.canary.as_mut().unwrap().shield_after = Some(hmsops_model::Millis(200));
    tower.set(all).await;
    for _ in 0..3 {
        let got = patiently("an answer", gateway.client().await.get("/")).await;
        assert_eq!((got.status, got.body.as_deref()), (200, Some("ok")));
    }
    let (_, canary) = tower.counts("the storm", |_, canary| canary.n_bad() >= 3).await;
    assert_eq!(canary.shielded, 3, "{canary:?}");
    assert_eq!(canary.bad, [(hmsops_model::BadKind::Timeout, 3)].into());
    server.abort();
}
