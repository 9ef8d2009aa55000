//! What the tower says, in its user's words: made from state by rules, numbers in it, most urgent first.

use hmsops_model::probe::ProbeVerdict;
use hmsops_model::{Millis, UnixMillis, Weight};

use crate::decide::View;
use crate::effect::Effect;
use crate::freeze;
use crate::headline::clock;
use crate::incident::Incident;
use crate::signal::words;
use crate::state::State;
use crate::state::release::{Phase, Release};
use crate::transition::{Detector, HoldReason, Role, Transition, Verdict};

/// Past this, more evidence is no news to a person.
const EVIDENCE_SAID_MAX: u64 = 1_000_000;

/// A check's name for sentences: its path, or what an empty path stands for.
pub fn check_name(path: &str) -> &str {
    if path.is_empty() { "its port" } else { path }
}

/// What came of a probe, for people.
pub fn probe(verdict: &ProbeVerdict) -> String {
    match verdict {
        ProbeVerdict::Pass { millis } => format!("passed in {millis} ms"),
        ProbeVerdict::Fail { reason } => reason.clone(),
        ProbeVerdict::Overloaded => "the prober was too busy to look".into(),
    }
}

/// A whole number with thin groups: `2 310`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// From the canary's first bad answer (before the shield) to its last.
pub fn bad_span(release: &Release) -> Option<Millis> {
    let first: UnixMillis = release.tally.first_bad_at?;
    release.tally.last_bad_at.map(|last| last.since(first))
}

/// From the canary's first bad answer (before the shield) until no gateway sent it anything any more; `None` when
/// it gave none before that.
pub fn taken_back_after(release: &Release) -> Option<Millis> {
    let off = release.rolled_back_at.or(release.verdict.as_ref().map(|verdict| verdict.at.wall))?;
    let first = release.tally.first_bad_at.filter(|first| *first <= off)?;
    Some(off.since(first))
}

/// The page's first sentence: `1.8.0 was taken back 1.9 s after its first bad answer.`
pub fn headline(release: &Release) -> String {
    let version = &release.spec.image.tag;
    match release.phase {
        Phase::Starting | Phase::Baking if release.hold.is_some() => {
            release.hold.as_ref().map_or_else(String::new, |(why, _)| held(release, why))
        }
        Phase::Starting => format!("{version} is starting; no user sees it yet."),
        Phase::Watching => match &release.hold {
            Some((HoldReason::Paused, _)) => format!("{version} is paused at {}.", release.weight),
            Some((HoldReason::Halted { path, fails }, _)) => {
                format!(
                    "{version} is halted at {}: {} failed {fails} probes.",
                    release.weight,
                    check_name(path)
                )
            }
            Some((HoldReason::BothFail { path }, _)) => {
                format!("{version} is held: both versions fail {}.", check_name(path))
            }
            Some((HoldReason::Policy { metric }, _)) => {
                format!("{version} is held at {}: the policy on {metric} is broken.", release.weight)
            }
            Some((HoldReason::Inconclusive { upper_bp, margin_bp }, _)) => {
                format!("{version} is held at {}: {}.", release.weight, doubt(*upper_bp, *margin_bp))
            }
            Some((HoldReason::Flapping { failed, looks }, _)) => {
                format!("{version} is held at {}: {}.", release.weight, flapping(*failed, *looks))
            }
            Some((why, _)) => held(release, why),
            None if release.step_since.is_none() => {
                format!("{version} is on its way to {} of traffic.", release.weight)
            }
            None => format!("{version} has {} of traffic and is under watch.", release.weight),
        },
        Phase::Baking => format!("{version} has all traffic; the version before it is kept warm."),
        Phase::Done => format!("{version} is out and proven."),
        Phase::Failed => format!("{version} never came up; no user saw it."),
        Phase::Superseded => format!("{version} made way for a newer release."),
        Phase::Aborted => format!("{version} was taken back by a person."),
        Phase::RolledBack if is_by(release, Detector::Group) => {
            format!("{version} was taken back with what it went out with.")
        }
        Phase::RolledBack => match taken_back_after(release) {
            Some(span) => format!("{version} was taken back {span} after its first bad answer."),
            // What a policy's metric saw need not be bad to a gateway: users may well have met it.
            None if is_by(release, Detector::Policy) => format!("{version} was taken back by a policy."),
            None => format!("{version} was taken back before it gave a bad answer."),
        },
    }
}

