//! What heals: when a heal begins, what its end means, and when a person has to take over.

use hmsops_model::{AlertId, HealAction, HealId, Millis, OnNoData, ServiceName, TicketId};

use super::View;
use crate::event::{HealReport, Refusal, Who};
use crate::signal::alert::{Alert, Handling};
use crate::signal::heal::{HEAL_BUDGET, HEAL_BUDGET_SPAN, HEAL_CHECK_LIMIT, Heal, HealPhase};
use crate::signal::ticket::TAKE_OVER;
use crate::signal::{Rule, RuleHealth, Signal};
use crate::state::service::InstancePhase;
use crate::transition::Transition;

/// With no data, a heal has helped when its service has answered its probes for so long since.
const PROBED_FOR: Millis = Millis::from_secs(30);

/// The longest text of a ticket, in bytes, well below a ledger line.
const TEXT_BYTES_MAX: usize = 8 << 10;

impl View<'_> {
    /// The next heal that is due, if one is.
    pub(super) fn review_heals(self) -> Vec<Transition> {
        let judged = self.state.signals.heals.values().filter_map(|heal| self.judge(heal));
        let due = self.state.signals.alerts.values().filter_map(|alert| self.heal_due(alert));
        let relapsed = self.state.signals.alerts.values().filter_map(|alert| self.relapsed(alert));
        judged.chain(due).chain(relapsed).next().unwrap_or_default()
    }

    fn heal_due(self, alert: &Alert) -> Option<Vec<Transition>> {
        let signals = &self.state.signals;
        let is_held = alert.acked.is_some() || signals.heals_paused.is_some();
        if !alert.is_firing() || alert.handling != Handling::Open || alert.release.is_some() || is_held {
            return None;
        }
        let rule = signals.rules.get(&alert.rule)?;
        let action = rule.spec.heal.as_ref()?;
        let service = action.service();
        // A person outranks the machine; and one heal at a time is enough to know what helped.
        if signals.is_heal_silenced(alert)
            || signals.ticket_of(service).is_some()
            || signals.heal_of(service).is_some()
        {
            return None;
        }
        if let Some(why) = self.cannot_heal(rule, action) {
            let text = format!("{}: {action} was not run: {why}", alert.rule);
            return Some(vec![self.ticket(service, Some(alert.id), None, &text)]);
        }
        Some(vec![self.heal(rule, Some(alert.id), action, &Who::tower())])
    }

    /// A heal that seemed to help, and an alert that fires on all the same: a person takes over.
    fn relapsed(self, alert: &Alert) -> Option<Vec<Transition>> {
        let Handling::Healed { heal: id } = alert.handling else { return None };
        let heal = self.state.signals.heals.get(&id)?;
        let seen = self.evidence.seen.rules.get(&alert.rule)?;
        let since = self.now.steady.since(heal.ended_at?.steady);
        let holds = seen.values.contains_key(&alert.labels);
        if !alert.is_firing() || !holds || since < HEAL_CHECK_LIMIT {
            return None;
        }
        let text = format!("{}: {} seemed to help ({}), but it still fires", alert.rule, heal.action, id);
        Some(vec![self.ticket(heal.action.service(), Some(alert.id), Some(id), &text)])
    }

    /// Why an action is left to a person, if it is.
    pub(super) fn cannot_heal(self, rule: &Rule, action: &HealAction) -> Option<String> {
        let service = action.service();
        if self.state.services.get(service).is_none_or(|known| known.retired) {
            return Some(format!("there is no service `{service}`"));
        }
        let modes = self.evidence.seen.modes;
        let is_auto = match action {
            HealAction::Rollback { .. } => modes.rollback,
            HealAction::Restart { .. } => modes.restart,
        };
        if !is_auto {
            return Some("the settings leave it to a person (`heal:`)".into());
        }
        let lately = self.state.signals.heals.values().filter(|heal| {
            heal.rule == rule.spec.name && self.now.steady.since(heal.intended_at.steady) < HEAL_BUDGET_SPAN
        });
        (lately.count() >= HEAL_BUDGET)
            .then(|| format!("it ran {HEAL_BUDGET} times in {HEAL_BUDGET_SPAN} and did not help for long"))
    }

    pub(super) fn heal(
        self,
        rule: &Rule,
        alert: Option<AlertId>,
        action: &HealAction,
        by: &Who,
    ) -> Transition {
        let heal = HealId(self.state.signals.last.heal + 1);
        let (rule, action, by) = (rule.spec.name.clone(), action.clone(), by.clone());
        Signal::HealIntended { heal, rule, alert, action, by }.into()
    }

    /// A heal's script has ended.
    pub(super) fn heal_ran(self, id: HealId, report: &HealReport) -> Vec<Transition> {
        let known = self.state.signals.heals.get(&id);
        let Some(heal) = known.filter(|heal| heal.phase == HealPhase::Running && heal.exit.is_none()) else {
            return Vec::new();
        };
        let service = heal.action.service().clone();
        let (success, exit, output) = (report.success, report.exit.clone(), clip(&report.output));
        let ran = Signal::HealRan { heal: id, service, success, exit: exit.clone(), output: output.clone() };
        let mut transitions = vec![ran.into()];
        if !success {
            transitions.extend(self.failed(heal, &exit, &output));
        }
        transitions
    }

    fn failed(self, heal: &Heal, why: &str, output: &str) -> [Transition; 2] {
        let service = heal.action.service();
        let judged = Signal::HealJudged {
            heal: heal.id,
            service: service.clone(),
            healed: false,
            why: why.to_owned(),
        };
        let printed =
            if output.is_empty() { "it printed nothing".into() } else { format!("it printed:\n{output}") };
        let text = format!("{}: {} {why}; {printed}", heal.rule, heal.action);
        [judged.into(), self.ticket(service, heal.alert, Some(heal.id), &text)]
    }

    fn ticket(
        self,
        service: &ServiceName,
        alert: Option<AlertId>,
        heal: Option<HealId>,
        text: &str,
    ) -> Transition {
        let ticket = TicketId(self.state.signals.last.ticket + 1);
        let title = format!("{TAKE_OVER}: {service}");
        let (service, text) = (service.clone(), clip(text));
        Signal::TicketOpened { ticket, service, alert, heal, title, text }.into()
    }

    /// Whether a heal whose script has succeeded has helped.
    fn judge(self, heal: &Heal) -> Option<Vec<Transition>> {
        if let (HealPhase::Running, Some(exit)) = (heal.phase, &heal.exit) {
            // Its line about the verdict was lost: without one it would be sent again.
            return Some(self.failed(heal, exit, &heal.output).into());
        }
        if heal.phase != HealPhase::Checking {
            return None;
        }
        let ran_until = heal.ran_until?;
        let since = self.now.steady.since(ran_until.steady);
        let judged = |healed: bool, why: String| {
            let (heal, service) = (heal.id, heal.action.service().clone());
            Transition::from(Signal::HealJudged { heal, service, healed, why })
        };
        let alert = heal.alert.and_then(|id| self.state.signals.alerts.get(&id));
        let Some(alert) = alert.filter(|alert| alert.is_open()) else {
            let why = match heal.alert {
                Some(_) => format!("{} ended {since} after it", heal.rule),
                None => "it did what it was asked to".into(),
            };
            return Some(vec![judged(true, why)]);
        };
        if self.is_blind(alert)
            && since >= PROBED_FOR
            && self.probes_pass(heal.action.service(), ran_until.steady)
        {
            return Some(vec![judged(
                true,
                "its service answers its probes; its metric has had no data since".into(),
            )]);
        }
        (since >= HEAL_CHECK_LIMIT).then(|| {
            self.failed(heal, &format!("{} still fires {since} after it", heal.rule), &heal.output).into()
        })
    }

    fn is_blind(self, alert: &Alert) -> bool {
        let rule = self.state.signals.rules.get(&alert.rule);
        rule.is_some_and(|rule| rule.health == RuleHealth::NoData && rule.spec.on_nodata == OnNoData::Keep)
    }

    fn probes_pass(self, service: &ServiceName, since: Millis) -> bool {
        let Some(known) = self.state.services.get(service) else { return false };
        let Some(stable) = known.stable_instance() else { return false };
        let healthy = stable.phase == InstancePhase::Running && stable.healthy == Some(true);
        let changed = stable.healthy_since.map_or(Millis::ZERO, |at| at.steady);
        healthy
            && self.passes(&known.checks, stable.instance.id, 1)
            && self.now.steady.since(changed.max(since)) >= PROBED_FOR
    }

    /// The heal that a person asks for.
    pub(super) fn heal_by_person(self, rule: &Rule, by: &Who) -> Result<Vec<Transition>, Refusal> {
        let name = &rule.spec.name;
        let Some(action) = &rule.spec.heal else {
            return Err(Refusal::conflict(format!("`{name}` has nothing to heal with"))
                .hint("give it `on_fire: rollback SERVICE --to=prev`"));
        };
        let service = action.service();
        if let Some(paused) = &self.state.signals.heals_paused {
            return Err(Refusal::conflict(format!("healing is paused: {}", paused.reason))
                .hint("`hmsops heal resume` lets it go on"));
        }
        if let Some(heal) = self.state.signals.heal_of(service) {
            return Err(Refusal::conflict(format!("{} is under way for `{service}`", heal.id)));
        }
        if self.state.services.get(service).is_none_or(|known| known.retired) {
            return Err(Refusal::not_found(format!("there is no service `{service}`")));
        }
        let alert = self.state.signals.open_alerts(name).find(|alert| alert.is_firing());
        Ok(vec![self.heal(rule, alert.map(|alert| alert.id), action, by)])
    }
}

/// The end of a text, at most so many bytes.
fn clip(text: &str) -> String {
    let mut start = text.len().saturating_sub(TEXT_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}
