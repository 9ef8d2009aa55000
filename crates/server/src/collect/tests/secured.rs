//! gRPC over TLS, with a client that is not of our making.

use hmsops_disk::RealDisk;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::emitting::{EMIT, batch, metric};
use super::*;
use crate::collect::grpc::Raw;
use crate::tls::{Authority, Port, Transport};

/// What a client says of its connection when it trusts this authority.
async fn call(at: SocketAddr, trusted: CertificateDer<'static>, message: Bytes) -> Result<u64, String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tower::service_fn(move |_| {
        let config = config.clone();
        async move {
            let stream = TcpStream::connect(at).await?;
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| {
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            said = format!("{said}: {inner}");
            cause = inner.source();
        }
        said
    })?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| error.to_string())?;
    let path = http::uri::PathAndQuery::from_static(EMIT);
    let answer =
        client.unary(tonic::Request::new(message), path, Raw).await.map_err(|error| error.to_string())?;
    let answer: hmsops_wire::collector::EmitResponse = prost::Message::decode(answer.into_inner()).unwrap();
    Ok(answer.stored)
}

/// A collector's port with TLS on a site, and the authority by which it is recognised.
async fn secured(site: &Site) -> (SocketAddr, CertificateDer<'static>) {
    let now = site.metrics.clock().now().wall;
    let (dir, own) = (site.dir.path(), Arc::new(RealDisk::new(site.dir.path()).unwrap()));
    let authority = Authority::open(dir, own.as_ref(), now).unwrap();
    let trusted = authority.certificate().clone();
    let first = authority.for_tower(&["localhost".into()], now).unwrap();
    let transport = Arc::new(Transport::new(authority, first).unwrap());
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = port.local_addr().unwrap();
    let auth = Arc::new(Auth::open(own, false).unwrap());
    let port = Port::collector(port, Some(&transport));
    tokio::spawn(listener::run(port, site.metrics.clone(), auth, site.engine.clone()));
    (at, trusted)
}

fn emitted(site: &Site, sequence: u64) -> Bytes {
    let metrics = vec![metric("photo.upload.ok", site.now(), 1.0)];
    Bytes::from(prost::Message::encode_to_vec(&batch(sequence, metrics)))
}

#[tokio::test]
async fn grpc_comes_in_over_tls_from_who_recognises_the_tower() {
    let site = Site::new().await;
    let (at, trusted) = secured(&site).await;
    assert_eq!(call(at, trusted, emitted(&site, 1)).await, Ok(1));
    assert_eq!(site.series("photo.upload.ok").len(), 1);
    let other = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(other.path()).unwrap();
    let now = site.metrics.clock().now().wall;
    let stranger = Authority::open(other.path(), &disk, now).unwrap().certificate().clone();
    let said = call(at, stranger, emitted(&site, 2)).await.unwrap_err();
    assert!(said.contains("UnknownIssuer") || said.contains("BadSignature"), "{said}");
    // In clear nothing comes in.
    let request = Request::post("/v1/emit").header("content-type", "application/json");
    let answer = send(at, request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()).await;
    assert_eq!(answer.status, 400);
    assert!(answer.detail().contains("this port speaks TLS only"));
}

/// Handshakes are bounded by source: who opens connections and says nothing holds up nobody else.
#[tokio::test]
async fn silent_connections_hold_up_no_other_source() {
    let site = Site::new().await;
    let (at, trusted) = secured(&site).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(at).await.unwrap());
    }
    assert_eq!(call(at, trusted, emitted(&site, 1)).await, Ok(1));
    drop(silent);
}
