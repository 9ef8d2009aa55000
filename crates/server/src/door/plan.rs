//! What a release would mean, before anything is done.

use hmsops_config::tower::NotifyConfig;
use hmsops_control::evidence::margin::planned_bp;
use hmsops_control::release::step_requests;
use hmsops_control::sentence::{grouped, points};
use hmsops_control::{Service, State, freeze, told_of};
use hmsops_model::release::{ReleaseSpec, Step};
use hmsops_model::service::Driver;
use hmsops_model::{Digest, ServiceName, UnixMillis, Weight};
use hmsops_tower::Snapshot;
use hmsops_wire::api;

use super::show;

/// A plan must not pretend that somebody will be called.
const TELLS: &str = "nobody: no notification receiver is configured";

/// The error share that a rate of stable's is taken to be at least and at most, as at promotion: with none seen
/// so far, hardly any would seem to be enough to rule something out.
const BASE: (f64, f64) = (0.001, 0.5);

/// The plan of a release that would be accepted.
pub(crate) fn plan(
    (snapshot, notify): (&Snapshot, &NotifyConfig),
    spec: &ReleaseSpec,
    digest: Option<Digest>,
    warnings: Vec<api::Mistake>,
    revert: bool,
) -> api::Plan {
    let service = snapshot.state.services.get(&spec.service);
    let from = service.and_then(|service| service.stable_version()).cloned();
    let lately = show::traffic(snapshot, &spec.service);
    let rate = lately.map(|lately| lately.requests_per_second).filter(|rate| *rate > 0.0);
    let base = lately.and_then(|lately| lately.error_share).unwrap_or(0.0).clamp(BASE.0, BASE.1);
    let step = |step: &Step| {
        let watched = step.weight != Weight::ALL;
        let requests =
            rate.filter(|_| watched).map(|rate| step_requests(step.weight, step.hold.as_secs_f64(), rate));
        let rules_out_bp = requests.and_then(|requests| planned_bp(requests, base));
        api::PlanStep { weight_bp: step.weight.bp(), hold_ms: step.hold.0, requests, rules_out_bp }
    };
    let mut plan = api::Plan {
        service: spec.service.clone(),
        from,
        version: spec.image.tag.clone(),
        digest,
        run: service.map(|service| run(&service.spec.driver, spec)).unwrap_or_default(),
        revert,
        steps: spec.steps.iter().map(step).collect(),
        bake_ms: spec.bake.0,
        requests_per_second: rate,
        tells: tells(&snapshot.state, notify, &spec.service),
        warnings,
        lines: Vec::new(),
    };
    plan.lines = lines(&plan, spec);
    if let Some(service) = service {
        plan.lines.extend(held_lines(snapshot, service, spec, revert));
    }
    plan
}

/// Who is told when it is taken back or held, and whether there is a way to them.
fn tells(state: &State, notify: &NotifyConfig, service: &ServiceName) -> String {
    let receivers = told_of(state, service);
    if receivers.is_empty() {
        return TELLS.to_owned();
    }
    let told: Vec<String> =
        receivers.iter().map(|receiver| format!("{receiver}: {}", way(notify, receiver))).collect();
    told.join(", ")
}

/// By which of the settings' ways a receiver is reached.
fn way(notify: &NotifyConfig, receiver: &str) -> &'static str {
    match receiver.contains('@') {
        true if notify.mail.is_some() => "mail yes",
        true => "mail NOT CONFIGURED",
        false if notify.webhooks.contains_key(receiver) => "webhook yes",
        false => "NOT CONFIGURED",
    }
}

/// What will hold the release, as far as that can be said now.
fn held_lines(snapshot: &Snapshot, service: &Service, spec: &ReleaseSpec, revert: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !spec.after.is_empty() {
        let before: Vec<&str> = spec.after.iter().map(ServiceName::as_str).collect();
        lines.push(format!("after  {}, at each step", before.join(", ")));
    }
    if service.stable.is_some()
        && let Some(from) = spec.irreversible
    {
        let from = if from == Weight::NONE { "the first traffic".to_owned() } else { from.to_string() };
        lines.push(format!(
            "holds  before {from}: a person lets it go there, and from then on nothing else takes it back"
        ));
    }
    if let Some(each) = service.spec.capacity_milli {
        let rate = show::traffic(snapshot, &spec.service).map(|lately| lately.requests_per_second);
        let now = rate.map(|rate| format!("; {} req/s now", rounded(rate))).unwrap_or_default();
        lines.push(format!(
            "takes  {} req/s a copy{now}: held before a share that is more than the new version takes",
            rounded(each as f64 / 1000.0)
        ));
    }
    let watched = spec.steps.iter().filter(|step| step.weight != Weight::ALL);
    let span = spec.start_timeout.0 + watched.map(|step| step.hold.0).sum::<u64>();
    let end = UnixMillis(snapshot.now.wall.0.saturating_add(span as i64));
    let freezes = || snapshot.evidence.seen.freezes.iter().chain(&service.spec.freeze);
    let ahead = freeze::at(&freezes(), snapshot.now.wall);
    let ahead = ahead.or_else(|| freeze::next(freezes(), snapshot.now.wall, end));
    if let Some(frozen) = ahead.filter(|_| !revert) {
        let words = freeze::words(frozen.until, frozen.because.as_deref());
        lines.push(format!("freeze nothing new goes out {words}: it is held until then"));
    }
    lines
}

