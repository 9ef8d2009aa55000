//! Rules and their alerts: what an evaluation changes, and what time changes.

use std::collections::BTreeMap;

use hmsops_model::release::{PolicyAction, PolicySpec};
use hmsops_model::{AlertId, HealAction, Labels, Millis, ReleaseId, RuleSpec, ServiceName};

use super::View;
use super::notice::{WHY_BYTES_MAX, clip};
use crate::event::{Evaluation, Judgement, Outcome, Who};
use crate::evidence::seen::{READING_STALE, is_over};
use crate::signal::alert::{ALERTS_MAX, Alert, Annotations, bounded, labels_of};
use crate::signal::{Policy, Rule, RuleHealth, Signal, policy_key, policy_rule};
use crate::state::release::{Phase, Release};
use crate::transition::{Detector, HoldReason, Transition};

/// Between two lines about a rule's error when only its words change.
const ERROR_EVERY: Millis = Millis::from_mins(1);

/// Labels of one alert, in bytes: with every character escaped they still fit a ledger line.
const LABELS_BYTES_MAX: usize = 8 << 10;

/// The label that tells a service's own policy from everyone's of the same metric.
const POLICY_LABEL: &str = "policy";

/// A value as people and the ledger read it: at most six significant digits.
pub fn value_text(value: f64) -> String {
    if value.is_nan() || value.is_infinite() || value == 0.0 {
        return value.to_string();
    }
    let digits = (5 - value.abs().log10().floor() as i32).clamp(0, 17);
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl<'a> View<'a> {
    /// Rules of one author, all there are of them.
    pub(super) fn declare_rules(self, rules: &[(RuleSpec, Vec<String>)], by: &Who) -> Vec<Transition> {
        let known = &self.state.signals.rules;
        let changed = rules.iter().filter(|(spec, _)| {
            known.get(&spec.name).is_none_or(|known| known.spec != *spec || known.by != *by)
        });
        let declared = changed.map(|(spec, readings)| {
            let (rule, readings, by) = (Box::new(spec.clone()), readings.clone(), by.clone());
            Signal::RuleDeclared { rule, readings, by }.into()
        });
        let gone = known
            .values()
            .filter(|known| known.by == *by && !rules.iter().any(|(spec, _)| spec.name == known.spec.name));
        let retired = gone.flat_map(|gone| self.retire_rule(gone, by, "no longer in its file"));
        declared.chain(retired).collect()
    }

    /// Policies of one author, all there are of them.
    pub(super) fn declare_policies(self, policies: &[PolicySpec], by: &Who) -> Vec<Transition> {
        let known = &self.state.signals.policies;
        let changed = policies
            .iter()
            .map(|spec| (policy_key(spec), spec))
            .filter(|(key, spec)| known.get(key).is_none_or(|known| known.spec != **spec || known.by != *by));
        let declared = changed.map(|(key, spec)| {
            let (policy, by) = (Box::new(spec.clone()), by.clone());
            Signal::PolicyDeclared { key, policy, by }.into()
        });
        let gone = known
            .iter()
            .filter(|(key, known)| known.by == *by && !policies.iter().any(|spec| policy_key(spec) == **key));
        let retired = gone.map(|(key, _)| Signal::PolicyRetired { key: key.clone(), by: by.clone() }.into());
        declared.chain(retired).collect()
    }

    /// A rule ends, and its alerts with it.
    pub(super) fn retire_rule(self, rule: &Rule, by: &Who, reason: &str) -> Vec<Transition> {
        let name = &rule.spec.name;
        let ends =
            self.state.signals.open_alerts(name).map(|alert| end(alert, "its rule is no longer declared"));
        let (rule, by, reason) = (name.clone(), by.clone(), reason.to_owned());
        // First: while the ledger fails, alerts of a rule that stays must not end.
        [Signal::RuleRetired { rule, by, reason }.into()].into_iter().chain(ends).collect()
    }

    /// What an evaluation changes.
    pub(super) fn evaluated(self, evaluation: &Evaluation) -> Vec<Transition> {
        let rule = self.state.signals.rules.get(&evaluation.rule);
        let Some(rule) = rule.filter(|rule| rule.spec.expr == evaluation.expr) else { return Vec::new() };
        let (health, mut transitions) = match &evaluation.outcome {
            Outcome::Holds(held) if held.len() > ALERTS_MAX => {
                let why = format!("it holds for {} series; a rule may have {ALERTS_MAX} alerts", held.len());
                (RuleHealth::Error { why }, Vec::new())
            }
            Outcome::Holds(held) if held.iter().any(|(labels, _)| is_too_long(&rule.spec, labels)) => {
                let why = format!("it holds for a series with more than {LABELS_BYTES_MAX} bytes of labels");
                (RuleHealth::Error { why }, Vec::new())
            }
            Outcome::Holds(held) => (RuleHealth::Known, self.held(rule, held, &evaluation.texts)),
            Outcome::NoData => (RuleHealth::NoData, self.no_data(rule)),
            Outcome::Failed(why) => (RuleHealth::Error { why: clip(why, WHY_BYTES_MAX) }, Vec::new()),
        };
        if self.is_news(rule, &health) {
            let rule = rule.spec.name.clone();
            transitions.insert(0, Signal::RuleHealthChanged { rule, health }.into());
        }
        transitions
    }

    /// Whether a rule's health has changed. An error whose words change all the time does so once a minute.
    fn is_news(self, rule: &Rule, health: &RuleHealth) -> bool {
        let both_fail =
            matches!((&rule.health, health), (RuleHealth::Error { .. }, RuleHealth::Error { .. }));
        let lately = rule.health_since.is_some_and(|at| self.now.steady.since(at.steady) < ERROR_EVERY);
        rule.health != *health && !(both_fail && lately)
    }

    fn held(
        self,
        rule: &Rule,
        held: &[(Labels, f64)],
        texts: &BTreeMap<Labels, Annotations>,
    ) -> Vec<Transition> {
        // Series that differ only in what the rule's own labels replace are one alert.
        let mut values = BTreeMap::new();
        for (labels, value) in held {
            values.entry(labels_of(&rule.spec, labels)).or_insert((*value, texts.get(labels)));
        }
        let open: BTreeMap<&Labels, &Alert> =
            self.state.signals.open_alerts(&rule.spec.name).map(|alert| (&alert.labels, alert)).collect();
        let mut transitions = Vec::new();
        let mut number = self.state.signals.last.alert;
        for (labels, (value, texts)) in &values {
            if let Some(alert) = open.get(labels) {
                transitions.extend(self.fire_if_due(rule, alert, value_text(*value), *texts));
            } else {
                number += 1;
                transitions.extend(begin(rule, AlertId(number), labels, value_text(*value), *texts));
            }
        }
        let over = open.values().filter(|alert| !values.contains_key(&alert.labels));
        transitions.extend(over.filter_map(|alert| self.end_unless_kept(rule, alert)));
        transitions
    }

    fn no_data(self, rule: &Rule) -> Vec<Transition> {
        use hmsops_model::OnNoData::{Alert, Keep, Ok};
        let open: Vec<_> = self.state.signals.open_alerts(&rule.spec.name).collect();
        match rule.spec.on_nodata {
            Ok => open.into_iter().filter_map(|alert| self.end_unless_kept(rule, alert)).collect(),
            Alert if open.is_empty() => {
                let id = AlertId(self.state.signals.last.alert + 1);
                begin(rule, id, &labels_of(&rule.spec, &Labels::empty()), "no data".into(), None)
            }
            // The last known condition goes on, its time included.
            Keep | Alert => self.fire_what_is_due(rule, &open),
        }
    }

    fn fire_what_is_due(self, rule: &Rule, open: &[&Alert]) -> Vec<Transition> {
        open.iter().filter_map(|alert| self.fire_if_due(rule, alert, alert.value.clone(), None)).collect()
    }

    fn fire_if_due(
        self,
        rule: &Rule,
        alert: &Alert,
        value: String,
        texts: Option<&Annotations>,
    ) -> Option<Transition> {
        let held = self.now.steady.since(alert.since.steady);
        (alert.fired_at.is_none() && held >= rule.spec.hold).then(|| fire(alert, value, texts))
    }

    /// Ends an alert, unless it goes on firing for a while.
    fn end_unless_kept(self, rule: &Rule, alert: &Alert) -> Option<Transition> {
        let seen = self.evidence.seen.rules.get(&rule.spec.name);
        let held_at = seen.and_then(|seen| seen.held_at.get(&alert.labels)).copied();
        let since = self.now.steady.since(held_at.unwrap_or(alert.since.steady));
        let kept = alert.is_firing() && since < rule.spec.keep_firing_for;
        (!kept).then(|| end(alert, "its expression no longer holds"))
    }

    /// What a policy's reading changes. The retreat itself is found by [`policy_condemns`](Self::policy_condemns),
    /// which waits for nobody.
    pub(super) fn judged(self, judgement: &Judgement) -> Vec<Transition> {
        let Some(policy) = self.state.signals.policies.get(&judgement.policy) else { return Vec::new() };
        let release = self.state.releases.get(&judgement.release);
        let Some(release) = release.filter(|release| release.phase == Phase::Watching) else {
            return Vec::new();
        };
        let Some(rule) = policy_rule(&policy.spec) else { return Vec::new() };
        let open = self.policy_alert(&policy.spec, release.id);
        let is_over = is_over(&policy.spec, judgement.canary, judgement.stable);
        let value = judgement.canary.map_or_else(|| "unknown".into(), value_text);
        match (open, is_over) {
            (None, true) => {
                let service = release.spec.service.clone();
                let version = release.spec.image.tag.as_str();
                let labels = [("service", service.as_str()), ("version", version)].into_iter();
                let own = policy.spec.service.is_some().then_some((POLICY_LABEL, judgement.policy.as_str()));
                let labels = Labels::new(labels.chain(own));
                let alert = AlertId(self.state.signals.last.alert + 1);
                let (service, release) = (Some(service), Some(release.id));
                let annotations = Annotations::new();
                vec![
                    Signal::AlertPending { alert, rule, service, labels, release, value, annotations }.into(),
                ]
            }
            (Some(alert), true) if alert.fired_at.is_none() => {
                let held = self.now.steady.since(alert.since.steady) >= policy.spec.hold;
                if held { policy_fires(policy, release, alert, value) } else { Vec::new() }
            }
            // What is not known of the canary is no recovery.
            (Some(alert), false) if judgement.canary.is_some() => {
                vec![end(alert, "the canary is no worse than it may be")]
            }
            _ => Vec::new(),
        }
    }

    /// Each policy has its own alert, also where a service's and everyone's are about the same metric.
    fn policy_alert(self, spec: &PolicySpec, release: ReleaseId) -> Option<&'a Alert> {
        let mut alerts = self.state.signals.alerts.values();
        alerts.find(|alert| alert.is_open() && alert.release == Some(release) && is_alert_of(spec, alert))
    }

    /// The policy that a release's alert is of.
    pub(super) fn policy_of(self, alert: &Alert, service: &ServiceName) -> Option<&'a Policy> {
        let holds = |policy: &&Policy| {
            policy.spec.service.as_ref().is_none_or(|of| of == service) && is_alert_of(&policy.spec, alert)
        };
        self.state.signals.policies.values().find(holds)
    }

    /// Whether a policy that may still act has begun to be broken: a release does not go further meanwhile. What is
    /// not known for longer than the policy's time is no objection.
    pub(super) fn policy_objects(self, release: &Release) -> bool {
        self.state.signals.policies_of(&release.spec.service).any(|(key, policy)| {
            let spec = &policy.spec;
            let pending = self.policy_alert(spec, release.id).filter(|alert| alert.fired_at.is_none());
            let Some(alert) = pending.filter(|_| spec.action != PolicyAction::Notify) else { return false };
            let seen = self.evidence.seen.policies.get(&(key.clone(), release.id));
            let over_at = seen.and_then(|seen| seen.over_at).unwrap_or(alert.since);
            self.now.steady.since(over_at.steady) <= spec.hold.max(READING_STALE)
        })
    }

    /// The policy that says a release has to go back, with its numbers in words.
    pub(super) fn policy_condemns(self, release: &Release) -> Option<String> {
        self.state.signals.policies_of(&release.spec.service).find_map(|(key, policy)| {
            let spec = &policy.spec;
            let seen = self.evidence.seen.policies.get(&(key.clone(), release.id))?;
            let fresh = self.now.steady.since(seen.at.steady) <= READING_STALE;
            let alert = self.policy_alert(spec, release.id)?;
            let held = self.now.steady.since(alert.since.steady) >= spec.hold;
            let acts = spec.action == PolicyAction::Rollback;
            (acts && fresh && held && is_over(spec, seen.canary, seen.stable))
                .then(|| policy_words(policy, seen.canary, seen.stable))
        })
    }

    /// A policy's alert outlives its release's end only as far as its lines.
    pub(super) fn review_policy_alerts(self) -> Vec<Transition> {
        let mut open = self.state.signals.alerts.values().filter(|alert| alert.is_open());
        open.find_map(|alert| {
            let release = self.state.releases.get(&alert.release?);
            let watched = release.filter(|release| release.phase == Phase::Watching);
            if let Some(watched) = watched {
                let is_known = self.policy_of(alert, &watched.spec.service).is_some();
                return (!is_known).then(|| vec![end(alert, "its policy is no longer declared")]);
            }
            let verdict = release.and_then(|release| release.verdict.as_ref());
            let by_policy = verdict.is_some_and(|verdict| verdict.detector == Detector::Policy);
            let fired =
                (by_policy && alert.fired_at.is_none()).then(|| fire(alert, alert.value.clone(), None));
            let ended =
                end(alert, if by_policy { "its release was taken back" } else { "its release has ended" });
            Some(fired.into_iter().chain([ended]).collect::<Vec<_>>())
        })
        .unwrap_or_default()
    }

    /// Silences whose time is over.
    pub(super) fn review_silences(self) -> Vec<Transition> {
        let running = self.state.signals.silences.values().filter(|silence| silence.ended.is_none());
        let over = running.filter(|silence| silence.is_over(self.now));
        over.map(|silence| {
            let (silence, rule, why) = (silence.id, silence.rule.clone(), "its time is over".into());
            Signal::SilenceEnded { silence, rule, by: Who::tower(), why }.into()
        })
        .collect()
    }
}

