//! Hop 3: transitions become lines of the ledger, durable before anything is done about them.

use hmsops_control::access::AccessChange;
use hmsops_control::transition::Transition as T;
use hmsops_control::transport::TransportChange;
use hmsops_control::{Event, Refusal, Signal, Transition, Who};
use hmsops_ledger::{Draft, LedgerError, Outcome};
use hmsops_model::Now;

use super::{BACKLOG_MAX, LEDGER_RETRY, Tower};
use crate::controls;

/// The longest actor, source or subject of a line.
const NAME_BYTES_MAX: usize = 256;

/// Entries between two snapshots of state.
const SNAPSHOT_EVERY: u64 = 500;

impl Tower {
    /// Makes lines durable: what waits from before, then these. All or none.
    pub(super) fn record(&mut self, now: Now, transitions: &[Transition]) -> Result<(), String> {
        if transitions.is_empty() && self.backlog.is_empty() {
            return Ok(());
        }
        if now.steady < self.retry_at {
            return Err("the ledger has failed and is tried again every second".into());
        }
        let late = self.backlog.iter().map(|(at, transition)| draft(*at, transition, true));
        let drafts: Vec<Draft> = late.chain(transitions.iter().map(|t| draft(now, t, false))).collect();
        match self.ledger.append(now, drafts) {
            Ok(_) => {
                if !self.backlog.is_empty() {
                    self.backlog.clear();
                    self.spill.clear();
                }
                Ok(())
            }
            Err(LedgerError::Draft { .. } | LedgerError::TooLarge { .. }) => {
                self.record_fitting(now, transitions)
            }
            Err(error) => {
                self.retry_at = now.steady + LEDGER_RETRY;
                Err(error.to_string())
            }
        }
    }

