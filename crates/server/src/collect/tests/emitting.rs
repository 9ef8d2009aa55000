//! What programs emit, by plain HTTP and by gRPC.

use hmsops_model::Value;
use hmsops_model::sample::Tally;
use hmsops_wire::collector::{EmitRequest, EmitResponse, Label, Metric, REQUEST_BYTES_MAX, json};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

use super::*;
use crate::collect::Door;
use crate::collect::grpc::Raw;

pub(super) fn metric(name: &str, time: i64, value: f64) -> Metric {
    let labels = Vec::new();
    Metric {
        name: name.into(),
        labels,
        time_unix_ms: time,
        sum: value,
        count: 1,
        min: value,
        max: value,
        last: value,
    }
}

pub(super) fn batch(sequence: u64, metrics: Vec<Metric>) -> EmitRequest {
    let service = Label { name: "service".into(), value: "dmv-photo".into() };
    EmitRequest { source: "run-1".into(), sequence, labels: vec![service], metrics, dropped: 0 }
}

fn request() -> http::request::Builder {
    Request::post("/v1/emit").header(HOST, "127.0.0.1").header(CONTENT_TYPE, "application/json")
}

async fn emit(site: &Site, batch: &EmitRequest) -> Answer {
    let body = Bytes::from(json::encode(batch));
    send(site.at, request().body(Full::new(body)).unwrap()).await
}

fn response(answer: &Answer) -> EmitResponse {
    assert_eq!(answer.status, 200, "{answer:?}");
    json::decode_response(&answer.body).unwrap()
}

/// As a client of `hmsops.v1.Collector` calls; another language generates its own from the `.proto`.
pub(super) async fn call(
    site: &Site,
    path: &'static str,
    message: Vec<u8>,
    token: Option<&str>,
) -> Result<EmitResponse, Status> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", site.at)).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    let mut request = tonic::Request::new(Bytes::from(message));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = client.unary(request, path, Raw).await?.into_inner();
    Ok(prost::Message::decode(answer).unwrap())
}

pub(super) const EMIT: &str = "/hmsops.v1.Collector/Emit";

#[tokio::test]
async fn what_is_emitted_over_plain_http_is_stored_with_the_labels_of_its_batch() {
    let site = Site::new().await;
    let now = site.now();
    let answer = response(&emit(&site, &batch(1, vec![metric("photo.upload.ok", now, 1.0)])).await);
    assert_eq!(answer, EmitResponse { stored: 1, duplicate: false, refused: Vec::new() });
    let found = site.series("photo.upload.ok");
    assert_eq!(found[0].labels.get("service"), Some("dmv-photo"));
    assert_eq!(found[0].samples.value(0), Value::Tally(Tally::of(1.0)));
}

/// Whatever way it comes the second time, and also after a restart.
#[tokio::test]
async fn a_batch_that_is_sent_again_is_counted_once() {
    let site = Site::new().await;
    let sent = batch(1, vec![metric("photo.upload.ok", site.now(), 1.0)]);
    assert_eq!(response(&emit(&site, &sent).await).stored, 1);
    let again = EmitResponse { stored: 0, duplicate: true, refused: Vec::new() };
    assert_eq!(response(&emit(&site, &sent).await), again);
    let message = prost::Message::encode_to_vec(&sent);
    assert_eq!(call(&site, EMIT, message, None).await.unwrap(), again);
    let Site { metrics, disk, engine, router, .. } = site;
    engine.leave();
    drop((metrics, router));
    let clock = Clock::after(None);
    let body = Bytes::from(json::encode(&sent));
    // Connections that were just served let go of the store when they end.
    let reopened = loop {
        match Metrics::open(disk.clone(), &TowerConfig::default(), clock) {
            Ok(reopened) => break reopened,
            Err(error) => {
                assert!(error.chain().contains("lock"), "{}", error.chain());
                tokio::task::yield_now().await;
            }
        }
    };
    let caller = crate::door::caller::Caller::whole("anybody", "emit");
    let answer =
        super::super::emit::take(&reopened, Door::Emit, (super::super::emit::Form::Json, body), caller).await;
    assert_eq!(answer.unwrap(), again);
    let total: usize = series(&reopened, "photo.upload.ok").iter().map(|series| series.samples.len()).sum();
    assert_eq!(total, 1);
}

#[tokio::test]
async fn what_is_emitted_over_grpc_is_stored() {
    let site = Site::new().await;
    let sent = batch(7, vec![metric("photo.upload.ok", site.now(), 0.0)]);
    let answer = call(&site, EMIT, prost::Message::encode_to_vec(&sent), Some(&site.token)).await.unwrap();
    assert_eq!(answer, EmitResponse { stored: 1, duplicate: false, refused: Vec::new() });
    assert_eq!(site.series("photo.upload.ok").len(), 1);
}

