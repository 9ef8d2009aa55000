//! What rules and policies saw last. Volatile: a restarted tower evaluates again.

use std::collections::{BTreeMap, BTreeSet};

use hmsops_model::freeze::Freeze;
use hmsops_model::person::FourEyes;
use hmsops_model::release::PolicySpec;
use hmsops_model::{Labels, Millis, Now, ReleaseId, RuleName, UnixMillis};

use crate::event::{Evaluation, Event, HealModes, Outcome};
use crate::signal::alert::{ALERTS_MAX, labels_of};
use crate::state::State;

/// A policy's reading that is older than this says nothing of now: three times the usual interval.
pub const READING_STALE: Millis = Millis::from_secs(15);

/// What rules and policies saw last.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By rule.
    pub rules: BTreeMap<RuleName, RuleSeen>,
    /// By policy and release.
    pub policies: BTreeMap<(String, ReleaseId), PolicySeen>,
    /// Which verbs heal by themselves.
    pub modes: HealModes,
    /// When nothing new goes out, whatever the service.
    pub freezes: Vec<Freeze>,
    /// What takes another person's word.
    pub four_eyes: Vec<FourEyes>,
    /// Who is told of a broken glass.
    pub watchers: Vec<String>,
}

/// A rule's last evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSeen {
    /// When.
    pub at: Now,
    /// How its expression was read, when there are two ways.
    pub reading: Option<String>,
    /// The value of each alert for which it held, by its labels.
    pub values: BTreeMap<Labels, f64>,
    /// When each last held, on the steady clock.
    pub held_at: BTreeMap<Labels, Millis>,
    /// When it last had data.
    pub data_at: Option<UnixMillis>,
}

/// A policy's last reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicySeen {
    /// When.
    pub at: Now,
    /// For the canary.
    pub canary: Option<f64>,
    /// For stable.
    pub stable: Option<f64>,
    /// When the canary was last seen to be worse than it may be.
    pub over_at: Option<Now>,
}

/// Whether a policy is broken by the canary and not by stable as well.
pub(crate) fn is_over(spec: &PolicySpec, canary: Option<f64>, stable: Option<f64>) -> bool {
    canary.is_some_and(|value| spec.above.holds(value))
        && !stable.is_some_and(|value| spec.above.holds(value))
}

impl Seen {
    pub(super) fn observe(&mut self, state: &State, now: Now, event: &Event) {
        match event {
            Event::Evaluated(evaluation) => self.observe_rule(state, now, evaluation),
            Event::Judged(judgement) => {
                let (canary, stable) = (judgement.canary, judgement.stable);
                let Some(policy) = state.signals.policies.get(&judgement.policy) else { return };
                let key = (judgement.policy.clone(), judgement.release);
                let before = self.policies.get(&key).and_then(|seen| seen.over_at);
                let over_at = if is_over(&policy.spec, canary, stable) { Some(now) } else { before };
                self.policies.insert(key, PolicySeen { at: now, canary, stable, over_at });
            }
            Event::HealModes(modes) => self.modes = *modes,
            Event::Freezes(freezes) => self.freezes.clone_from(freezes),
            Event::Watchers(who) => self.watchers.clone_from(who),
            Event::FourEyes(what) => self.four_eyes.clone_from(what),
            _ => {}
        }
    }

    fn observe_rule(&mut self, state: &State, now: Now, evaluation: &Evaluation) {
        let rule = state.signals.rules.get(&evaluation.rule);
        let Some(rule) = rule.filter(|rule| rule.spec.expr == evaluation.expr) else { return };
        let seen = self.rules.entry(evaluation.rule.clone()).or_insert_with(|| RuleSeen {
            at: now,
            reading: None,
            values: BTreeMap::new(),
            held_at: BTreeMap::new(),
            data_at: None,
        });
        // What was seen before a restart is not known: from then on an alert counts as one that held until now.
        for alert in state.signals.open_alerts(&evaluation.rule) {
            if !seen.held_at.contains_key(&alert.labels) {
                seen.held_at.insert(alert.labels.clone(), now.steady);
            }
        }
        seen.at = now;
        seen.reading.clone_from(&evaluation.reading);
        seen.values.clear();
        if let Outcome::Holds(held) = &evaluation.outcome {
            seen.data_at = Some(now.wall);
            for (labels, value) in held.iter().take(ALERTS_MAX) {
                let labels = labels_of(&rule.spec, labels);
                seen.held_at.insert(labels.clone(), now.steady);
                seen.values.insert(labels, *value);
            }
        }
    }

    pub(super) fn forget(&mut self, state: &State) {
        self.rules.retain(|rule, _| state.signals.rules.contains_key(rule));
        for (rule, seen) in &mut self.rules {
            let open: BTreeSet<&Labels> =
                state.signals.open_alerts(rule).map(|alert| &alert.labels).collect();
            let values = &seen.values;
            seen.held_at.retain(|labels, _| values.contains_key(labels) || open.contains(labels));
        }
        let policies = &state.signals.policies;
        let active = |id: &ReleaseId| state.releases.get(id).is_some_and(|release| release.phase.is_active());
        self.policies.retain(|(policy, release), _| policies.contains_key(policy) && active(release));
    }
}