/// The command, as far as it is known before it is started: automatic ports stay `{port}`.
fn run(driver: &Driver, spec: &ReleaseSpec) -> String {
    let tag = spec.image.tag.as_str();
    match driver {
        Driver::Process { image_dir, run, ports, .. } => {
            let dir = image_dir.replace("{tag}", tag);
            let fixed = |text: &String| match ports.get("http").copied().flatten() {
                Some(port) => text.replace("{port}", &port.to_string()),
                None => text.clone(),
            };
            let mut words: Vec<String> = run.iter().map(fixed).collect();
            if let Some(first) = words.first_mut()
                && let Some(rest) = first.strip_prefix("./")
            {
                *first = format!("{}/{rest}", dir.trim_end_matches('/'));
            }
            words.join(" ")
        }
        Driver::External { upstreams } => {
            let at = upstreams.get(&spec.image.tag).map(|at| at.join(", ")).unwrap_or_default();
            format!("elsewhere: {at}")
        }
    }
}

fn lines(plan: &api::Plan, spec: &ReleaseSpec) -> Vec<String> {
    let digest = plan.digest.as_ref().map(Digest::short).unwrap_or_default();
    let versions = match &plan.from {
        Some(from) => format!("{from} (stable) → {}", plan.version),
        None => format!("{}, the first version: there is nothing to compare it with", plan.version),
    };
    let mut lines = vec![format!("{}  {versions}  {digest}", plan.service).trim_end().to_owned()];
    lines.push(format!("run    {}", plan.run));
    let Some(from) = &plan.from else {
        lines.push("steps  100 % once its probes pass".to_owned());
        lines.push(format!("tells  {}", plan.tells));
        return lines;
    };
    if plan.revert {
        lines.push(format!(
            "steps  100 % at once: it was stable here lately; {from} stays warm {}",
            spec.bake
        ));
        lines.push("       (`--canary` sends it behind a canary all the same)".to_owned());
        lines.push(format!("tells  {}", plan.tells));
        return lines;
    }
    let steps: Vec<String> = spec
        .steps
        .iter()
        .map(|step| match step.weight {
            Weight::ALL => step.weight.to_string(),
            weight => format!("{weight} {}", step.hold),
        })
        .collect();
    lines.push(format!("steps  {}; {from} stays warm {}", steps.join(" → "), spec.bake));
    for (step, planned) in spec.steps.iter().zip(&plan.steps).filter(|(step, _)| step.weight != Weight::ALL) {
        let Some((rate, requests)) = plan.requests_per_second.zip(planned.requests) else {
            lines.push(format!("{} × {}: no traffic seen yet", step.weight, step.hold));
            continue;
        };
        let power = match planned.rules_out_bp {
            Some(bp) => format!("can rule out ≥ {} more errors, not less", points(bp)),
            None => "too few to rule anything out".to_owned(),
        };
        let requests = grouped(requests);
        lines.push(format!(
            "{} of {} req/s × {} = {requests} requests: {power}",
            step.weight,
            rounded(rate),
            step.hold
        ));
    }
    lines.push(format!("tells  {}", plan.tells));
    lines
}

/// A rate with two digits that count.
fn rounded(rate: f64) -> String {
    if rate >= 10.0 { grouped(rate.round() as u64) } else { format!("{rate:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan must not pretend that somebody will be called.
    #[test]
    fn a_receiver_without_a_way_is_said_to_have_none() {
        let text = "notify:\n  mail: {server: \"127.0.0.1:25\", from: hmsops@csac.gov, tls: none}\n  \
                    webhooks: {pager: {url: \"https://pager.csac.gov/hook\", secrets: [\"file:pager.secret\"]}}\n";
        let all = hmsops_config::parse_tower(text).value.unwrap().notify;
        let said = |notify: &NotifyConfig| ["oncall@csac.gov", "pager"].map(|receiver| way(notify, receiver));
        assert_eq!(said(&all), ["mail yes", "webhook yes"]);
        assert_eq!(said(&NotifyConfig::default()), ["mail NOT CONFIGURED", "NOT CONFIGURED"]);
        assert_eq!(way(&all, "pagerduty"), "NOT CONFIGURED");
    }
}