#[tokio::test]
async fn a_call_that_cannot_be_taken_has_the_status_that_says_why() {
    let site = Site::new().await;
    let good = prost::Message::encode_to_vec(&batch(1, Vec::new()));
    let code = async |path, message, token| call(&site, path, message, token).await.unwrap_err().code();
    assert_eq!(code(EMIT, good.clone(), Some("hms_admin_x")).await, Code::Unauthenticated);
    assert_eq!(code("/hmsops.v1.Collector/Log", good.clone(), None).await, Code::Unimplemented);
    assert_eq!(code(EMIT, vec![0xff; 9], None).await, Code::InvalidArgument);
    assert_eq!(code(EMIT, Vec::new(), None).await, Code::InvalidArgument);
    assert_eq!(code(EMIT, vec![0; REQUEST_BYTES_MAX + 1], None).await, Code::ResourceExhausted);
    // What announces millions of empty messages is counted before it is decoded.
    assert_eq!(code(EMIT, [0x22, 0].repeat(100_000), None).await, Code::ResourceExhausted);
    site.faults.fail_syncs();
    let sent = batch(2, vec![metric("a", site.now(), 1.0)]);
    assert_eq!(code(EMIT, prost::Message::encode_to_vec(&sent), None).await, Code::Unavailable);
}

#[tokio::test]
async fn a_metric_that_cannot_be_stored_is_named_by_its_place_and_the_rest_is_stored() {
    let site = Site::new().await;
    let now = site.now();
    let mut labelled = metric("c", now, 1.0);
    labelled.labels = vec![Label { name: "trace".into(), value: "x".repeat(1 << 20) }];
    let mut twice = metric("d", now, 1.0);
    twice.labels =
        vec![Label { name: "a".into(), value: "1".into() }, Label { name: "a".into(), value: "2".into() }];
    let metrics = vec![
        metric("a", now, 1.0),
        metric("old", now - 500 * 86_400_000, 1.0),
        labelled,
        metric("b", now, f64::NAN),
        twice,
        metric("ahead", now + 3_600_000, 1.0),
        metric("", now, 1.0),
    ];
    let answer = response(&emit(&site, &batch(1, metrics)).await);
    let places: Vec<u32> = answer.refused.iter().map(|refusal| refusal.index).collect();
    assert_eq!((answer.stored, places), (2, vec![1, 2, 4, 5, 6]), "{:?}", answer.refused);
    let why: Vec<&str> = answer.refused.iter().map(|refusal| refusal.why.as_str()).collect();
    for (why, part) in why.iter().zip(["old", "longer than 4096 bytes", "given twice", "future", "no name"]) {
        assert!(why.contains(part) && why.len() < 300, "expected {part}: {why}");
    }
    assert!(matches!(site.series("b")[0].samples.value(0), Value::Tally(tally) if tally.sum.is_nan()));
    assert_eq!(site.metrics.malformed(), 3);
    let stats = site.metrics.stats().await;
    assert_eq!((stats.refused.too_old, stats.refused.too_new, stats.samples_appended), (1, 1, 2));
}

#[tokio::test]
async fn whoever_brings_a_wrong_token_or_comes_from_a_page_may_not_emit() {
    let site = Site::new().await;
    let body = Bytes::from(json::encode(&batch(1, vec![metric("a", site.now(), 1.0)])));
    let ask = async |name: &str, value: &str| {
        let mut request = request().body(Full::new(body.clone())).unwrap();
        request.headers_mut().insert(
            http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            http::HeaderValue::from_str(value).unwrap(),
        );
        send(site.at, request).await.status.as_u16()
    };
    assert_eq!(ask(AUTHORIZATION.as_str(), "Bearer hms_admin_x").await, 401);
    assert_eq!(ask(HOST.as_str(), "evil.example").await, 403);
    assert_eq!(ask(ORIGIN.as_str(), "http://evil.example").await, 403);
    assert_eq!(ask("sec-fetch-site", "cross-site").await, 403);
    assert_eq!(site.series("a"), []);
    assert_eq!(ask(AUTHORIZATION.as_str(), &format!("Bearer {}", site.token)).await, 200);
}

#[tokio::test]
async fn the_collectors_port_answers_nothing_else_and_says_what_is_wrong() {
    let site = Site::new().await;
    let good = Bytes::from(json::encode(&batch(1, Vec::new())));
    let ask = async |request: http::request::Builder, body: Bytes| {
        let answer = send(site.at, request.body(Full::new(body)).unwrap()).await;
        (answer.status.as_u16(), answer.detail())
    };
    for path in ["/", "/metrics", "/hms/v1/metrics", "/api/v1/write", EMIT] {
        let status = ask(Request::post(path).header(CONTENT_TYPE, "application/json"), good.clone()).await.0;
        assert_eq!(status, 404, "{path}");
    }
    assert_eq!(ask(Request::get("/v1/emit"), Bytes::new()).await.0, 405);
    let (status, said) =
        ask(Request::post("/v1/emit").header(CONTENT_TYPE, "text/plain"), good.clone()).await;
    assert_eq!((status, said.contains("text/plain")), (415, true), "{said}");
    for body in ["", "{", "[]", "\u{0}", r#"{"source":"a"}"#, r#"{"source":"a","sequence":0,"metrics":[]}"#] {
        let (status, said) = ask(request(), Bytes::from(body)).await;
        assert!(status == 400 && said.contains("the batch of metrics"), "{body:?}: {status} {said}");
    }
    assert_eq!(ask(request(), Bytes::from_static(b"\"\xff\"")).await.0, 400);
    assert_eq!(ask(request(), Bytes::from(vec![b' '; REQUEST_BYTES_MAX + 1])).await.0, 413);
}

