//! The loop of the tower's thread: one event after another, and a look at the clock ten times a second.

use std::sync::Arc;
use std::time::Duration;

use hmsops_control::Event;
use hmsops_model::{Millis, Now};
use hmsops_tower::{Handled, Hands, Snapshot, Tower};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::sentinel::{self, Pulse};
use super::{Engine, Work};
use crate::clock::Clock;

/// Work that may wait; whoever has more waits for a place.
const QUEUE_MAX: usize = 4096;

/// Between two looks at the clock.
const WAKE_EVERY: Duration = Duration::from_millis(100);

/// Between two snapshots for readers while nothing but evidence changes.
const PUBLISH_EVERY: Millis = Millis(100);

/// Starts the tower's thread, and the one that looks after it. `acks` carries off which ticks are kept.
pub fn start(
    tower: Tower,
    clock: Clock,
    hands: impl Hands + Clone + Send + 'static,
    acks: mpsc::Sender<Vec<(u64, u64)>>,
) -> std::io::Result<Engine> {
    let (work, waiting) = mpsc::channel(QUEUE_MAX);
    let (publish, snapshot) = watch::channel(Arc::new(tower.publish(clock.now(), None)));
    let pulse = Arc::new(Pulse::default());
    let sentinel = sentinel::start(clock, hands.clone(), Arc::clone(&pulse), snapshot.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("tower".into()).spawn(move || {
        let mut turn = Turn { tower, clock, hands: Box::new(hands), publish, acks, pulse };
        runtime.block_on(turn.run(waiting));
    })?;
    Ok(Engine { work, snapshot, leaving: Arc::new(watch::channel(false).0), sentinel })
}

struct Turn {
    tower: Tower,
    clock: Clock,
    hands: Box<dyn Hands + Send>,
    publish: watch::Sender<Arc<Snapshot>>,
    acks: mpsc::Sender<Vec<(u64, u64)>>,
    pulse: Arc<Pulse>,
}

impl Turn {
    async fn run(&mut self, mut waiting: mpsc::Receiver<Work>) {
        self.tower.reconcile(self.clock.now(), self.hands.as_mut(), true);
        let mut wake = tokio::time::interval(WAKE_EVERY);
        wake.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                work = waiting.recv() => match work {
                    Some(Work::Event(event, answer)) => {
                        let handled = self.handle(&event);
                        // What was decided is readable before whoever asked learns of it.
                        self.publish_if(!handled.transitions.is_empty());
                        if let Some(answer) = answer {
                            let _gone = answer.send(handled);
                        }
                    }
                    Some(Work::Stop(done)) => {
                        self.tower.close_side();
                        self.tower.snapshot(self.clock.now());
                        let _gone = done.send(());
                        return;
                    }
                    None => return,
                },
                _ = wake.tick() => {
                    let handled = self.handle(&Event::Wake);
                    self.publish_if(!handled.transitions.is_empty());
                }
            }
            self.pass_acks();
        }
    }

    fn handle(&mut self, event: &Event) -> Handled {
        let now = self.clock.now();
        self.pulse.begin(now.steady);
        let handled = self.tower.handle(now, event, self.hands.as_mut());
        self.pulse.end();
        handled
    }

    fn publish_if(&mut self, changed: bool) {
        let now = self.clock.now();
        let last: Now = self.publish.borrow().now;
        if changed || now.steady.since(last.steady) >= PUBLISH_EVERY {
            let snapshot = self.tower.publish(now, Some(&self.publish.borrow()));
            self.publish.send_replace(Arc::new(snapshot));
        }
    }

    fn pass_acks(&mut self) {
        let acks = self.tower.take_acks();
        if !acks.is_empty() {
            // Acks that find no place are not needed: the next ones say the same and more.
            let _full = self.acks.try_send(acks);
        }
    }
}
