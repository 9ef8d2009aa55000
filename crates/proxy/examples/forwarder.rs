//! The least that forwards: hyper's server in front of hyper-util's pooled client, on one thread. It splits nothing,
//! counts nothing and shields nobody; `cargo xtask bench gateway` measures what these cost beside it.
//!
//! usage: forwarder LISTEN UPSTREAM, both `host:port`

use std::net::SocketAddr;

use http::uri::{Authority, Scheme};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        return Err("usage: forwarder LISTEN UPSTREAM".into());
    };
    let upstream: Authority = upstream.parse()?;
    let listener = TcpListener::bind(listen.parse::<SocketAddr>()?).await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1024).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, upstream) = (client.clone(), upstream.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let mut parts = request.uri().clone().into_parts();
            (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(upstream.clone()));
            // A path that came with a request fits a scheme and an authority.
            *request.uri_mut() = Uri::from_parts(parts).expect("a whole address");
            client.request(request)
        });
        tokio::spawn(async move {
            // A client that breaks off is no failure of the forwarder's.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
