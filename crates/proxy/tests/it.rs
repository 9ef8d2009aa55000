//! The gateway over real sockets: real upstreams, a real tower's connection, real clients.

#![expect(clippy::unwrap_used, reason = "a test that can't set its scene has failed")]

#[path = "it/counts.rs"]
mod counts;
#[path = "it/grpc.rs"]
mod grpc;
#[path = "it/guard.rs"]
mod guard;
#[path = "it/handover.rs"]
mod handover;
#[path = "it/haproxy.rs"]
mod haproxy;
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/http.rs"]
mod http;
#[path = "it/http2.rs"]
mod http2;
#[path = "it/idle.rs"]
mod idle;
#[path = "it/retreat.rs"]
mod retreat;
#[path = "it/settings.rs"]
mod settings;
#[path = "it/shield.rs"]
mod shield;
#[path = "it/tls.rs"]
mod tls;
#[path = "it/websocket.rs"]
mod websocket;
#[path = "it/wire.rs"]
mod wire;
#[path = "it/world.rs"]
mod world;
