//! `GET /hms/v1/stream`: server-sent events (WHATWG HTML, §9.2) of what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hmsops_model::{DashName, ReleaseId, ServiceName};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::body::Params;
use super::caller::Caller;
use super::{Doors, Failure, Routes, Scope, show, show_signal};

/// Streams that may be open at a time.
pub(crate) const STREAMS_MAX: usize = 64;

/// Between two comments, so that both sides see that the other is there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Between two messages: five a second are more than eyes follow.
const PAUSE: Duration = Duration::from_millis(200);

/// Between two looks whether the token that opened a stream is still in force: a revoked one sees less than a second
/// more.
const LOCKS_EVERY: Duration = Duration::from_millis(250);

/// Messages that may wait for a slow reader; then it waits for itself.
const WAITING_MAX: usize = 4;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/hms/v1/stream",
        Scope::STATE_READ,
        "Server-sent events: services, releases and alerts that change, and the points of a dashboard",
        stream,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamParams {
    release: Option<String>,
    dash: Option<String>,
    /// `state`, `dash:NAME`, with commas between; without it `state`.
    topics: Option<String>,
}

/// What a reader wants to be told.
struct Topics {
    state: bool,
    only: Option<ReleaseId>,
    dash: Option<DashName>,
}

impl Topics {
    fn read(params: StreamParams) -> Result<Self, Failure> {
        let only = params.release.map(|id| id.parse::<ReleaseId>()).transpose()?;
        let mut topics = Self { state: params.topics.is_none(), only, dash: None };
        let named =
            params.topics.iter().flat_map(|topics| topics.split(',')).filter(|topic| !topic.is_empty());
        let named: Vec<String> = named.map(str::to_owned).collect();
        for topic in named.into_iter().chain(params.dash.map(|name| format!("dash:{name}"))) {
            match topic.strip_prefix("dash:") {
                Some(name) => {
                    let name = DashName::new(name)?;
                    if topics.dash.as_ref().is_some_and(|known| *known != name) {
                        return Err(Failure::argument("a stream has the points of one dashboard"));
                    }
                    topics.dash = Some(name);
                }
                None if topic == "state" => topics.state = true,
                None => {
                    return Err(Failure::argument(format!("`{topic:.80}` is no topic of the stream"))
                        .hint("`state` and `dash:NAME`, with a comma between"));
                }
            }
        }
        Ok(topics)
    }
}

async fn stream(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Params(params): Params<StreamParams>,
) -> Result<Response, Failure> {
    let topics = Topics::read(params)?;
    let place = doors.streams.clone().try_acquire_owned().map_err(|_| {
        Failure::unavailable(format!("{STREAMS_MAX} streams are open, which is all there may be"))
    })?;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let seen = last_id.strip_prefix(&*doors.life).and_then(|rest| rest.strip_prefix('-'));
    let seen = seen.and_then(|generation| generation.parse::<u64>().ok());
    let (sender, body) = Channel::<Bytes, Infallible>::new(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let mut stream = Stream { doors, caller, sender, topics, seen, sent: Sent::default() };
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
    alerts: String,
    generation: Option<u64>,
}

struct Stream {
    doors: Doors,
    caller: Caller,
    sender: Sender<Bytes>,
    topics: Topics,
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
        let tell = self.topics.state && self.seen != Some(snapshot.generation);
        let changed = self.sent.update(&snapshot, self.topics.only);
        if tell && !self.send(&changed).await {
            return;
        }
        let mut points = match self.topics.dash.clone() {
            Some(name) => match self.open(&name).await {
                Some(points) => Some(points),
                None => return,
            },
            None => None,
        };
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let locked = engine.clone();
        let mut locks = tokio::time::interval(LOCKS_EVERY);
        loop {
            let goes_on = tokio::select! {
                changed = changes.changed(), if self.topics.state => {
                    let snapshot = changes.borrow_and_update().clone();
                    changed.is_ok() && self.is_let_in(&snapshot) && self.tell(&snapshot).await
                }
                _ = locks.tick() => self.is_let_in(&locked.snapshot()),
                news = next(&mut points) => self.pass(news, &mut points).await,
                _ = heartbeat.tick() => self.sender.send_data(Bytes::from_static(b": here\n\n")).await.is_ok(),
                () = engine.leaves() => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Whether the token that opened the stream still lets anybody in.
    fn is_let_in(&self, snapshot: &Snapshot) -> bool {
        self.caller.is_in_force(snapshot, self.doors.context.clock.now().wall)
    }

    /// Begins with all points of the last minutes. `None`: the reader is gone.
    async fn open(&mut self, name: &DashName) -> Option<broadcast::Receiver<Bytes>> {
        let points = self.doors.feeds.follow(name);
        let whole = self.doors.feeds.whole(name).await;
        self.sender.send_data(whole).await.is_ok().then_some(points)
    }

    /// Hands news of a dashboard on; whoever missed some is told all anew.
    async fn pass(
        &mut self,
        news: Result<Bytes, RecvError>,
        points: &mut Option<broadcast::Receiver<Bytes>>,
    ) -> bool {
        if let Ok(news) = news {
            return self.sender.send_data(news).await.is_ok();
        }
        let Some(name) = self.topics.dash.clone() else { return false };
        *points = self.open(&name).await;
        points.is_some()
    }

    /// Tells what has changed, if anything has.
    async fn tell(&mut self, snapshot: &Snapshot) -> bool {
        let changed = self.sent.update(snapshot, self.topics.only);
        let is_news =
            !changed.services.is_empty() || !changed.releases.is_empty() || changed.alerts.is_some();
        if is_news && !self.send(&changed).await {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }

    async fn send(&mut self, changed: &api::Changed) -> bool {
        let data = serde_json::to_string(changed).unwrap_or_default();
        let text = format!("event: state\nid: {}-{}\ndata: {data}\n\n", self.doors.life, changed.generation);
        self.sender.send_data(Bytes::from(text)).await.is_ok()
    }
}

/// The next news of a dashboard; never, when none is followed.
async fn next(points: &mut Option<broadcast::Receiver<Bytes>>) -> Result<Bytes, RecvError> {
    match points {
        Some(points) => points.recv().await,
        None => std::future::pending().await,
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
        if only.is_none() {
            changed.alerts = self.alerts(snapshot);
        }
        let known: BTreeSet<ReleaseId> = snapshot.state.releases.keys().copied().collect();
        self.releases.retain(|id, _| known.contains(id));
        changed
    }

    /// The alerts that go on, when they are others than those sent last. The words alone, which hold an age, are no
    /// news.
    fn alerts(&mut self, snapshot: &Snapshot) -> Option<Vec<api::Alert>> {
        let shown = show_signal::active_alerts(snapshot);
        let mut lasting = shown.clone();
        for alert in &mut lasting {
            alert.sentence.clear();
        }
        let text = serde_json::to_string(&lasting).unwrap_or_default();
        // The first message has them even if there is none: who comes back may remember some.
        let is_news = self.alerts != text;
        self.alerts = text;
        is_news.then_some(shown)
    }
}
