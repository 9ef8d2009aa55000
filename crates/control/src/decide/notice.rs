//! Who is told what, and what becomes of it.

use hmsops_model::release::{Inconclusive, PolicyAction};
use hmsops_model::{Millis, NoticeId, ServiceName};

use super::View;
use crate::event::{NoticeReport, Who};
use crate::evidence::Evidence;
use crate::people::Glass;
use crate::sentence;
use crate::signal::Signal;
use crate::signal::alert::Alert;
use crate::signal::notice::{About, NOTICE_AGE_MAX, Occasion};
use crate::signal::ticket::Ticket;
use crate::signal::words;
use crate::state::State;
use crate::state::release::Release;
use crate::transition::{Detector, HoldReason, Transition};

/// Messages of one round; the next round has the rest.
const ROUND_MAX: usize = 50;

/// The longest line about a failure that is kept.
pub(super) const WHY_BYTES_MAX: usize = 500;

/// The longest text of a message, in bytes: with every character escaped it is still far below a ledger line.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Episodes of one alert that one receiver is told of within [`FLAP_SPAN`]; of more, only if it goes on when they
/// have passed. An alert that comes and goes must not bury what is new.
const FLAP_MAX: usize = 3;

/// See [`FLAP_MAX`].
const FLAP_SPAN: Millis = Millis::from_mins(15);

/// A hold that ended by itself is told to be over when none has come for so long: of one that comes and goes, one
/// message says that it is there and one that it has passed. What Alertmanager waits by default before it tells again
/// of the same group (`group_interval`, Prometheus documentation, "Alerting configuration").
const HOLD_SETTLES: Millis = Millis::from_mins(5);

/// Who is told when a release of a service is taken back or held: its policies' receivers and its owner, each once.
pub fn told_of(state: &State, service: &ServiceName) -> Vec<String> {
    let policies = state.signals.policies_of(service);
    let mut receivers: Vec<String> =
        policies.flat_map(|(_, policy)| policy.spec.notify.iter().cloned()).collect();
    receivers.extend(state.services.get(service).and_then(|known| known.spec.owner.clone()));
    receivers.sort();
    receivers.dedup();
    receivers
}

/// How long one whose glass was looked at by nobody is left in peace between two messages about it.
const GLASS_WAITS_EVERY: Millis = Millis::from_mins(60 * 24);

/// Owners of services who are told of a broken glass where the settings name nobody.
const WATCHERS_MAX: usize = 20;

/// Who is told when somebody breaks the glass: whom the settings name, else the owners of all services, each once.
pub fn told_of_glass(state: &State, evidence: &Evidence) -> Vec<String> {
    let mut receivers = evidence.seen.watchers.clone();
    if receivers.is_empty() {
        receivers.extend(state.services.values().filter_map(|service| service.spec.owner.clone()));
    }
    receivers.sort();
    receivers.dedup();
    receivers.truncate(WATCHERS_MAX);
    receivers
}

/// What one receiver shall be told.
struct Draft {
    receiver: String,
    about: About,
    occasion: Occasion,
    subject: String,
    text: String,
}

