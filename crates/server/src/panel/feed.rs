//! Dashboards that somebody looks at: each is asked once for all who look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hmsops_model::{DashName, PanelSpec};
use hmsops_wire::api::Points;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;

use super::course::{Course, STEP};
use crate::Engine;
use crate::clock::Clock;
use crate::query::Queries;

/// Messages that may wait for a slow reader; whoever falls behind further is told all anew.
const WAITING_MAX: usize = 8;

/// The dashboards that are looked at. Cheap to clone.
#[derive(Clone)]
pub struct Feeds {
    engine: Engine,
    queries: Queries,
    clock: Clock,
    /// By weak references: a feed that ends takes its sender with it.
    open: Arc<Mutex<BTreeMap<DashName, broadcast::WeakSender<Bytes>>>>,
}

impl Feeds {
    /// None is looked at yet.
    pub fn new(engine: Engine, queries: Queries, clock: Clock) -> Self {
        Self { engine, queries, clock, open: Arc::default() }
    }

    /// What is news of a dashboard from now on, as messages of a stream of events.
    pub fn follow(&self, name: &DashName) -> broadcast::Receiver<Bytes> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = open.get(name).and_then(broadcast::WeakSender::upgrade) {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(WAITING_MAX);
        open.insert(name.clone(), sender.downgrade());
        tokio::spawn(self.clone().feed(name.clone(), sender));
        receiver
    }

    /// Its last minutes, as such a message.
    pub async fn whole(&self, name: &DashName) -> Bytes {
        let mut course = Course::new(name.clone(), self.panels(name));
        message(&course.whole(&self.queries, self.clock.now().wall.0).await)
    }

    fn panels(&self, name: &DashName) -> Vec<PanelSpec> {
        let snapshot = self.engine.snapshot();
        snapshot.state.signals.dashes.get(name).map(|dash| dash.spec.panels.clone()).unwrap_or_default()
    }

    /// Runs until nobody looks any more.
    async fn feed(self, name: DashName, sender: broadcast::Sender<Bytes>) {
        let mut course = Course::new(name.clone(), self.panels(&name));
        let mut ticks = tokio::time::interval(Duration::from_millis(STEP.unsigned_abs()));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.engine.leaves() => return,
            }
            if sender.receiver_count() == 0 {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                // Somebody may have come while the lock was waited for.
                if sender.receiver_count() == 0 {
                    open.remove(&name);
                    return;
                }
            }
            let (panels, now) = (self.panels(&name), self.clock.now().wall.0);
            let points = if course.is_of(&panels) {
                course.next(&self.queries, now).await
            } else {
                course = Course::new(name.clone(), panels);
                course.whole(&self.queries, now).await
            };
            let _nobody = sender.send(message(&points));
        }
    }
}

fn message(points: &Points) -> Bytes {
    let data = serde_json::to_string(points).unwrap_or_default();
    Bytes::from(format!("event: points\ndata: {data}\n\n"))
}
