//! The fold: a change becomes true.

use std::collections::BTreeMap;

use hmsops_model::{Now, RuleName};

use super::alert::{Acked, Alert, Ended, Handling};
use super::heal::{Heal, HealPhase};
use super::notice::{About, Notice, NoticeEnd, Occasion};
use super::silence::Silence;
use super::ticket::{Closed, Ticket};
use super::{Dash, Paused, Policy, Rule, RuleHealth, Signal, Signals};

/// What has ended is remembered so often of each kind; older ones stay in the ledger.
const ENDED_MAX: usize = 500;

impl Signals {
    /// Makes a change true. One that names something unknown changes nothing.
    pub fn apply(&mut self, now: Now, change: &Signal) {
        match change {
            Signal::RuleDeclared { .. } | Signal::RuleRetired { .. } | Signal::RuleHealthChanged { .. } => {
                self.apply_rule(now, change);
            }
            Signal::PolicyDeclared { key, policy, by } => {
                let policy = Policy { spec: (**policy).clone(), by: by.clone() };
                self.policies.insert(key.clone(), policy);
            }
            Signal::PolicyRetired { key, .. } => {
                self.policies.remove(key);
            }
            Signal::AlertPending { .. }
            | Signal::AlertFired { .. }
            | Signal::AlertEnded { .. }
            | Signal::AlertAcked { .. } => self.apply_alert(now, change),
            Signal::SilenceBegun { .. } | Signal::SilenceEnded { .. } => self.apply_silence(now, change),
            Signal::HealIntended { .. } | Signal::HealRan { .. } | Signal::HealJudged { .. } => {
                self.apply_heal(now, change);
            }
            Signal::HealsPaused { by, reason } => {
                self.heals_paused = Some(Paused { at: now, by: by.clone(), reason: reason.clone() });
            }
            Signal::HealsResumed { .. } => self.heals_paused = None,
            Signal::TicketOpened { .. } | Signal::TicketClosed { .. } => self.apply_ticket(now, change),
            Signal::NoticeIntended { .. }
            | Signal::NoticeDelivered { .. }
            | Signal::NoticeFailed { .. }
            | Signal::NoticeDead { .. }
            | Signal::NoticeRevived { .. } => self.apply_notice(now, change),
            Signal::DashDeclared { dash, by } => {
                let declared = Dash { spec: (**dash).clone(), by: by.clone() };
                self.dashes.insert(dash.name.clone(), declared);
            }
            Signal::DashRemoved { dash, .. } => {
                self.dashes.remove(dash);
            }
        }
    }

    fn apply_rule(&mut self, now: Now, change: &Signal) {
        match change {
            Signal::RuleDeclared { rule: spec, by, .. } => {
                let rule = Rule {
                    spec: (**spec).clone(),
                    by: by.clone(),
                    declared_at: now,
                    health: RuleHealth::New,
                    health_since: None,
                };
                self.rules.insert(spec.name.clone(), rule);
            }
            Signal::RuleRetired { rule, .. } => {
                self.rules.remove(rule);
                self.end_alerts(now, rule, "its rule is no longer declared");
            }
            Signal::RuleHealthChanged { rule, health } => {
                if let Some(rule) = self.rules.get_mut(rule) {
                    rule.health = health.clone();
                    rule.health_since = Some(now);
                }
            }
            _ => {}
        }
    }

    fn end_alerts(&mut self, now: Now, rule: &RuleName, why: &str) {
        let own = |alert: &&mut Alert| alert.is_open() && alert.release.is_none() && alert.rule == *rule;
        for alert in self.alerts.values_mut().filter(own) {
            alert.ended = Some(Ended { at: now, why: why.to_owned() });
        }
    }

