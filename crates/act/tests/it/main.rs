//! Real processes, real shims, real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, with the place where it stood")]

mod heals;
mod kinds;
mod machine;
mod mails;
mod probes;
mod processes;
mod programs;
mod script;
mod webhooks;
mod world;
