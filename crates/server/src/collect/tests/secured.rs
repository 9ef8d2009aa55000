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
async fn call(at: SocketAddr, trusted: CertificateDer<'static>, message: Vec<u8>) -> Result<u64, String> {
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
    let answer = client.unary(tonic::Request::new(bytes::Bytes::from(message)), path, Raw).await;
    let answer = answer.map_err(|error| error.to_string())?.into_inner();
    let answer: hmsops_wire::collector::EmitResponse = prost::Message::decode(answer).unwrap();
    Ok(answer.stored)
}

#[tokio::test]
async fn grpc_comes_in_over_tls_from_who_recognises_the_tower() {
    let site = Site::new().await;
    let now = site.metrics.clock().now().wall;
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let authority = Authority::open(dir.path(), &disk, now).unwrap();
    let trusted = authority.certificate().clone();
    let first = authority.for_tower(&["localhost".into()], now).unwrap();
    let transport = Arc::new(Transport::new(authority, first).unwrap());
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = port.local_addr().unwrap();
    let own: Arc<dyn Disk> = Arc::new(RealDisk::new(site._dir.path()).unwrap());
    let auth = Arc::new(Auth::open(own, false).unwrap());
    let port = Port::collector(port, Some(&transport));
    tokio::spawn(listener::run(port, site.metrics.clone(), auth, site.engine.clone()));
    let emitted = |sequence| {
        prost::Message::encode_to_vec(&batch(sequence, vec![metric("photo.upload.ok", now.0, 1.0)]))
    };
    assert_eq!(call(at, trusted, emitted(1)).await, Ok(1));
    assert_eq!(site.series("photo.upload.ok").len(), 1);
    let other = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(other.path()).unwrap();
    let stranger = Authority::open(other.path(), &disk, now).unwrap().certificate().clone();
    let said = call(at, stranger, emitted(2)).await.unwrap_err();
    assert!(said.contains("UnknownIssuer") || said.contains("BadSignature"), "{said}");
    // In clear nothing comes in.
    let request = Request::post("/v1/emit").header("content-type", "application/json");
    let answer = send(at, request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()).await;
    assert_eq!(answer.status, 400);
    assert!(answer.detail().contains("this port speaks TLS only"));
}