impl View<'_> {
    /// Messages that are due: people learn of what fired, ended, was taken back or waits for them.
    pub(super) fn review_notices(self) -> Vec<Transition> {
        let signals = &self.state.signals;
        let alerts = signals.alerts.values().flat_map(|alert| self.alert_notices(alert));
        let tickets = signals.tickets.values().filter(|ticket| ticket.closed.is_none());
        let tickets = tickets.flat_map(|ticket| self.ticket_notices(ticket));
        // A release may be closed before anybody could be told: its end needs no ledger, a message does.
        let lately = |release: &Release| {
            release.ended_at.is_some_and(|at| self.now.steady.since(at.steady) < NOTICE_AGE_MAX)
        };
        let off = self.state.releases.values().filter(|release| release.phase.is_off());
        let off = off.filter(|release| !release.closed || (release.told.is_empty() && lately(release)));
        let releases = off.flat_map(|release| self.release_notices(release));
        let held = self.state.releases.values().flat_map(|release| self.hold_notices(release));
        // Who was called once is not left with the thought that somebody still waits.
        let freed =
            self.state.releases.values().filter(|release| release.phase.is_active() || lately(release));
        let freed = freed.flat_map(|release| self.hold_end_notices(release));
        let glasses = self.state.people.glasses.values().flat_map(|glass| self.glass_notices(glass));
        let drafts =
            glasses.chain(alerts).chain(tickets).chain(releases).chain(held).chain(freed).take(ROUND_MAX);
        drafts.zip(signals.last.notice + 1..).map(|(draft, number)| notice(NoticeId(number), draft)).collect()
    }

    fn alert_notices(self, alert: &Alert) -> Vec<Draft> {
        let draft = |receiver: &String, occasion: Occasion| {
            let (subject, text) = words::alert_notice(self.state, alert);
            Draft { receiver: receiver.clone(), about: About::Alert(alert.id), occasion, subject, text }
        };
        if !alert.is_open() {
            // Who got the fire gets the end, silenced meanwhile or not.
            let untold = alert.told.iter().filter(|receiver| !alert.told_end.contains(receiver));
            return untold.map(|receiver| draft(receiver, Occasion::Resolved)).collect();
        }
        if !alert.is_firing() || self.state.signals.is_silenced(alert) {
            return Vec::new();
        }
        let receivers = self.told_of_alert(alert);
        let untold = receivers.iter().filter(|receiver| !alert.told.contains(receiver));
        let untold = untold.filter(|receiver| !self.flaps(alert, receiver));
        untold.map(|receiver| draft(receiver, Occasion::Fired)).collect()
    }

    fn told_of_alert(self, alert: &Alert) -> Vec<String> {
        let named = if alert.release.is_some() {
            let policy = alert.service.as_ref().and_then(|service| self.policy_of(alert, service));
            match policy {
                Some(policy) if policy.spec.action != PolicyAction::Rollback => policy.spec.notify.clone(),
                // The release tells that it was taken back.
                _ => return Vec::new(),
            }
        } else {
            let rule = self.state.signals.rules.get(&alert.rule);
            rule.map(|rule| rule.spec.notify.clone()).unwrap_or_default()
        };
        let mut receivers = if named.is_empty() { self.owner(alert.service.as_ref()) } else { named };
        receivers.sort();
        receivers.dedup();
        receivers
    }

    /// Whether a receiver was lately told of enough episodes of the same alert.
    fn flaps(self, alert: &Alert, receiver: &str) -> bool {
        let lately = |before: &&Alert| {
            before.fired_at.is_some_and(|at| self.now.steady.since(at.steady) < FLAP_SPAN)
                && before.rule == alert.rule
                && before.release == alert.release
                && before.labels == alert.labels
                && before.told.iter().any(|told| told == receiver)
        };
        self.state.signals.alerts.values().filter(lately).count() >= FLAP_MAX
    }

    fn ticket_notices(self, ticket: &Ticket) -> Vec<Draft> {
        let rule = ticket.alert.and_then(|id| self.state.signals.alerts.get(&id)).map(|alert| &alert.rule);
        let rule = rule.and_then(|name| self.state.signals.rules.get(name));
        let mut receivers = rule.map(|rule| rule.spec.notify.clone()).unwrap_or_default();
        if receivers.is_empty() {
            receivers = self.owner(Some(&ticket.service));
        }
        receivers.sort();
        receivers.dedup();
        let untold = receivers.into_iter().filter(|receiver| !ticket.told.contains(receiver));
        untold
            .map(|receiver| Draft {
                receiver,
                about: About::Ticket(ticket.id),
                occasion: Occasion::TakeOver,
                subject: format!("{} ({})", ticket.title, ticket.id),
                text: ticket.text.clone(),
            })
            .collect()
    }

    fn release_notices(self, release: &Release) -> Vec<Draft> {
        let detector = release.verdict.as_ref().map(|verdict| verdict.detector);
        if matches!(detector, None | Some(Detector::Person | Detector::Superseded)) {
            return Vec::new();
        }
        let untold = self.told_of(&release.spec.service).into_iter();
        let untold = untold.filter(|receiver| !release.told.contains(receiver));
        untold
            .map(|receiver| Draft {
                receiver,
                about: About::Release(release.id),
                occasion: Occasion::RolledBack,
                subject: format!("{}: {}", release.spec.service, sentence::headline(release)),
                text: sentence::why(release),
            })
            .collect()
    }

    /// A broken glass is told of at its beginning and its end, and each day while nobody has looked at it.
    fn glass_notices(self, glass: &Glass) -> Vec<Draft> {
        let wall = self.now.wall;
        let in_force = glass.is_in_force(wall);
        let is_late = wall.since(glass.broken_at.wall) >= NOTICE_AGE_MAX;
        let over = glass.ended.as_ref().or(glass.reviewed.as_ref());
        let over_at = over.map_or(glass.until, |ended| ended.at.wall.min(glass.until));
        if is_late && glass.reviewed.is_some() {
            return Vec::new();
        }
        let occasion = |receiver: &String| {
            let knows = |told: &[String]| told.contains(receiver);
            let last = glass.told_waits.get(receiver).copied().unwrap_or(over_at);
            if !knows(&glass.told) && !is_late {
                return Some(Occasion::GlassBroken);
            }
            if knows(&glass.told) && !in_force && !knows(&glass.told_end) && !is_late {
                return Some(Occasion::GlassEnded);
            }
            let waits = glass.reviewed.is_none() && !in_force;
            (waits && wall.since(last) >= GLASS_WAITS_EVERY).then_some(Occasion::GlassWaits)
        };
        let receivers = told_of_glass(self.state, self.evidence).into_iter();
        receivers
            .filter_map(|receiver| {
                let occasion = occasion(&receiver)?;
                let (subject, text) = glass_words(glass, occasion);
                Some(Draft { receiver, about: About::Glass(glass.id), occasion, subject, text })
            })
            .collect()
    }

    /// A release that does not go on, or back, without a person.
    fn hold_notices(self, release: &Release) -> Vec<Draft> {
        let asks = release.spec.inconclusive == Inconclusive::Ask;
        let waits =
            |why: &HoldReason| why.needs_person() || (asks && matches!(why, HoldReason::Inconclusive { .. }));
        let hold = release.hold.as_ref().map(|(why, _)| why);
        let Some(why) = hold.filter(|why| release.phase.is_active() && waits(why)) else {
            return Vec::new();
        };
        let untold = self.told_of(&release.spec.service).into_iter();
        let untold = untold.filter(|receiver| !release.knows_of_hold(receiver, why));
        let text = held_text(release);
        untold
            .map(|receiver| Draft {
                receiver,
                about: About::Release(release.id),
                occasion: Occasion::Held,
                subject: format!("{}: {} waits for you", release.spec.service, release.id),
                text: text.clone(),
            })
            .collect()
    }

    /// A release that waited for a person no longer does. Of one that was taken back by itself they are told as such.
    fn hold_end_notices(self, release: &Release) -> Vec<Draft> {
        let by_itself = release.verdict.as_ref().is_some_and(|verdict| !verdict.by_person());
        let settles = release.phase.is_active()
            && release.settling_since.is_some_and(|since| self.now.steady.since(since) < HOLD_SETTLES);
        if release.hold.is_some() || by_itself || settles {
            return Vec::new();
        }
        let draft = |receiver: &String| Draft {
            receiver: receiver.clone(),
            about: About::Release(release.id),
            occasion: Occasion::HoldEnded,
            subject: format!("{}: {} no longer waits for you", release.spec.service, release.id),
            text: sentence::why(release),
        };
        release.told_hold.iter().map(draft).collect()
    }

    /// Who is told when a release of a service is taken back: its policies' receivers and its owner.
    pub(crate) fn told_of(self, service: &ServiceName) -> Vec<String> {
        told_of(self.state, service)
    }

    fn owner(self, service: Option<&ServiceName>) -> Vec<String> {
        let known = service.and_then(|name| self.state.services.get(name));
        known.and_then(|known| known.spec.owner.clone()).into_iter().collect()
    }

    /// What has become of a notice.
    pub(super) fn noticed(self, id: NoticeId, report: &NoticeReport) -> Vec<Transition> {
        let known = self.state.signals.notices.get(&id).filter(|notice| notice.is_waiting());
        let Some(notice) = known else { return Vec::new() };
        let receiver = notice.receiver.clone();
        let change = match report {
            NoticeReport::Delivered { receipt } => {
                Signal::NoticeDelivered { notice: id, receiver, receipt: clip(receipt, WHY_BYTES_MAX) }
            }
            NoticeReport::Failed { why, is_final, retry_after } => {
                let age = self.now.steady.since(notice.intended_at.steady);
                if *is_final || age >= NOTICE_AGE_MAX {
                    Signal::NoticeDead { notice: id, receiver, why: clip(why, WHY_BYTES_MAX) }
                } else {
                    let due_in = notice.retry_after(*retry_after);
                    Signal::NoticeFailed { notice: id, receiver, why: clip(why, WHY_BYTES_MAX), due_in }
                }
            }
        };
        vec![change.into()]
    }
}