/// Sequence numbers do their work only when what was not stored is said not to be.
#[tokio::test]
async fn a_store_that_fails_is_said_and_takes_the_same_batch_later() {
    let site = Site::new().await;
    let sent = batch(1, vec![metric("a", site.now(), 1.0)]);
    site.faults.fail_syncs();
    let answer = emit(&site, &sent).await;
    assert_eq!((answer.status.as_u16(), &answer.headers[RETRY_AFTER]), (503, &http::HeaderValue::from(5)));
    assert!(site.metrics.failing().is_some());
    assert_eq!(site.series("a"), []);
    site.faults.heal();
    assert_eq!(emit(&site, &sent).await.status, 503, "it is latched until it is opened again");
    tokio::spawn(site.metrics.clone().keep());
    let stored = async {
        loop {
            let answer = emit(&site, &sent).await;
            if answer.status == 200 {
                return response(&answer);
            }
        }
    };
    let stored = tokio::time::timeout(std::time::Duration::from_secs(20), stored).await.unwrap();
    assert_eq!(stored, EmitResponse { stored: 1, duplicate: false, refused: Vec::new() });
    assert_eq!(site.metrics.failing(), None);
}

#[tokio::test]
async fn what_is_too_much_at_once_is_sent_away_for_a_moment() {
    let site = Site::new().await;
    let sent = batch(1, vec![metric("a", site.now(), 1.0)]);
    let all = site.metrics.bodies().clone();
    let taken = all.acquire_many_owned(super::super::metrics::BODIES_BYTES_MAX as u32).await.unwrap();
    let answer = emit(&site, &sent).await;
    assert_eq!((answer.status.as_u16(), &answer.headers[RETRY_AFTER]), (503, &http::HeaderValue::from(1)));
    drop(taken);
    assert_eq!(emit(&site, &sent).await.status, 200);
}

/// A client that keeps its connection, as the SDK does, and one that pipelines nothing but noise.
#[tokio::test]
async fn a_connection_serves_many_batches_and_noise_ends_only_its_own() {
    let site = Site::new().await;
    let mut noise = tokio::net::TcpStream::connect(site.at).await.unwrap();
    noise.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP at all\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    noise.read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&said));
    let stream = tokio::net::TcpStream::connect(site.at).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for sequence in 1..=50 {
        let body = Bytes::from(json::encode(&batch(sequence, vec![metric("a", site.now(), 1.0)])));
        let sent = sender.send_request(request().body(Full::new(body)).unwrap()).await.unwrap();
        assert_eq!(Answer::read(sent).await.status, 200);
    }
    let emitted = site.series("a");
    let values = (0..emitted[0].samples.len()).map(|at| emitted[0].samples.value(at));
    let count: u64 = values.map(|value| if let Value::Tally(tally) = value { tally.count } else { 0 }).sum();
    assert_eq!(count, 50, "batches of the same millisecond add up");
}

#[tokio::test]
async fn the_api_takes_the_same_json() {
    let site = Site::new().await;
    let body = json::encode(&batch(1, vec![metric("a", site.now(), 1.0)]));
    let answer = site.post("/hms/v1/metrics", &[("content-type", "application/json")], body.clone()).await;
    assert_eq!(response(&answer).stored, 1);
    let answer = site.post("/hms/v1/metrics", &[("content-type", "text/plain")], body).await;
    assert_eq!(answer.status, 415);
    let answer = site.post("/hms/v1/metrics", &[("content-type", "application/json")], b"{}".to_vec()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

/// The stalled clients of a machine must not fill the threads that store.
#[tokio::test]
async fn a_body_that_stalls_holds_no_place() {
    let site = Site::new().await;
    let mut stalled = Vec::new();
    for _ in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(site.at).await.unwrap();
        let head = "POST /v1/emit HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(emit(&site, &batch(1, vec![metric("a", site.now(), 1.0)])).await.status, 200);
}

/// Nobody is sent away because all flush in the same moment.
#[tokio::test]
async fn what_many_programs_send_at_once_is_stored() {
    let site = Arc::new(Site::new().await);
    let (mut sends, now) = (tokio::task::JoinSet::new(), site.now());
    for n in 0..300 {
        let site = site.clone();
        sends.spawn(async move {
            let mut sent = batch(1, vec![metric("a", now, 1.0)]);
            sent.source = format!("run-{n}");
            sent.labels[0].value = format!("service-{n}");
            emit(&site, &sent).await.status
        });
    }
    assert!(sends.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(site.series("a").len(), 300);
}