fn is_too_long(rule: &RuleSpec, series: &Labels) -> bool {
    let labels = labels_of(rule, series);
    labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > LABELS_BYTES_MAX
}

fn is_alert_of(spec: &PolicySpec, alert: &Alert) -> bool {
    let own = spec.service.is_some().then(|| policy_key(spec));
    policy_rule(spec).is_some_and(|rule| rule == alert.rule)
        && alert.labels.get(POLICY_LABEL) == own.as_deref()
}

fn policy_words(policy: &Policy, canary: Option<f64>, stable: Option<f64>) -> String {
    let text = |value: Option<f64>| value.map_or_else(|| "unknown".into(), value_text);
    let spec = &policy.spec;
    let (canary, stable, hold) = (text(canary), text(stable), spec.hold);
    format!("{} was {canary} for {hold}, on stable {stable}", spec.metric)
}

fn begin(
    rule: &Rule,
    alert: AlertId,
    labels: &Labels,
    value: String,
    texts: Option<&Annotations>,
) -> Vec<Transition> {
    let (name, service) = (rule.spec.name.clone(), service_of(&rule.spec, labels));
    let pending = Signal::AlertPending {
        alert,
        rule: name.clone(),
        service: service.clone(),
        labels: labels.clone(),
        release: None,
        value: value.clone(),
        annotations: bounded(texts),
    };
    let fires = rule.spec.hold == Millis::ZERO;
    let annotations = Annotations::new();
    let fired = fires.then_some(Signal::AlertFired { alert, rule: name, service, value, annotations });
    [pending].into_iter().chain(fired).map(Transition::from).collect()
}

