//! The doors: HTTP/1.1 on one port. Every route stands in one table with the scope it needs; `authorize` is the
//! one choke point in front of all of them.
//!
//! To add a route: a file per resource, a line in `table` (or in the pages' own list), nothing else.

mod agents;
mod alert;
mod apply;
mod audit;
mod audit_pages;
mod auth;
mod authorize;
mod body;
pub(crate) mod caller;
mod cursor;
mod dash;
mod deploy;
mod doctor;
mod emit;
pub mod folder;
pub(crate) mod haproxy;
mod heal;
mod health;
mod metrics;
mod notice;
mod openapi;
pub(crate) mod otlp;
mod pace;
mod pages;
pub(crate) mod people;
mod plan;
pub(crate) mod probe;
mod problem;
mod prometheus;
pub(crate) mod receipts;
mod release;
mod remote_read;
mod remote_write;
mod replayed;
mod route;
mod rule;
mod service;
mod shell;
pub mod show;
mod show_signal;
mod signal_pages;
mod stream;
mod ticket;
mod token;
mod token_pages;
mod tokens;

#[cfg(test)]
pub(crate) use tokens::findings as token_findings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use hmsops_ledger::LedgerReader;
use hmsops_tower::Snapshot;
use tokio::sync::Semaphore;

pub(crate) use agents::CA;
pub(crate) use auth::TOKEN_FILE;
pub use auth::{Auth, AuthError};
pub(crate) use authorize::Known;
pub use hmsops_model::Scope;
pub(crate) use metrics::own_exposition;
pub use people::login::Reception;
pub use people::oidc::Oidc;
pub use problem::Failure;
pub use route::{Access, Routes};
pub(crate) use tokens::findings_of_all as findings_of_tokens;

use crate::Engine;
use hmsops_config::tower::NotifyConfig;

use crate::clock::Clock;
use crate::families::Families;
use crate::panel::Feeds;
use crate::query::Queries;
use crate::recall::Recall;
use metrics::Meters;

/// What doors and pages need.
#[derive(Clone)]
pub struct Context {
    /// The tower.
    pub engine: Engine,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// How people log in.
    pub reception: Arc<Reception>,
    /// The ledger, for reading.
    pub ledger: LedgerReader,
    /// The data folder.
    pub data: PathBuf,
    /// `hmsops.yaml`, if there is one.
    pub settings: Option<PathBuf>,
    /// The clock.
    pub clock: Clock,
    /// The metric store.
    pub metrics: crate::collect::Metrics,
    /// Who is asked for metrics.
    pub scraper: crate::collect::Scraper,
    /// What evaluates recording rules.
    pub recorder: crate::evaluate::record::Recorder,
    /// The public status page's heading.
    pub title: Option<String>,
    /// Metrics, for reading.
    pub queries: Queries,
    /// What is said of metrics beside their values.
    pub families: Arc<Families>,
    /// Evidence of releases that are no longer in memory.
    pub recall: Recall,
    /// The ways by which people can be told.
    pub notify: Arc<NotifyConfig>,
    /// The settings in force of each gateway, by its name.
    pub gateways: Arc<haproxy::Gateways>,
    /// What is spoken beyond loopback, where it is TLS.
    pub transport: Option<Arc<crate::tls::Transport>>,
    /// Files of teams that are not in force as they stand.
    pub troubles: tokio::sync::watch::Receiver<crate::repo::Troubles>,
}

/// What all routes share: the [`Context`], and what the doors count.
#[derive(Clone)]
pub struct Doors {
    pub(crate) context: Context,
    pub(crate) meters: Arc<Meters>,
    /// Streams that may be open at a time.
    pub(crate) streams: Arc<Semaphore>,
    /// Dashboards that somebody looks at.
    pub(crate) feeds: Feeds,
    /// A change of a dashboard reads it first: one at a time.
    pub(crate) dashes: Arc<tokio::sync::Mutex<()>>,
    /// Drawn once a life, so that a stream's id of another life is recognised.
    pub(crate) life: Arc<str>,
}

impl FromRef<Doors> for Context {
    fn from_ref(doors: &Doors) -> Self {
        doors.context.clone()
    }
}

/// All routes of the doors themselves.
pub(crate) fn table() -> Routes {
    let routes = health::routes(Routes::new());
    let routes = people::routes(routes);
    let routes = service::routes(routes);
    let routes = release::routes(routes);
    let routes = apply::routes(routes);
    let routes = deploy::routes(routes);
    let routes = rule::routes(routes);
    let routes = alert::routes(routes);
    let routes = heal::routes(routes);
    let routes = probe::routes(routes);
    let routes = ticket::routes(routes);
    let routes = tokens::routes(routes);
    let routes = agents::routes(routes);
    let routes = notice::routes(routes);
    let routes = audit::routes(routes);
    let routes = doctor::routes(routes);
    let routes = stream::routes(routes);
    let routes = emit::routes(routes);
    let routes = remote_write::routes(routes);
    let routes = otlp::routes(routes);
    let routes = remote_read::routes(routes);
    let routes = prometheus::routes(routes);
    let routes = dash::routes(routes);
    let routes = pages::routes(routes);
    let routes = signal_pages::routes(routes);
    let routes = token_pages::routes(routes);
    let routes = audit_pages::routes(routes);
    openapi::routes(routes)
}

/// The whole HTTP side of the tower.
pub fn router(context: Context) -> axum::Router {
    let life = context.auth.draw();
    let feeds = Feeds::new(context.engine.clone(), context.queries.clone(), context.clock);
    let doors = Doors {
        context,
        feeds,
        dashes: Arc::default(),
        meters: Arc::default(),
        streams: Arc::new(Semaphore::new(stream::STREAMS_MAX)),
        life: life.get(..8).unwrap_or(&life).into(),
    };
    shell::enclose(table(), doors)
}

/// Waits until a snapshot is as wanted, at most `limit`. Returns whether one was.
pub(crate) async fn wait_until(
    engine: &Engine,
    limit: Duration,
    wanted: impl FnMut(&Arc<Snapshot>) -> bool,
) -> bool {
    let mut changes = engine.changes();
    matches!(tokio::time::timeout(limit, changes.wait_for(wanted)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests;
