//! A person steers what watches and heals.

use hmsops_model::instance::Instance;
use hmsops_model::{
    AlertId, DashName, Millis, NoticeId, RuleName, RuleSpec, ServiceName, SilenceId, TicketId,
};

use super::View;
use super::deploy::intend;
use crate::event::{Command, Refusal, Who};
use crate::signal::notice::{About, Occasion};
use crate::signal::silence::SILENCE_MAX;
use crate::signal::{Rule, Signal};
use crate::transition::{Role, Transition};

/// Rules of one tower: each is a query every few seconds.
const RULES_MAX: usize = 5000;

/// Dashboards of one tower.
const DASHES_MAX: usize = 1000;

impl<'a> View<'a> {
    /// Commands about rules, alerts, heals, notices and dashboards.
    pub(super) fn steer(self, command: &Command, by: &Who, reason: &str) -> Result<Vec<Transition>, Refusal> {
        let reason = reason.to_owned();
        let change = match command {
            Command::Restart { service } => return self.restart(service, by, &reason),
            Command::DeclareRule { rule, readings } => return self.declare_rule(rule, readings, by),
            Command::RemoveRule { rule } => {
                let rule = self.known_rule(rule)?;
                not_owned(&rule.by, by, "rule", rule.spec.name.as_str())?;
                return Ok(self.retire_rule(rule, by, &reason));
            }
            Command::Ack { alert } => self.ack(*alert, by, reason)?,
            Command::Silence { rule, span, keep_heal } => {
                self.silence(rule, *span, *keep_heal, by, reason)?
            }
            Command::Unsilence { silence } => self.unsilence(*silence, by, &reason)?,
            Command::Heal { rule } => return self.heal_by_person(self.known_rule(rule)?, by),
            Command::PauseHeals if self.state.signals.heals_paused.is_some() => return Ok(Vec::new()),
            Command::PauseHeals => Signal::HealsPaused { by: by.clone(), reason },
            Command::ResumeHeals if self.state.signals.heals_paused.is_none() => {
                return Err(Refusal::conflict("healing is not paused"));
            }
            Command::ResumeHeals => Signal::HealsResumed { by: by.clone(), reason },
            Command::CloseTicket { ticket } => self.close_ticket(*ticket, by, reason)?,
            Command::TestReceiver { receiver } => self.test_receiver(receiver, by),
            Command::RetryNotice { notice } => self.retry_notice(*notice, by)?,
            Command::DeclareDash { dash } => {
                if !self.state.signals.dashes.contains_key(&dash.name)
                    && self.state.signals.dashes.len() >= DASHES_MAX
                {
                    return Err(Refusal::conflict(format!("there are {DASHES_MAX} dashboards already")));
                }
                if self.state.signals.dashes.get(&dash.name).is_some_and(|known| known.spec == *dash) {
                    return Ok(Vec::new());
                }
                Signal::DashDeclared { dash: Box::new(dash.clone()), by: by.clone() }
            }
            Command::RemoveDash { dash } => {
                self.known_dash(dash)?;
                Signal::DashRemoved { dash: dash.clone(), by: by.clone() }
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![change.into()])
    }

    fn known_rule(self, name: &RuleName) -> Result<&'a Rule, Refusal> {
        self.state.signals.rules.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.state.signals.rules.keys().take(20).map(RuleName::as_str).collect();
            let known = if known.is_empty() { "none is declared yet".into() } else { known.join(", ") };
            Refusal::not_found(format!("there is no alert rule `{name}`")).hint(format!("known: {known}"))
        })
    }

    fn declare_rule(
        self,
        spec: &RuleSpec,
        readings: &[String],
        by: &Who,
    ) -> Result<Vec<Transition>, Refusal> {
        let known = self.state.signals.rules.get(&spec.name);
        if let Some(known) = known {
            not_owned(&known.by, by, "rule", spec.name.as_str())?;
            if known.spec == *spec {
                return Ok(Vec::new());
            }
        } else if self.state.signals.rules.len() >= RULES_MAX {
            return Err(Refusal::conflict(format!("there are {RULES_MAX} alert rules already")));
        }
        let (rule, readings, by) = (Box::new(spec.clone()), readings.to_vec(), by.clone());
        Ok(vec![Signal::RuleDeclared { rule, readings, by }.into()])
    }

    fn ack(self, id: AlertId, by: &Who, reason: String) -> Result<Signal, Refusal> {
        let alert = self.state.signals.alerts.get(&id);
        let alert = alert.ok_or_else(|| Refusal::not_found(format!("there is no alert {id}")))?;
        if !alert.is_firing() {
            return Err(Refusal::conflict(format!("{id} does not fire: it is {}", alert.words())));
        }
        Ok(Signal::AlertAcked { alert: id, rule: alert.rule.clone(), by: by.clone(), reason })
    }

    fn silence(
        self,
        rule: &RuleName,
        span: Millis,
        keep_heal: bool,
        by: &Who,
        reason: String,
    ) -> Result<Signal, Refusal> {
        let is_policy =
            self.state.signals.policies.values().any(|policy| policy.spec.metric == rule.as_str());
        if !is_policy {
            self.known_rule(rule)?;
        }
        if span == Millis::ZERO || span > SILENCE_MAX {
            return Err(Refusal::conflict(format!("a silence lasts from 1 ms to {SILENCE_MAX}, not {span}")));
        }
        let silence = SilenceId(self.state.signals.last.silence + 1);
        Ok(Signal::SilenceBegun { silence, rule: rule.clone(), span, keep_heal, by: by.clone(), reason })
    }

    fn unsilence(self, id: SilenceId, by: &Who, reason: &str) -> Result<Signal, Refusal> {
        let silence = self.state.signals.silences.get(&id);
        let silence = silence.ok_or_else(|| Refusal::not_found(format!("there is no silence {id}")))?;
        if let Some((_, why)) = &silence.ended {
            return Err(Refusal::conflict(format!("{id} has ended: {why}")));
        }
        let why = if reason.is_empty() { "lifted".into() } else { format!("lifted: {reason}") };
        Ok(Signal::SilenceEnded { silence: id, rule: silence.rule.clone(), by: by.clone(), why })
    }

    fn close_ticket(self, id: TicketId, by: &Who, reason: String) -> Result<Signal, Refusal> {
        let ticket = self.state.signals.tickets.get(&id);
        let ticket = ticket.ok_or_else(|| Refusal::not_found(format!("there is no ticket {id}")))?;
        if ticket.closed.is_some() {
            return Err(Refusal::conflict(format!("{id} is closed already")));
        }
        let (service, by) = (ticket.service.clone(), by.clone());
        Ok(Signal::TicketClosed { ticket: id, service, by, reason })
    }

    fn test_receiver(self, receiver: &str, by: &Who) -> Signal {
        let number = self.state.signals.last.notice + 1;
        Signal::NoticeIntended {
            notice: NoticeId(number),
            receiver: receiver.to_owned(),
            about: About::Test(number),
            occasion: Occasion::Test,
            subject: "hmsops: a test".into(),
            text: format!("{} tries whether hmsops reaches you. Nothing is wrong.", by.actor),
            by: by.clone(),
        }
    }

    fn retry_notice(self, id: NoticeId, by: &Who) -> Result<Signal, Refusal> {
        let notice = self.state.signals.notices.get(&id);
        let notice = notice.ok_or_else(|| Refusal::not_found(format!("there is no notice {id}")))?;
        if !matches!(notice.ended, Some(crate::signal::notice::NoticeEnd::Dead { .. })) {
            return Err(Refusal::conflict(format!("{id} was not given up")));
        }
        Ok(Signal::NoticeRevived { notice: id, by: by.clone() })
    }

    fn known_dash(self, name: &DashName) -> Result<(), Refusal> {
        let known = self.state.signals.dashes.contains_key(name);
        known.then_some(()).ok_or_else(|| Refusal::not_found(format!("there is no dashboard `{name}`")))
    }

    /// A new copy of the stable version takes over once it is ready, so no user notices.
    fn restart(self, name: &ServiceName, by: &Who, reason: &str) -> Result<Vec<Transition>, Refusal> {
        let service = self.known_service(name)?;
        if service.is_external() {
            return Err(Refusal::conflict(format!("`{name}` has `driver: external`: it runs elsewhere"))
                .hint("restart it there"));
        }
        if let Some(release) = self.state.active_release(name) {
            return Err(Refusal::conflict(format!("{} is out", release.id))
                .hint(format!("`hmsops release abort {} --reason …` first", release.id)));
        }
        if service.revert.is_some() {
            return Err(Refusal::conflict(format!("`{name}` is on its way to another copy already")));
        }
        let stable = service.stable_instance();
        let stable = stable.ok_or_else(|| Refusal::conflict(format!("no version of `{name}` runs yet")))?;
        let instance = Instance {
            id: self.next_instance(),
            service: name.clone(),
            version: stable.instance.version.clone(),
            digest: stable.instance.digest.clone(),
        };
        let (service_name, id) = (name.clone(), instance.id);
        let mut transitions = intend(service, instance, Role::Stable, by);
        let (by, reason) = (by.clone(), format!("restart: {reason}"));
        transitions.push(Transition::RevertIntended { service: service_name, id, by, reason });
        Ok(transitions)
    }
}

/// One owner per object: what a file declares, only the file changes.
fn not_owned(owner: &Who, by: &Who, what: &str, name: &str) -> Result<(), Refusal> {
    if owner.source == "repo" && owner != by {
        return Err(Refusal::conflict(format!("{what} `{name}` is declared in `{}`", owner.actor))
            .hint("change it there"));
    }
    Ok(())
}
