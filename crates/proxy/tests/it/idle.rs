//! The idle race against a real nginx, which closes kept connections when it likes.

#![expect(clippy::disallowed_methods, reason = "nginx reads its configuration from a file")]

use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::Command;

use crate::world::{gateway, nowhere, patiently, route};

/// An nginx that closes each connection after so many requests, or when it has been idle for a moment; half of its
/// answers say so, and the others close without a word.
#[tokio::test(flavor = "multi_thread")]
async fn no_get_fails_at_an_nginx_that_closes_its_connections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let ports = [nowhere().await, nowhere().await, nowhere().await, nowhere().await];
    let servers: Vec<String> = [(1000, "1ms"), (1, "65s"), (2, "65s"), (3, "2ms")]
        .iter()
        .zip(&ports)
        .map(|((requests, idle), address)| {
            format!(
                "server {{ listen {address}; keepalive_requests {requests}; keepalive_timeout {idle}; \
                 location / {{ return 200 'ok'; }} }}\n"
            )
        })
        .collect();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr crit;\nevents {{ }}\nhttp {{ access_log off; \
         client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f; \
         uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n{}}}\n",
        servers.concat()
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(&file).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _nginx = nginx.spawn().unwrap();
    patiently("nginx", async {
        for address in &ports {
            while TcpStream::connect(address).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    for (epoch, address) in (1..).zip(&ports) {
        tower.set(route(epoch, address, "", 0)).await;
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut client = gateway.client().await;
            clients.spawn(async move {
                for turn in 0..250 {
                    let got = client.get("/").await;
                    assert_eq!((got.status, got.body.as_deref()), (200, Some("ok")), "{turn}: {got:?}");
                }
            });
        }
        clients.join_all().await;
    }
    let (stable, _) = tower.counts("all", |stable, _| stable.requests >= 8000).await;
    assert_eq!((stable.requests, stable.n_bad()), (8000, 0));
}
