//! A verdict, found again from what was kept: the ledger's lines and the side log's ticks and looks.
//!
//! Nothing but the fold and the question that the tower itself asks is used, so what comes out is the same evidence,
//! the same detector and the same moment, or somebody has changed a record.

use hmsops_model::{Now, ReleaseId};

use crate::decide::watch::{condemned, probes_condemn};
use crate::event::Event;
use crate::evidence::{Evidence, Parts, Watch};
use crate::release::whole;
use crate::state::State;
use crate::state::release::Phase;
use crate::transition::{Detector, HoldReason, Transition, Verdict};

/// One kept record, in the order in which they came about. Where a line and a tick bear the same moment, the tick
/// goes first: it is what the line was decided on.
#[derive(Debug, Clone, Copy)]
pub enum Kept<'a> {
    /// A line of the ledger: all of them that are about the release's service, from its declaration on.
    Line(Now, &'a Transition),
    /// A tick or look of the release's side log.
    Seen(Now, &'a Event),
}

/// What the records lead to.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// What condemned the release, and when; `None`: nothing that the statistics saw.
    pub condemned: Option<(Detector, Now)>,
    /// The evidence then, or at the end (an e-value, rounded down, at most 10^15).
    pub evidence: u64,
    /// What each test adds to it.
    pub parts: Parts,
    /// The ledger's own verdict, if the records hold one.
    pub recorded: Option<Verdict>,
    /// What condemned it by the ledger, and when, past its point of no return: then it was held instead.
    pub held: Option<(Detector, Now)>,
}

impl Replayed {
    /// Whether the records lead to the verdict that was recorded: the same detector, evidence and moment. Verdicts
    /// of people, policies and ended processes agree when the statistics had not condemned the release before.
    /// Of a release that was held for it past its point of no return, whatever became of it later: the same detector
    /// and moment.
    pub fn agrees(&self) -> bool {
        if let Some((detector, at)) = self.held {
            let found =
                self.condemned.filter(|(_, found)| is_statistical(detector) || found.steady < at.steady);
            return found == Some((detector, at)).filter(|_| is_statistical(detector));
        }
        match (&self.recorded, self.condemned) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(verdict), found) if is_statistical(verdict.detector) => {
                found == Some((verdict.detector, verdict.at)) && verdict.evidence == self.evidence
            }
            (Some(_), found) => found.is_none(),
        }
    }
}

/// Whether evidence alone leads to it.
const fn is_statistical(detector: Detector) -> bool {
    matches!(detector, Detector::Errors | Detector::Probes | Detector::Slow)
}

/// What a release has shown, folded again from the same records: what the tower held in memory while it was watched.
/// `None`: they don't tell of such a release, or nothing of it was kept.
pub fn course<'a>(release: ReleaseId, records: impl IntoIterator<Item = Kept<'a>>) -> Option<Watch> {
    let (mut state, mut evidence) = (State::default(), Evidence::default());
    for record in records {
        match record {
            Kept::Line(now, transition) => state.apply(now, transition),
            Kept::Seen(now, event) => evidence.observe_kept(&state, now, event),
        }
    }
    evidence.releases.get(&release).map(|watch| Watch::clone(watch))
}

/// Folds a release's records again. `None`: they don't tell of such a release.
pub fn replay<'a>(release: ReleaseId, records: impl IntoIterator<Item = Kept<'a>>) -> Option<Replayed> {
    let (mut state, mut evidence) = (State::default(), Evidence::default());
    let (mut found, mut recorded, mut held) = (None, None, None);
    for record in records {
        match record {
            Kept::Line(_, Transition::ReleaseTakenBack { release: id, verdict, .. }) if *id == release => {
                recorded = Some((**verdict).clone());
                break;
            }
            Kept::Line(now, transition) => {
                if let Transition::ReleaseHeld {
                    release: id, why: HoldReason::NoReturn { detector, .. }, ..
                } = transition
                    && *id == release
                {
                    held.get_or_insert((*detector, now));
                }
                state.apply(now, transition);
            }
            Kept::Seen(now, event) if found.is_none() => {
                evidence.observe_kept(&state, now, event);
                let watch = evidence.releases.get(&release);
                let detector = watch.and_then(|watch| match state.releases.get(&release)?.phase {
                    Phase::Watching => condemned(watch),
                    Phase::Baking => probes_condemn(watch).then_some(Detector::Probes),
                    _ => None,
                });
                found = detector.map(|detector| (detector, now));
            }
            Kept::Seen(..) => {}
        }
    }
    state.releases.get(&release)?;
    let watch = evidence.releases.get(&release);
    Some(Replayed {
        condemned: found,
        evidence: watch.map_or(1, |watch| whole(watch.evidence())),
        parts: watch.map_or_else(Parts::default, |watch| Watch::parts(watch)),
        recorded,
        held,
    })
}