    /// A line that does not fit the ledger's form must not keep others out for ever: of what waits, such a line is
    /// replaced by one that says so; of what is new, none is recorded.
    fn record_fitting(&mut self, now: Now, transitions: &[Transition]) -> Result<(), String> {
        while let Some((at, late)) = self.backlog.front().cloned() {
            match self.ledger.append(now, vec![draft(at, &late, true)]) {
                Ok(_) => {}
                Err(error @ (LedgerError::Draft { .. } | LedgerError::TooLarge { .. })) => {
                    let stub = T::Refused {
                        what: "record".into(),
                        subject: "tower".into(),
                        why: clip(&error.to_string(), 1000),
                        by: Who::tower(),
                    };
                    let written = self.ledger.append(now, vec![draft(now, &stub, true)]);
                    written.map_err(|error| error.to_string())?;
                }
                Err(error) => {
                    self.retry_at = now.steady + LEDGER_RETRY;
                    return Err(error.to_string());
                }
            }
            self.backlog.pop_front();
        }
        self.spill.clear();
        let drafts = transitions.iter().map(|t| draft(now, t, false)).collect();
        self.ledger.append(now, drafts).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Uses a ledger again that has failed: once a second it is opened anew, and what waits is written.
    pub(super) fn retry_ledger(&mut self, now: Now) {
        let waiting = !self.backlog.is_empty() || self.ledger.latched().is_some();
        if !waiting || now.steady < self.retry_at {
            return;
        }
        self.retry_at = now.steady + LEDGER_RETRY;
        if self.ledger.latched().is_some() && self.ledger.reopen().is_err() {
            return;
        }
        self.retry_at = now.steady;
        // On failure the next attempt is a second away again; the backlog stays as it is.
        let _written = self.record(now, &[]);
    }

    /// Keeps a line for later.
    pub(super) fn defer(&mut self, now: Now, transition: Transition) {
        if self.backlog.len() < BACKLOG_MAX || transition.is_retreat() {
            self.backlog.push_back((now, transition));
        } else {
            self.lost_facts += 1;
        }
    }

    /// A person's request that was refused stands in the ledger, too.
    pub(super) fn record_refusal(&mut self, now: Now, event: &Event, refusal: &Refusal) {
        let (what, subject, by) = match event {
            Event::Deploy { spec, by, .. } => ("deploy", format!("service/{}", spec.service), by.clone()),
            // The first stands for all: none of them begins.
            Event::Release { asked, by, .. } => {
                let Some(first) = asked.first() else { return };
                ("deploy", format!("service/{}", first.spec.service), by.clone())
            }
            Event::Command { command, by, .. } => (command.verb(), command.subject(), by.clone()),
            _ => return,
        };
        let refused = T::Refused { what: what.into(), subject, why: clip(&refusal.message, 1000), by };
        if self.record(now, std::slice::from_ref(&refused)).is_err() {
            self.defer(now, refused);
        }
    }

    pub(super) fn snapshot_if_due(&mut self, now: Now) {
        let size = self.ledger.size();
        if size.saturating_sub(self.snapshot_at) < SNAPSHOT_EVERY || !self.backlog.is_empty() {
            return;
        }
        self.snapshot(now);
    }

    /// Writes a snapshot of state; a failure leaves the one before in use. None is written while lines wait: state is
    /// then ahead of the ledger.
    pub fn snapshot(&mut self, now: Now) {
        if !self.backlog.is_empty() {
            return;
        }
        self.snapshot_at = self.ledger.size();
        if let Ok(bytes) = serde_json::to_vec(&self.state) {
            let _taken = self.ledger.snapshot(now, &bytes);
        }
    }
}

/// Whether a transition goes further than what is: then its line comes first, or it does not happen.
pub(super) fn is_advance(transition: &Transition) -> bool {
    match transition {
        T::ServiceDeclared { .. }
        | T::ServiceRetired { .. }
        | T::InstanceIntended { .. }
        | T::InstanceStopping { .. }
        | T::StableSet { .. }
        | T::RouteRenewed { .. }
        | T::RevertIntended { .. }
        | T::ReleaseRequested { .. }
        | T::WeightIntended { .. }
        | T::StepExtended { .. }
        | T::ReleaseResumed { .. }
        | T::ReleaseCommitted { .. }
        | T::ReleasePromoted { .. }
        | T::ReleaseBaked { .. }
        | T::VersionUndenied { .. } => true,
        T::ReleaseTakenBack { .. } => !transition.is_retreat(),
        T::InstanceStarted { .. }
        | T::InstanceFailed { .. }
        | T::InstanceReady { .. }
        | T::InstanceExited { .. }
        | T::InstanceStopped { .. }
        | T::WeightApplied { .. }
        | T::ReleaseHeld { .. }
        | T::RollbackCompleted { .. }
        | T::ReleaseClosed { .. }
        | T::VersionDenied { .. }
        | T::HealthChanged { .. }
        | T::IncidentOpened { .. }
        | T::IncidentResolved { .. }
        | T::Refused { .. } => false,
        T::Signal(change) => change.is_advance(),
        // Who is let in anew stands in the record first; who is shut out is shut out at once.
        T::People(change) => change.is_advance(),
        T::Access(change) => matches!(change, AccessChange::TokenIssued { .. }),
        T::Transport(change) => change.is_advance(),
    }
}

/// A transition as a line of the ledger. The moment it was decided at stands in the data when it is late.
pub(super) fn draft(now: Now, transition: &Transition, late: bool) -> Draft {
    let (kind, outcome) = kind(transition);
    let by = by(transition);
    let subject = match (transition.release(), transition.service(), transition) {
        (_, _, T::Refused { subject, .. }) => subject.clone(),
        (_, _, T::Signal(change)) => change.subject(),
        (_, _, T::People(change)) => change.subject(),
        (_, _, T::Transport(change)) => change.subject(),
        (_, _, T::Access(change)) => change.subject(),
        (_, Some(service), _) => format!("service/{service}"),
        (Some(release), None, _) => format!("release/{release}"),
        (None, None, _) => "tower".into(),
    };
    let line = Line { now, transition: transition.clone() };
    Draft {
        kind: kind.into(),
        actor: clip(&by.actor, NAME_BYTES_MAX),
        source: clip(&by.source, NAME_BYTES_MAX),
        subject: clip(&subject, NAME_BYTES_MAX),
        outcome,
        controls: controls::of(kind, outcome).map(str::to_owned).collect(),
        release: transition.release().map(|release| release.to_string()),
        late,
        data: serde_json::to_value(line).unwrap_or_default(),
    }
}

/// A text of at most so many bytes, without control characters.
fn clip(text: &str, bytes_max: usize) -> String {
    let mut clipped = String::new();
    for c in text.chars().map(|c| if hides(c) { ' ' } else { c }) {
        if clipped.len() + c.len_utf8() > bytes_max {
            break;
        }
        clipped.push(c);
    }
    if clipped.is_empty() { "unknown".into() } else { clipped }
}

/// Whether a character is not seen, or makes others look as if they stood elsewhere (Unicode's controls of direction).
fn hides(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a ledger line's data holds: enough to apply the transition again.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Line {
    /// When it was decided.
    pub(super) now: Now,
    /// What.
    #[serde(flatten)]
    pub(super) transition: Transition,
}

/// What a ledger entry's data holds: a change of state, and when it was decided. `None`: an entry of the ledger's own,
/// or of a newer version.
pub fn decode_line(data: &serde_json::Value) -> Option<(Now, Transition)> {
    data.get("transition")?;
    let line: Line = serde::Deserialize::deserialize(data).ok()?;
    Some((line.now, line.transition))
}

fn by(transition: &Transition) -> Who {
    match transition {
        T::ServiceDeclared { by, .. }
        | T::ServiceRetired { by, .. }
        | T::InstanceIntended { by, .. }
        | T::StableSet { by, .. }
        | T::RouteRenewed { by, .. }
        | T::RevertIntended { by, .. }
        | T::ReleaseRequested { by, .. }
        | T::ReleaseHeld { by, .. }
        | T::ReleaseResumed { by, .. }
        | T::ReleaseCommitted { by, .. }
        | T::ReleaseTakenBack { by, .. }
        | T::VersionUndenied { by, .. }
        | T::Refused { by, .. } => by.clone(),
        T::Signal(change) => change.by().cloned().unwrap_or_else(Who::tower),
        T::People(change) => change.by(),
        T::Transport(change) => change.by(),
        T::Access(change) => change.by(),
        T::WeightApplied { .. } | T::RollbackCompleted { .. } => {
            Who { actor: "gateway".into(), source: "gateway".into() }
        }
        T::InstanceStarted { .. }
        | T::InstanceFailed { .. }
        | T::InstanceExited { .. }
        | T::InstanceStopped { .. } => Who { actor: "driver".into(), source: "driver".into() },
        T::HealthChanged { .. } | T::InstanceReady { .. } => {
            Who { actor: "prober".into(), source: "prober".into() }
        }
        _ => Who::tower(),
    }
}

/// Kind and outcome of an entry.
fn kind(transition: &Transition) -> (&'static str, Outcome) {
    use Outcome::{Done, Failed, Intended, Refused};
    match transition {
        T::ServiceDeclared { .. } => ("service.declared", Done),
        T::ServiceRetired { .. } => ("service.retired", Done),
        T::InstanceIntended { .. } => ("instance.start", Intended),
        T::InstanceStarted { .. } => ("instance.started", Done),
        T::InstanceFailed { .. } => ("instance.started", Failed),
        T::InstanceReady { .. } => ("instance.ready", Done),
        T::InstanceExited { .. } => ("instance.exited", Failed),
        T::InstanceStopping { .. } => ("instance.stop", Intended),
        T::InstanceStopped { .. } => ("instance.stopped", Done),
        T::StableSet { .. } => ("service.stable", Done),
        T::RouteRenewed { .. } => ("service.route", Done),
        T::RevertIntended { .. } => ("service.revert", Intended),
        T::ReleaseRequested { .. } => ("release.requested", Intended),
        T::WeightIntended { .. } => ("release.weight", Intended),
        T::WeightApplied { .. } => ("release.weight", Done),
        T::StepExtended { .. } => ("release.extended", Done),
        T::ReleaseHeld { .. } => ("release.held", Done),
        T::ReleaseCommitted { .. } => ("release.committed", Done),
        T::ReleaseResumed { .. } => ("release.resumed", Done),
        T::ReleaseTakenBack { .. } => ("release.taken-back", Intended),
        T::RollbackCompleted { .. } => ("release.rolled-back", Done),
        T::ReleaseClosed { .. } => ("release.closed", Done),
        T::ReleasePromoted { .. } => ("release.promoted", Done),
        T::ReleaseBaked { .. } => ("release.proven", Done),
        T::VersionDenied { .. } => ("version.denied", Done),
        T::VersionUndenied { .. } => ("version.undenied", Done),
        T::HealthChanged { .. } => ("service.health", Done),
        T::IncidentOpened { .. } => ("incident.opened", Done),
        T::IncidentResolved { .. } => ("incident.resolved", Done),
        T::Refused { .. } => ("request.refused", Refused),
        T::Signal(change) => signal_kind(change),
        T::People(change) => (change.kind(), Done),
        T::Access(AccessChange::TokenIssued { .. }) => ("token.issued", Done),
        T::Access(AccessChange::TokenRevoked { .. }) => ("token.revoked", Done),
        T::Access(AccessChange::TokenEnded { .. }) => ("token.ended", Done),
        T::Access(AccessChange::Receipt { .. }) => ("door.receipt", Done),
        T::Transport(change) => transport_kind(change),
    }
}

/// The same for what is spoken beyond this machine.
fn transport_kind(change: &TransportChange) -> (&'static str, Outcome) {
    use Outcome::{Done, Failed};
    use TransportChange as C;
    match change {
        C::AuthorityMade { .. } => ("certificate.authority", Done),
        C::CertificateShown { .. } => ("certificate.shown", Done),
        C::CertificateBroken { .. } => ("certificate.broken", Failed),
        C::PlainAllowed { .. } => ("listener.plain", Done),
        C::AgentJoined { .. } => ("agent.joined", Done),
        C::AgentRenewed { .. } => ("agent.renewed", Done),
        C::AgentRevoked { .. } => ("agent.revoked", Done),
    }
}

/// The same for what watches and heals.
fn signal_kind(change: &Signal) -> (&'static str, Outcome) {
    use Outcome::{Done, Failed, Intended};
    use Signal as S;
    match change {
        S::RuleDeclared { .. } => ("rule.declared", Done),
        S::RuleRetired { .. } => ("rule.retired", Done),
        S::RuleHealthChanged { .. } => ("rule.health", Done),
        S::PolicyDeclared { .. } => ("policy.declared", Done),
        S::PolicyRetired { .. } => ("policy.retired", Done),
        S::AlertPending { .. } => ("alert.pending", Done),
        S::AlertFired { .. } => ("alert.fired", Done),
        S::AlertEnded { .. } => ("alert.ended", Done),
        S::AlertAcked { .. } => ("alert.acked", Done),
        S::SilenceBegun { .. } => ("silence.begun", Done),
        S::SilenceEnded { .. } => ("silence.ended", Done),
        S::HealIntended { .. } => ("heal.run", Intended),
        S::HealRan { success: true, .. } => ("heal.ran", Done),
        S::HealRan { .. } => ("heal.ran", Failed),
        S::HealJudged { healed: true, .. } => ("heal.judged", Done),
        S::HealJudged { .. } => ("heal.judged", Failed),
        S::HealsPaused { .. } => ("heal.paused", Done),
        S::HealsResumed { .. } => ("heal.resumed", Done),
        S::TicketOpened { .. } => ("ticket.opened", Done),
        S::TicketClosed { .. } => ("ticket.closed", Done),
        S::NoticeIntended { .. } => ("notice.sent", Intended),
        S::NoticeDelivered { .. } => ("notice.sent", Done),
        S::NoticeFailed { .. } => ("notice.sent", Failed),
        S::NoticeDead { .. } => ("notice.dead", Failed),
        S::NoticeRevived { .. } => ("notice.retried", Done),
        S::DashDeclared { .. } => ("dash.declared", Done),
        S::DashRemoved { .. } => ("dash.removed", Done),
    }
}