    fn apply_alert(&mut self, now: Now, change: &Signal) {
        match change {
            Signal::AlertPending { alert: id, rule, service, labels, release, value, annotations } => {
                self.last.alert = self.last.alert.max(id.0);
                let alert = Alert {
                    id: *id,
                    rule: rule.clone(),
                    service: service.clone(),
                    labels: labels.clone(),
                    release: *release,
                    since: now,
                    value: value.clone(),
                    annotations: annotations.clone(),
                    fired_at: None,
                    ended: None,
                    handling: Handling::Open,
                    acked: None,
                    told: Vec::new(),
                    told_end: Vec::new(),
                };
                self.alerts.insert(*id, alert);
                // Whoever was told that it fired is still to be told that it ended.
                forget(&mut self.alerts, |alert| {
                    !alert.is_open() && alert.told.len() <= alert.told_end.len()
                });
            }
            Signal::AlertFired { alert, value, annotations, .. } => {
                if let Some(alert) = self.alerts.get_mut(alert) {
                    if !annotations.is_empty() {
                        alert.annotations.clone_from(annotations);
                    }
                    alert.fired_at = Some(now);
                    alert.value.clone_from(value);
                }
            }
            Signal::AlertEnded { alert, why, .. } => {
                if let Some(alert) = self.alerts.get_mut(alert) {
                    alert.ended = Some(Ended { at: now, why: why.clone() });
                }
            }
            Signal::AlertAcked { alert, by, reason, .. } => {
                if let Some(alert) = self.alerts.get_mut(alert) {
                    alert.acked = Some(Acked { at: now, by: by.clone(), reason: reason.clone() });
                }
            }
            _ => {}
        }
    }

    fn apply_silence(&mut self, now: Now, change: &Signal) {
        match change {
            Signal::SilenceBegun { silence: id, rule, span, keep_heal, by, reason } => {
                self.last.silence = self.last.silence.max(id.0);
                let silence = Silence {
                    id: *id,
                    rule: rule.clone(),
                    keep_heal: *keep_heal,
                    since: now,
                    span: *span,
                    by: by.clone(),
                    reason: reason.clone(),
                    ended: None,
                };
                self.silences.insert(*id, silence);
                forget(&mut self.silences, |silence| silence.ended.is_some());
            }
            Signal::SilenceEnded { silence, why, .. } => {
                if let Some(silence) = self.silences.get_mut(silence) {
                    silence.ended = Some((now, why.clone()));
                }
            }
            _ => {}
        }
    }

    fn apply_heal(&mut self, now: Now, change: &Signal) {
        match change {
            Signal::HealIntended { heal: id, rule, alert, action, by } => {
                self.last.heal = self.last.heal.max(id.0);
                let heal = Heal {
                    id: *id,
                    rule: rule.clone(),
                    alert: *alert,
                    action: action.clone(),
                    by: by.clone(),
                    intended_at: now,
                    phase: HealPhase::Running,
                    exit: None,
                    output: String::new(),
                    ran_until: None,
                    ended_at: None,
                    why: None,
                    ticket: None,
                };
                self.heals.insert(*id, heal);
                forget(&mut self.heals, |heal| !heal.is_open());
                self.handle(*alert, Handling::HealRunning { heal: *id });
            }
            Signal::HealRan { heal: id, success, exit, output, .. } => {
                if let Some(heal) = self.heals.get_mut(id) {
                    heal.phase = if *success { HealPhase::Checking } else { heal.phase };
                    heal.exit = Some(exit.clone());
                    heal.output.clone_from(output);
                    heal.ran_until = Some(now);
                }
            }
            Signal::HealJudged { heal: id, healed: is_healed, why, .. } => {
                let Some(heal) = self.heals.get_mut(id) else { return };
                heal.phase = if *is_healed { HealPhase::Healed } else { HealPhase::Failed };
                heal.ended_at = Some(now);
                heal.why = Some(why.clone());
                let alert = heal.alert;
                let (healed, failed) = (Handling::Healed { heal: *id }, Handling::HealFailed { heal: *id });
                self.handle(alert, if *is_healed { healed } else { failed });
            }
            _ => {}
        }
    }

    fn handle(&mut self, alert: Option<hmsops_model::AlertId>, handling: Handling) {
        if let Some(alert) = alert.and_then(|id| self.alerts.get_mut(&id)) {
            alert.handling = handling;
        }
    }

