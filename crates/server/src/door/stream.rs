//! `GET /hms/v1/stream`: server-sent events (WHATWG HTML, §9.2) of what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hmsops_model::{ReleaseId, ServiceName};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;

use super::body::Params;
use super::{Doors, Failure, Routes, Scope, show};

/// Streams that may be open at a time.
pub(crate) const STREAMS_MAX: usize = 64;

/// Between two comments, so that both sides see that the other is there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Between two messages: five a second are more than eyes follow.
const PAUSE: Duration = Duration::from_millis(200);

/// Messages that may wait for a slow reader; then it waits for itself.
const WAITING_MAX: usize = 4;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/hms/v1/stream",
        Scope::STATE_READ,
        "Server-sent events: services and releases that change",
        stream,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamParams {
    release: Option<String>,
}

async fn stream(
    State(doors): State<Doors>,
    headers: HeaderMap,
    Params(params): Params<StreamParams>,
) -> Result<Response, Failure> {
    let only = params.release.map(|id| id.parse::<ReleaseId>()).transpose()?;
    let place = doors.streams.clone().try_acquire_owned().map_err(|_| {
        Failure::unavailable(format!("{STREAMS_MAX} streams are open, which is all there may be"))
    })?;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let seen = last_id.strip_prefix(&*doors.life).and_then(|rest| rest.strip_prefix('-'));
    let seen = seen.and_then(|generation| generation.parse::<u64>().ok());
    let (sender, body) = Channel::<Bytes, Infallible>::new(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let mut stream = Stream { doors, sender, only, seen, sent: Sent::default() };
        stream.run().await;
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(body)).into_response())
}

/// What the reader was last told, as JSON.
#[derive(Default)]
struct Sent {
    services: BTreeMap<ServiceName, String>,
    releases: BTreeMap<ReleaseId, String>,
    generation: Option<u64>,
}

struct Stream {
    doors: Doors,
    sender: Sender<Bytes>,
    only: Option<ReleaseId>,
    /// The generation that the reader saw before it came back.
    seen: Option<u64>,
    sent: Sent,
}

impl Stream {
    /// Ends when the reader is gone or the tower stops.
    async fn run(&mut self) {
        let engine = self.doors.context.engine.clone();
        let mut changes = engine.changes();
        let snapshot = changes.borrow_and_update().clone();
        // Who saw this very state is told only of what comes after it.
        let tell = self.seen != Some(snapshot.generation);
        let changed = self.sent.update(&snapshot, self.only);
        if tell && !self.send(&changed).await {
            return;
        }
        loop {
            let changed = tokio::select! {
                changed = tokio::time::timeout(HEARTBEAT, changes.changed()) => changed,
                () = engine.leaves() => return,
            };
            match changed {
                Err(_) => {
                    if self.sender.send_data(Bytes::from_static(b": here\n\n")).await.is_err() {
                        return;
                    }
                }
                Ok(Err(_)) => return,
                Ok(Ok(())) => {
                    let snapshot = changes.borrow_and_update().clone();
                    let changed = self.sent.update(&snapshot, self.only);
                    let is_news = !changed.services.is_empty() || !changed.releases.is_empty();
                    if is_news && !self.send(&changed).await {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn send(&mut self, changed: &api::Changed) -> bool {
        let data = serde_json::to_string(changed).unwrap_or_default();
        let text = format!("event: state\nid: {}-{}\ndata: {data}\n\n", self.doors.life, changed.generation);
        self.sender.send_data(Bytes::from(text)).await.is_ok()
    }
}

impl Sent {
    /// What differs from what was sent last, which it remembers as sent now.
    fn update(&mut self, snapshot: &Snapshot, only: Option<ReleaseId>) -> api::Changed {
        let is_same_state = self.generation.replace(snapshot.generation) == Some(snapshot.generation);
        let mut changed = api::Changed {
            generation: snapshot.generation,
            services: Vec::new(),
            releases: Vec::new(),
            alerts: None,
        };
        for (id, release) in &snapshot.state.releases {
            // Without a change of state only the numbers of a release that is open can have moved.
            if only.is_some_and(|only| only != *id) || (is_same_state && release.closed) {
                continue;
            }
            let shown = show::release(snapshot, release);
            let text = serde_json::to_string(&shown).unwrap_or_default();
            if self.releases.get(id) != Some(&text) {
                self.releases.insert(*id, text);
                changed.releases.push(shown);
            }
        }
        if only.is_none() {
            for (name, service) in &snapshot.state.services {
                let shown = show::service(snapshot, service);
                let text = serde_json::to_string(&shown).unwrap_or_default();
                if self.services.get(name) != Some(&text) {
                    self.services.insert(name.clone(), text);
                    changed.services.push(shown);
                }
            }
        }
        let known: BTreeSet<ReleaseId> = snapshot.state.releases.keys().copied().collect();
        self.releases.retain(|id, _| known.contains(id));
        changed
    }
}