/// A policy's alert fires; one that holds its release holds it then, and not again after a person has
/// resumed it.
fn policy_fires(policy: &Policy, release: &Release, alert: &Alert, value: String) -> Vec<Transition> {
    let mut transitions = vec![fire(alert, value, None)];
    if policy.spec.action == PolicyAction::Hold && release.hold.is_none() {
        transitions.push(Transition::ReleaseHeld {
            release: release.id,
            service: release.spec.service.clone(),
            why: HoldReason::Policy { metric: policy.spec.metric.clone() },
            by: Who::tower(),
            reason: String::new(),
        });
    }
    transitions
}

fn fire(alert: &Alert, value: String, texts: Option<&Annotations>) -> Transition {
    let annotations = Some(bounded(texts)).filter(|texts| *texts != alert.annotations).unwrap_or_default();
    let (id, rule, service) = (alert.id, alert.rule.clone(), alert.service.clone());
    Signal::AlertFired { alert: id, rule, service, value, annotations }.into()
}

fn end(alert: &Alert, why: &str) -> Transition {
    let (id, rule, service) = (alert.id, alert.rule.clone(), alert.service.clone());
    let fired = alert.fired_at.is_some();
    Signal::AlertEnded { alert: id, rule, service, fired, why: why.to_owned() }.into()
}

/// Whose alert it is: as declared, else what its heal acts on, else as its series say.
fn service_of(rule: &RuleSpec, labels: &Labels) -> Option<ServiceName> {
    let declared = rule.service.clone().or_else(|| rule.heal.as_ref().map(HealAction::service).cloned());
    declared.or_else(|| labels.get("service").and_then(|name| ServiceName::new(name).ok()))
}

#[cfg(test)]
mod tests {
    use super::value_text;

    #[test]
    fn values_read_well() {
        for (value, text) in [
            (0.7, "0.7"),
            (2.0 / 3.0, "0.666667"),
            (9000.0, "9000"),
            (123_456_789.0, "123456789"),
            (0.0, "0"),
        ] {
            assert_eq!(value_text(value), text);
        }
    }
}