    fn apply_ticket(&mut self, now: Now, change: &Signal) {
        match change {
            Signal::TicketOpened { ticket: id, service, alert, heal, title, text } => {
                self.last.ticket = self.last.ticket.max(id.0);
                let ticket = Ticket {
                    id: *id,
                    service: service.clone(),
                    alert: *alert,
                    heal: *heal,
                    title: title.clone(),
                    text: text.clone(),
                    opened_at: now,
                    closed: None,
                    told: Vec::new(),
                };
                self.tickets.insert(*id, ticket);
                forget(&mut self.tickets, |ticket| ticket.closed.is_some());
                self.handle(*alert, Handling::TakeOver { ticket: *id });
                if let Some(heal) = heal.and_then(|id| self.heals.get_mut(&id)) {
                    heal.ticket = Some(*id);
                }
            }
            Signal::TicketClosed { ticket, by, reason, .. } => {
                let Some(ticket) = self.tickets.get_mut(ticket) else { return };
                ticket.closed = Some(Closed { at: now, by: by.clone(), reason: reason.clone() });
                let (alert, heal) = (ticket.alert, ticket.heal);
                // Without a heal that was tried there is nothing to go back to: it stays in a person's hands.
                if let Some(heal) = heal {
                    self.handle(alert, Handling::HealFailed { heal });
                }
            }
            _ => {}
        }
    }

    /// Who has been told stands with what they were told of, so that it outlives the notice itself.
    fn tell(&mut self, about: &About, occasion: Occasion, receiver: &str) {
        match about {
            About::Alert(id) => {
                let Some(alert) = self.alerts.get_mut(id) else { return };
                let told = if occasion == Occasion::Resolved { &mut alert.told_end } else { &mut alert.told };
                told.push(receiver.to_owned());
            }
            About::Ticket(id) => {
                if let Some(ticket) = self.tickets.get_mut(id) {
                    ticket.told.push(receiver.to_owned());
                }
            }
            About::Release(_) | About::Glass(_) | About::Test(_) => {}
        }
    }

    fn apply_notice(&mut self, now: Now, change: &Signal) {
        match change {
            Signal::NoticeIntended { notice: id, receiver, about, occasion, subject, text, .. } => {
                self.last.notice = self.last.notice.max(id.0);
                let notice = Notice {
                    id: *id,
                    receiver: receiver.clone(),
                    about: about.clone(),
                    occasion: *occasion,
                    subject: subject.clone(),
                    text: text.clone(),
                    intended_at: now,
                    attempts: 0,
                    error: None,
                    due_at: now.steady,
                    ended: None,
                };
                self.notices.insert(*id, notice);
                self.tell(about, *occasion, receiver);
                forget(&mut self.notices, |notice| !notice.is_waiting());
            }
            Signal::NoticeDelivered { notice, receipt, .. } => {
                if let Some(notice) = self.notices.get_mut(notice) {
                    notice.ended = Some(NoticeEnd::Delivered { at: now, receipt: receipt.clone() });
                }
            }
            Signal::NoticeFailed { notice, why, due_in, .. } => {
                if let Some(notice) = self.notices.get_mut(notice) {
                    notice.attempts += 1;
                    notice.error = Some(why.clone());
                    notice.due_at = now.steady + *due_in;
                }
            }
            Signal::NoticeDead { notice, why, .. } => {
                if let Some(notice) = self.notices.get_mut(notice) {
                    notice.attempts += 1;
                    notice.error = Some(why.clone());
                    notice.ended = Some(NoticeEnd::Dead { at: now, why: why.clone() });
                }
            }
            Signal::NoticeRevived { notice, .. } => {
                if let Some(notice) = self.notices.get_mut(notice) {
                    // Its age counts from now on: otherwise it would be given up again at once.
                    notice.intended_at = now;
                    notice.attempts = 0;
                    notice.due_at = now.steady;
                    notice.ended = None;
                }
            }
            _ => {}
        }
    }
}

/// Lets go of the oldest that have ended, while there are more than enough of them.
fn forget<K: Ord + Copy, V>(known: &mut BTreeMap<K, V>, has_ended: impl Fn(&V) -> bool) {
    let ended: Vec<K> = known.iter().filter(|(_, value)| has_ended(value)).map(|(key, _)| *key).collect();
    for key in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
        known.remove(key);
    }
}