/// What is said of a broken glass.
fn glass_words(glass: &Glass, occasion: Occasion) -> (String, String) {
    let (id, by, why) = (glass.id, &glass.by.actor, &glass.reason);
    let minutes = glass.until.since(glass.broken_at.wall).0.div_ceil(60_000);
    let review =
        format!("Another person has to look at what was done: `hmsops breakglass review {id} --reason …`.");
    match occasion {
        Occasion::GlassBroken => (
            format!("{by} has broken the glass ({id})"),
            format!("They have an operator's rights for {minutes} min. Why: {why}\n{review}"),
        ),
        Occasion::GlassEnded => {
            let rest = match &glass.reviewed {
                Some(said) => format!("{} has looked at what was done: {}", said.by.actor, said.reason),
                None => review,
            };
            (
                format!("the rights of {id} have ended"),
                format!("{by} had broken the glass. Why: {why}\n{rest}"),
            )
        }
        _ => (
            format!("nobody has looked at what was done with {id}"),
            format!("{by} had broken the glass. Why: {why}\n{review}"),
        ),
    }
}

/// What is the matter, and why.
fn held_text(release: &Release) -> String {
    let (headline, why) = (sentence::headline(release), sentence::why(release));
    if why.starts_with(&headline) { why } else { format!("{headline} {why}") }
}

fn notice(notice: NoticeId, draft: Draft) -> Transition {
    let Draft { receiver, about, occasion, subject, text } = draft;
    let (subject, text) = (clip(&subject, WHY_BYTES_MAX), clip(&text, TEXT_BYTES_MAX));
    Signal::NoticeIntended { notice, receiver, about, occasion, subject, text, by: Who::tower() }.into()
}

/// The start of a line, at most so many bytes.
pub(crate) fn clip(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