/// Why a release stays where it is, of the reasons that hold in any phase.
fn held(release: &Release, why: &HoldReason) -> String {
    let version = &release.spec.image.tag;
    let at = match release.weight {
        Weight::NONE => "before its first share".to_owned(),
        weight => format!("at {weight}"),
    };
    match why {
        HoldReason::Freeze { until, because } => {
            format!(
                "{version} is held {at}: nothing new goes out {}.",
                freeze::words(*until, because.as_deref())
            )
        }
        HoldReason::Irreversible => format!(
            "{version} is held {at}: there is no way back from the next step, so a person lets it go there."
        ),
        HoldReason::NoReturn { .. } => {
            format!("{version} is bad, and stays {at}: there is no way back but by a person.")
        }
        HoldReason::Capacity { detail } => format!("{version} is held {at}: {detail}."),
        _ => format!("{version} is held {at}."),
    }
}

/// What a detector has found, one sentence, of a release that is not taken back by itself.
pub(crate) fn found(view: View<'_>, release: &Release, detector: Detector, detail: &str) -> String {
    let verdict = crate::release::verdict(view, release, detector, detail.to_owned());
    let said = because(release.spec.image.tag.as_str(), &verdict);
    let mut chars = said.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn is_by(release: &Release, detector: Detector) -> bool {
    release.verdict.as_ref().is_some_and(|verdict| verdict.detector == detector)
}

/// Why a release is what it is: one sentence with evidence and need.
pub fn why(release: &Release) -> String {
    let Some(verdict) = &release.verdict else { return why_out(release) };
    let version = &release.spec.image.tag;
    let lead = match verdict.detector {
        Detector::Person => "Taken back by a person",
        Detector::Superseded => "Superseded",
        Detector::Start => "Failed to start",
        _ => "Rolled back",
    };
    format!("{lead}: {}", because(version.as_str(), verdict))
}

/// The same of a release that was not taken back.
fn why_out(release: &Release) -> String {
    let (version, id) = (&release.spec.image.tag, release.id);
    let is_out = matches!(release.phase, Phase::Baking | Phase::Done);
    match (&release.hold, release.ruled_out_bp) {
        (Some((HoldReason::NoReturn { why, .. }, _)), _) => format!(
            "{why} A person decides: deploy a fix, or take it back (`hmsops release abort {id} --reason …`)."
        ),
        (Some((HoldReason::Irreversible, _)), _) => {
            format!("{} `hmsops release promote {id} --reason …` does.", headline(release))
        }
        _ if is_out && release.revert => {
            format!("Promoted at once, without a canary: {version} was stable here lately.")
        }
        _ if is_out && release.from.is_none() => {
            "Promoted: its probes passed. It is the first version, so there was nothing to compare it with."
                .into()
        }
        (_, Some(bp)) if is_out => format!(
            "Promoted: nothing objected in {} requests. Those of its last step rule out {} more errors or worse, \
             and nothing smaller.",
            grouped(release.tally.canary_requests),
            points(bp),
        ),
        (_, None) if is_out => {
            "Promoted: nothing objected, but its last step had too little traffic to rule anything out."
                .into()
        }
        _ => headline(release),
    }
}

/// An e-value for people: past a million its digits say nothing more.
pub fn evidence(value: u64) -> String {
    if value > EVIDENCE_SAID_MAX { format!("over {}", grouped(EVIDENCE_SAID_MAX)) } else { grouped(value) }
}

fn because(version: &str, verdict: &Verdict) -> String {
    let tally = &verdict.tally;
    let evidence = || format!("Evidence {}, needed {}.", evidence(verdict.evidence), grouped(verdict.needed));
    let unit =
        if tally.by_request { "requests (too few clients are known to tell them apart)" } else { "users" };
    match verdict.detector {
        Detector::Errors => {
            let all = tally.canary_bad_clients + tally.stable_bad_clients;
            format!(
                "{} of {} failures hit {version}, which had {} of {unit}. {}",
                grouped(tally.canary_bad_clients),
                grouped(all),
                verdict.weight,
                evidence()
            )
        }
        Detector::Slow => {
            let all = tally.canary_slow_clients + tally.stable_slow_clients;
            format!(
                "{} of {} slow answers came from {version}, which had {} of {unit}. {}",
                grouped(tally.canary_slow_clients),
                grouped(all),
                verdict.weight,
                evidence()
            )
        }
        Detector::Probes => format!(
            "{} of {} probes of {version} failed while the version before it passed. {}",
            grouped(tally.probes_failed),
            grouped(tally.probes),
            evidence()
        ),
        Detector::Process => format!("the process of {version} ended: {}.", verdict.detail),
        // A person's reason may end as it likes.
        _ if verdict.detail.ends_with(['.', '!', '?', '…']) => verdict.detail.clone(),
        _ => format!("{}.", verdict.detail),
    }
}

/// What a step's traffic leaves open: `its traffic cannot rule out 1.8 points more errors, and 1 point is allowed`.
fn doubt(upper_bp: Option<u32>, margin_bp: u32) -> String {
    match upper_bp {
        Some(bp) => format!(
            "its traffic cannot rule out {} more errors, and {} allowed",
            points(bp),
            are(margin_bp, "")
        ),
        None => {
            format!("its traffic cannot rule anything out, and {} allowed", are(margin_bp, "more errors "))
        }
    }
}

/// `1 point is`, `0.4 points are`.
fn are(bp: u32, of: &str) -> String {
    format!("{} {of}{}", points(bp), if bp == 100 { "is" } else { "are" })
}

fn flapping(failed: u64, looks: u64) -> String {
    format!("its probes flap, {} of {} failed, far more than stable's", grouped(failed), grouped(looks))
}

/// Basis points as people say them: `1 point`, `0.4 points`.
pub fn points(bp: u32) -> String {
    match bp {
        100 => "1 point".into(),
        bp if bp % 100 == 0 => format!("{} points", bp / 100),
        bp if bp % 10 == 0 => format!("{}.{} points", bp / 100, bp % 100 / 10),
        bp => format!("{}.{:02} points", bp / 100, bp % 100),
    }
}

/// A ledger line in words.
pub fn line(transition: &Transition) -> String {
    match transition {
        Transition::ServiceDeclared { spec, .. } => format!("{} was declared", spec.name),
        Transition::ServiceRetired { service, .. } => format!("{service} is no longer declared"),
        Transition::InstanceIntended { instance, role, .. } => {
            let role = match role {
                Role::Stable => "stable",
                Role::Canary => "canary",
                Role::Former => "former version",
            };
            format!("{} {} shall start as {role} ({})", instance.service, instance.version, instance.id)
        }
        Transition::InstanceStarted { id, pid, .. } => match pid {
            Some(pid) => format!("{id} runs, process {pid}"),
            None => format!("{id} runs"),
        },
        Transition::InstanceFailed { id, reason, .. } => format!("{id} could not be started: {reason}"),
        Transition::InstanceReady { id, .. } => format!("{id} passes its probes for the first time"),
        Transition::InstanceExited { id, reason, .. } => format!("{id} ended unasked: {reason}"),
        Transition::InstanceStopping { id, why, .. } => format!("{id} shall stop: {why}"),
        Transition::InstanceStopped { id, .. } => format!("{id} has stopped"),
        Transition::StableSet { service, id, why, .. } => format!("{service} is stable on {id}: {why}"),
        Transition::RevertIntended { service, reason, .. } => {
            format!("{service} shall go back to an earlier version: {reason}")
        }
        Transition::HealthChanged { id, reason, healthy, .. } => {
            format!("{id} is {}: {reason}", if *healthy { "healthy" } else { "failing" })
        }
        Transition::IncidentOpened { incident, text, .. } => format!("{incident} opened: {text}"),
        Transition::IncidentResolved { incident, text, .. } => format!("{incident} resolved: {text}"),
        Transition::Refused { what, subject, why, .. } => format!("refused to {what} {subject}: {why}"),
        Transition::Signal(change) => words::line(change),
        Transition::Access(change) => change.sentence(),
        Transition::People(change) => change.sentence(),
        Transition::Transport(change) => change.sentence(),
        _ => release_line(transition),
    }
}

fn release_line(transition: &Transition) -> String {
    let because = |reason: &str| if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match transition {
        Transition::ReleaseRequested { release, spec, .. } => format!("{release} asks for {}", spec.image),
        Transition::WeightIntended { weight, step, .. } => {
            format!("the canary shall get {weight} of traffic (step {})", step + 1)
        }
        Transition::WeightApplied { weight, .. } => format!("the canary has {weight} of traffic"),
        Transition::ReleaseHeld { why, reason, .. } => match why {
            HoldReason::Paused => format!("paused{}", because(reason)),
            HoldReason::Halted { path, fails } => {
                format!("halted: {} failed {fails} probes", check_name(path))
            }
            HoldReason::BothFail { path } => format!("held: both versions fail {}", check_name(path)),
            HoldReason::Policy { metric } => format!("held: the policy on {metric} is broken"),
            HoldReason::Freeze { until, because } => {
                format!("held: nothing new goes out {}", freeze::words(*until, because.as_deref()))
            }
            HoldReason::Irreversible => "held: a person has to let it go on, for there is no way back".into(),
            HoldReason::NoReturn { why, .. } => format!("held, as there is no way back: {why}"),
            HoldReason::Capacity { detail } => format!("held: {detail}"),
            HoldReason::Inconclusive { upper_bp, margin_bp } => {
                format!("held: {}", doubt(*upper_bp, *margin_bp))
            }
            HoldReason::Flapping { failed, looks } => format!("held: {}", flapping(*failed, *looks)),
        },
        Transition::ReleaseCommitted { reason, .. } => {
            format!("a person lets it go where there is no way back{}", because(reason))
        }
        Transition::StepExtended { upper_bp, margin_bp, .. } => {
            format!("the step lasts once more as long: {}", doubt(*upper_bp, *margin_bp))
        }
        Transition::ReleaseResumed { reason, overrides_freeze: true, .. } => {
            format!("goes on in a freeze{}", because(reason))
        }
        Transition::ReleaseResumed { reason, .. } => format!("goes on{}", because(reason)),
        Transition::ReleaseTakenBack { verdict, .. } => {
            format!("taken back: {}", because_detail(verdict))
        }
        Transition::RollbackCompleted { by_gateway: true, .. } => {
            "the gateway, without its tower, took all traffic from the canary".into()
        }
        Transition::RollbackCompleted { .. } => "no gateway sends the canary anything any more".into(),
        Transition::ReleaseClosed { tally, .. } => {
            format!("the canary's last requests have ended: {} in all", grouped(tally.canary_requests))
        }
        Transition::ReleasePromoted { .. } => "the new version has all traffic".into(),
        Transition::ReleaseBaked { .. } => "the new version is proven".into(),
        Transition::VersionDenied { version, digest, .. } => match digest {
            Some(digest) => format!("{version} ({}) may not be deployed", digest.short()),
            None => format!("{version} may not be deployed"),
        },
        Transition::VersionUndenied { version, reason, .. } => {
            format!("{version} may be deployed again{}", because(reason))
        }
        _ => String::new(),
    }
}

fn because_detail(verdict: &Verdict) -> String {
    let evidence = || format!("evidence {} of {}", evidence(verdict.evidence), grouped(verdict.needed));
    match verdict.detector {
        Detector::Errors => format!("too many bad answers, {}", evidence()),
        Detector::Probes => format!("too many failed probes, {}", evidence()),
        _ => verdict.detail.clone(),
    }
}

/// What citizens are told of an incident: `Some requests to csac-portal failed from 13:41:02 to 13:41:49 UTC. They
/// work again.` `on` names the day it began on, when that is not today: `on 20 November`.
pub fn incident(incident: &Incident, on: Option<&str>) -> String {
    let day = |at: UnixMillis| at.0.div_euclid(86_400_000);
    let on = on.map(|on| format!(" {on}")).unwrap_or_default();
    let (service, since) = (&incident.service, clock(incident.since));
    match incident.until {
        Some(until) => {
            let later = match day(until) - day(incident.since) {
                0 => String::new(),
                1 => " the next day".into(),
                days => format!(" {days} days later"),
            };
            let until = clock(until);
            format!(
                "Some requests to {service} failed{on} from {since} to {until} UTC{later}. They work again."
            )
        }
        None => format!("Some requests to {service} fail since {since} UTC{on}. We see it and are acting."),
    }
}

/// The lines of a service's log that a transition is worth.
pub(crate) fn log_line(state: &State, transition: &Transition) -> Option<Effect> {
    if let Transition::Signal(change) = transition {
        return words::log_line(state, change);
    }
    let service = transition.service()?.clone();
    let release = transition.release().and_then(|id| state.releases.get(&id));
    let say = |error: bool, text: String| Some(Effect::Say { service: Some(service.clone()), error, text });
    match transition {
        Transition::ReleaseRequested { release: id, spec, .. } => {
            say(false, format!("release {service}: {id} starts {}", spec.image))
        }
        Transition::WeightApplied { weight, .. } => {
            let image = &release?.spec.image;
            say(false, format!("release {service}: {image} has {weight} of traffic"))
        }
        Transition::StepExtended { .. } => say(false, format!("release {service}: {}", line(transition))),
        Transition::ReleaseHeld { .. } => say(true, format!("release {service}: {}", why(release?))),
        Transition::ReleaseTakenBack { .. } => say(true, format!("rollback {service}: {}", why(release?))),
        Transition::RollbackCompleted { .. } => {
            let release = release?;
            let back = release.from.as_ref().map(|from| format!("{}:{from}", release.spec.image.name));
            let back = back.unwrap_or_else(|| "nothing (there was no version before)".into());
            say(false, format!("rollback {service}: Rollback to {back} completed"))
        }
        Transition::ReleaseClosed { .. } if release?.weight_max > Weight::NONE => {
            say(false, format!("rollback {service}: {}", headline(release?)))
        }
        Transition::ReleasePromoted { .. } => {
            say(false, format!("release {service}: {} has all traffic", release?.spec.image))
        }
        Transition::ReleaseBaked { .. } => {
            say(false, format!("release {service}: {} is proven", release?.spec.image))
        }
        Transition::InstanceFailed { reason, .. } | Transition::InstanceExited { reason, .. } => {
            say(true, format!("instance {service}: {reason}"))
        }
        Transition::HealthChanged { healthy, reason, id, .. } => {
            let version = state.instance(*id).map(|(_, known)| known.instance.version.to_string())?;
            say(!healthy, format!("health {service}: {version} {reason}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(2310).replace('\u{202f}', " "), "2 310");
        assert_eq!(grouped(999), "999");
        assert_eq!(points(100), "1 point");
        assert_eq!(points(40), "0.4 points");
    }
}
