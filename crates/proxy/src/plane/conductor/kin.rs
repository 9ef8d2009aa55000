//! The conductor while its place is handed over: what the tower says reaches both processes, and what both count
//! reaches the tower.

use std::collections::BTreeSet;

use hmsops_model::{ReleaseId, Weight};
use hmsops_wire::gateway::{FromGateway, RetreatBy, ToGateway};

use super::super::handover::{Heritage, Kin, Other, Word};
use super::super::link::Event;
use super::super::serve::Stop;
use super::super::settings::keep_settings;
use super::super::tunnel::Place;
use super::Conductor;
use crate::routes::KeptError;

/// The process whose place this one took.
pub(super) struct Predecessor {
    other: Other,
    /// Canaries that wait for nothing there any more.
    drained: BTreeSet<ReleaseId>,
    /// This process does not end before it.
    _place: Place,
}

/// The process that takes this one's place.
pub(super) struct Successor {
    other: Other,
    /// Whether it has taken it.
    has_taken: bool,
}

impl Conductor {
    /// Before the first event: the process that went before.
    pub(in super::super) fn follow(&mut self, other: Other) {
        let place = Place::new(&self.plane);
        self.predecessor = Some(Predecessor { other, drained: BTreeSet::new(), _place: place });
    }

    pub(super) fn hear_kin(&mut self, event: Event) {
        match event {
            Event::Asked(answer, other) => match self.heritage() {
                // From here on the successor hears what the tower says; a second one waits until this is decided.
                Ok(heritage) => {
                    self.successor = Some(Successor { other, has_taken: false });
                    // Who asked is told by the end of the connection if it has gone.
                    let _ = answer.send(heritage);
                }
                Err(error) => tracing::error!(%error, "cannot write the gateway's routes"),
            },
            Event::Taken => self.hand_over(),
            Event::KinSaid(Kin::Predecessor, word) => self.hear_predecessor(word),
            Event::KinSaid(Kin::Successor, Word::Order(message)) => {
                self.silence.heard(self.plane.clock.now().steady);
                self.obey(*message);
            }
            Event::KinGone(Kin::Predecessor) => {
                self.predecessor = None;
                self.own();
            }
            Event::KinGone(Kin::Successor) => self.successor = None,
            _ => {}
        }
    }

    fn heritage(&self) -> Result<Heritage, KeptError> {
        Ok(Heritage {
            version: 1,
            routes: self.routes.heritage()?,
            settings: self.plane.in_force.load().settings.clone(),
            secret: self.plane.secret,
        })
    }

    /// The successor accepts connections: this process lets go of its tower, and of the disk before the successor
    /// writes to it, and drains.
    fn hand_over(&mut self) {
        let Some(successor) = &mut self.successor else { return };
        successor.has_taken = true;
        tracing::info!("another process has taken over; this one finishes what it has");
        let (yours, keepers) = (successor.other.speaker(), self.keepers.take());
        tokio::task::spawn_blocking(move || {
            // Waits for what is being written.
            drop(keepers);
            // A successor that is gone writes nothing.
            let _ = yours.try_send(Word::Yours);
        });
        if let Some(tower) = self.tower.take() {
            tokio::spawn(tower.finish());
        }
        self.ring.resend();
        self.inherited.resend();
        self.draining.values_mut().for_each(|draining| draining.is_told = false);
        self.stop.send_if_modified(|stop| {
            stop.get_or_insert(Stop::handed());
            true
        });
    }

    fn hear_predecessor(&mut self, word: Word) {
        match word {
            Word::Yours => self.own(),
            // The tower told it before it let go: the answers would be to nobody's question.
            Word::Order(message) => self.obey(*message),
            Word::Report(report) => match *report {
                FromGateway::Tick(tick) => self.inherited.push(tick),
                FromGateway::Drained { release, .. } => {
                    if let Some(predecessor) = &mut self.predecessor {
                        predecessor.drained.insert(release);
                    }
                }
                FromGateway::Retreated { service, release, at, by: RetreatBy::Gateway, .. } => {
                    let (answer, is_changed) = self.routes.retreat(&service, release, RetreatBy::Gateway, at);
                    self.change(&service, is_changed);
                    self.wake(release);
                    if is_changed {
                        self.say(answer);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Nobody else writes to disk: this process keeps what is in force, and can be taken over itself.
    fn own(&mut self) {
        if self.keepers.is_some() || self.successor.as_ref().is_some_and(|successor| successor.has_taken) {
            return;
        }
        match self.keeping.start() {
            Ok(keepers) => {
                keepers.settings.keep(keep_settings(&self.plane.in_force.load().settings));
                self.keepers = Some(keepers);
                self.keep();
                self.owns.send_replace(true);
            }
            Err(error) => tracing::error!(%error, "the gateway's state is not kept"),
        }
    }

    /// Passes on what the tower said.
    pub(super) fn relay(&mut self, message: &ToGateway) {
        if self.predecessor.is_none() && self.successor.is_none() {
            return;
        }
        if let ToGateway::Set { route } = message
            && let Some(canary) = route.canary.as_ref().filter(|canary| canary.weight > Weight::NONE)
            && let Some(predecessor) = &mut self.predecessor
        {
            predecessor.drained.remove(&canary.release);
        }
        if matches!(message, ToGateway::Hello { .. } | ToGateway::Unknown) {
            return;
        }
        let word = || Word::Order(Box::new(message.clone()));
        // One that does not read is dropped: a predecessor then retreats by itself, a successor has not taken over.
        if self.predecessor.as_ref().is_some_and(|predecessor| !predecessor.other.say(word())) {
            tracing::warn!("the process that went before does not listen");
            self.predecessor = None;
        }
        if self.successor.as_ref().is_some_and(|next| !next.has_taken && !next.other.say(word())) {
            tracing::warn!("the process that wanted to take over does not listen");
            self.successor = None;
        }
    }

    /// Whether a predecessor still has requests at this release's canary.
    pub(super) fn waits_elsewhere(&self, release: ReleaseId) -> bool {
        self.predecessor.as_ref().is_some_and(|predecessor| !predecessor.drained.contains(&release))
    }

    /// The process that speaks with the tower now.
    pub(super) fn speaker(&self) -> Option<&Other> {
        self.successor.as_ref().filter(|successor| successor.has_taken).map(|successor| &successor.other)
    }

    /// Says what is left to say, and waits until it is written.
    pub(super) async fn finish_kin(&mut self) {
        if let Some(successor) = self.successor.take().filter(|successor| successor.has_taken) {
            successor.other.finish().await;
        }
    }
}
