//! gRPC through a gateway: tonic on both ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use hmsops_model::BadKind;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::http2::h2c;
use crate::world::{Reply, Running, backend, gateway, nowhere, patiently, route};

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// What comes out of a channel, as a stream.
struct Words(mpsc::Receiver<Result<Bytes, Status>>);

impl tokio_stream::Stream for Words {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

type Answering<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

/// Says a message back; `fail N` ends with the status N.
struct Say;

fn said(message: &Bytes) -> Result<Bytes, Status> {
    let text = String::from_utf8_lossy(message);
    match text.strip_prefix("fail ").and_then(|code| code.parse::<i32>().ok()) {
        Some(code) => Err(Status::new(Code::from(code), "as asked")),
        None => Ok(message.clone()),
    }
}

impl tonic::server::UnaryService<Bytes> for Say {
    type Response = Bytes;
    type Future = Answering<Bytes>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        Box::pin(async move { said(request.get_ref()).map(tonic::Response::new) })
    }
}

impl tonic::server::StreamingService<Bytes> for Say {
    type Response = Bytes;
    type ResponseStream = Words;
    type Future = Answering<Words>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut words = request.into_inner();
            let (out, answers) = mpsc::channel(1);
            tokio::spawn(async move {
                while let Ok(Some(word)) = words.message().await {
                    if out.send(said(&word)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(tonic::Response::new(Words(answers)))
        })
    }
}

/// A version that speaks gRPC. `None`: it has broken, every call ends with the status `INTERNAL`.
struct Version {
    address: String,
    task: JoinHandle<()>,
}

impl Drop for Version {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn version() -> Version {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                assert_eq!(request.headers()["te"], "trailers");
                let mut grpc = tonic::server::Grpc::new(Raw);
                let answer: Response<tonic::body::Body> = match request.uri().path() {
                    "/t.Say/Once" => grpc.unary(Say, request).await,
                    _ => grpc.streaming(Say, request).await,
                };
                Ok::<_, Infallible>(answer)
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    Version { address, task }
}

async fn client(gateway: &Running) -> tonic::client::Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.listen)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

async fn once(client: &mut tonic::client::Grpc<Channel>, message: &'static str) -> Result<Bytes, Status> {
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/t.Say/Once");
    let request = tonic::Request::new(Bytes::from_static(message.as_bytes()));
    patiently("a call", client.unary(request, path, Raw)).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_their_trailers_come_through_and_count() {
    let (stable, canary) = (version().await, version().await);
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(h2c(route(1, &stable.address, &canary.address, 0))).await;
    let mut client = client(&gateway).await;
    assert_eq!(once(&mut client, "hello").await.unwrap(), "hello");
    for code in 1..=16 {
        let message: &'static str = format!("fail {code}").leak();
        let status = once(&mut client, message).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::from(code), "as asked"));
    }
    let (counted, _) = tower.counts("all calls", |stable, _| stable.requests == 17).await;
    assert_eq!(counted.bad.get(&BadKind::Status), Some(&6), "{:?}", counted.bad);
    // The canary's too, and a call is not asked twice.
    tower.set(h2c(route(2, &stable.address, &canary.address, 10_000))).await;
    assert_eq!(once(&mut client, "fail 13").await.unwrap_err().code(), Code::Internal);
    let (_, counted) = tower.counts("the canary's call", |_, canary| canary.requests == 1).await;
    assert_eq!(counted.bad.get(&BadKind::Status), Some(&1));
}

/// Each word is answered before the next is sent: nothing is held back on the way, in either direction.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_carried_word_by_word() {
    let stable = version().await;
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(h2c(route(1, &stable.address, &stable.address, 0))).await;
    let mut client = client(&gateway).await;
    let (say, words) = mpsc::channel::<Result<Bytes, Status>>(1);
    let path = http::uri::PathAndQuery::from_static("/t.Say/Talk");
    let words = Plain(words);
    let answers =
        patiently("the head", client.streaming(tonic::Request::new(words), path, Raw)).await.unwrap();
    let mut answers = answers.into_inner();
    for turn in 0..100 {
        let word = Bytes::from(format!("word {turn}").repeat(100));
        say.send(Ok(word.clone())).await.unwrap();
        assert_eq!(patiently("an answer", answers.message()).await.unwrap(), Some(word));
    }
    say.send(Ok(Bytes::from_static(b"fail 14"))).await.unwrap();
    assert_eq!(patiently("the end", answers.message()).await.unwrap_err().code(), Code::Unavailable);
    let (counted, _) = tower.counts("the call", |stable, _| stable.requests == 1).await;
    assert_eq!(counted.bad.get(&BadKind::Status), Some(&1));
}

/// What a client says, without errors.
struct Plain(mpsc::Receiver<Result<Bytes, Status>>);

impl tokio_stream::Stream for Plain {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(cx).map(|word| word.and_then(Result::ok))
    }
}

/// What the gateway answers itself is a status of gRPC, not a page.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_statuses() {
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    let mut client = client(&gateway).await;
    assert_eq!(once(&mut client, "hello").await.unwrap_err().code(), Code::Unimplemented);
    tower.set(h2c(route(1, &nowhere().await, &nowhere().await, 0))).await;
    let status = once(&mut client, "hello").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the service refused the connection"));
    // A server that knows no HTTP/2.
    let old = backend(Reply::Status(200, "what?")).await;
    tower.set(h2c(route(2, &old.address, &old.address, 0))).await;
    assert_eq!(once(&mut client, "hello").await.unwrap_err().code(), Code::Unavailable);
}
