//! What speaks against a release and what its traffic could not show, in figures and words.

use hmsops_control::State;
use hmsops_control::evidence::Watch;
use hmsops_control::evidence::margin::AUTO_MARGIN;
use hmsops_control::sentence::{grouped, points};
use hmsops_control::state::release::{Phase, Release};
use hmsops_control::transition::HoldReason;
use hmsops_model::Weight;

use super::Look;
use super::html::{Element, el};
use super::mark::{link, release_path, tied};

/// The 97.5 % quantile of the normal distribution: two sides make 95 %.
const Z: f64 = 1.959_963_985;

/// The share that so many bad of so many answers are compatible with: `0.1 to 1.9 %`. E. B. Wilson, *Probable
/// Inference, the Law of Succession, and Statistical Inference*, JASA 22 (1927). For reading only: no verdict comes
/// from it.
pub(super) fn interval(bad: u64, all: u64) -> String {
    if all == 0 {
        return "no data".into();
    }
    let (n, seen) = (all as f64, (bad as f64 / all as f64).min(1.0));
    let scale = 1.0 / (1.0 + Z * Z / n);
    let middle = scale * (seen + Z * Z / (2.0 * n));
    let half = scale * Z * (seen * (1.0 - seen) / n + Z * Z / (4.0 * n * n)).sqrt();
    let percent = |share: f64| format!("{:.1}", share.clamp(0.0, 1.0) * 100.0);
    format!("{} to {} %", percent(middle - half), percent(middle + half))
}

/// The evidence by test, and what the step's traffic rules out.
pub(super) fn weighed(release: &Release, watch: Option<&Watch>) -> Option<Element> {
    let watch = watch.filter(|_| release.traffic_since.is_some())?;
    let parts = watch.parts();
    let part = |name: &str, value: String| el("div").put(el("dd").put(value)).put(el("dt").put(name));
    let figures = el("dl")
        .class("parts")
        .put(part("bad answers", value(parts.errors)))
        .put(part("probes", value(parts.probes)))
        .put(part("slow answers", value(parts.slow)))
        .put(part("together", value(watch.evidence())))
        .put(part("needed", grouped(Watch::needed() as u64)));
    let lines =
        doubt(release, watch).into_iter().chain(measured(release, watch)).chain([unit(release, watch)]);
    let lines: Vec<Element> = lines.map(|line| el("p").class("muted s").put(tied(&line))).collect();
    let heading = if release.phase.is_active() { "Evidence by test" } else { "Evidence by test, in the end" };
    Some(el("section").class("card").put(el("h2").put(heading)).put(figures).put(lines))
}

/// Small e-values with a digit that counts, large ones in groups.
pub(super) fn value(evidence: f64) -> String {
    if evidence < 10.0 {
        format!("{evidence:.2}")
    } else {
        hmsops_control::sentence::evidence(evidence.clamp(0.0, 1e15) as u64)
    }
}

/// What the present step could and could not rule out.
fn doubt(release: &Release, watch: &Watch) -> Option<String> {
    let step = &watch.step;
    if step.canary.n == 0 {
        return None;
    }
    let version = &release.spec.image.tag;
    let seen = format!("{} requests at this step, {} bad", grouped(step.canary.n), grouped(step.canary.bad));
    Some(match step.rules_out_bp() {
        Some(bp) => {
            let auto = || (step.auto_margin().max(AUTO_MARGIN) * 10_000.0).round() as u32;
            let (allowed, how) =
                release.spec.margin_bp.map_or_else(|| (auto(), " (auto)"), |declared| (declared, ""));
            let from = release.from.as_ref().map_or("stable", |from| from.as_str());
            format!(
                "{seen}. They rule out that {version} has {} more errors than {from}, or worse, and nothing smaller; \
                 allowed: {}{how}. This holds at 95 %, whenever it is read.",
                points(bp),
                points(allowed)
            )
        }
        None => format!("{seen}: too few to rule anything out."),
    })
}

/// The share that the canary was asked to have, and had.
fn measured(release: &Release, watch: &Watch) -> Option<String> {
    let weight = if release.weight > Weight::NONE { release.weight } else { release.weight_max };
    let since = release.step_since.or(release.traffic_since)?;
    let measured = watch.measured(weight, since.wall)?;
    Some(format!("Share decided {weight}; {}.", measured.words()))
}

fn unit(release: &Release, watch: &Watch) -> String {
    let tally = if release.closed { &release.tally } else { &watch.tally };
    if tally.by_request {
        "Counted by request: its users have no identity, or were fewer than twenty.".into()
    } else {
        "Counted by client: one user with many failures counts once.".into()
    }
}

/// What else holds for a release, a line each.
pub(super) fn states(look: &Look<'_>, release: &Release) -> Option<Element> {
    let version = &release.spec.image.tag;
    let mut lines: Vec<Element> = Vec::new();
    let mut say = |words: String| lines.push(el("li").put(tied(&words)));
    if release.revert {
        say(format!("{version} was stable here lately: it goes back without a canary."));
    }
    if release.is_past_return() {
        say("Past its point of no return: only a person takes it back now.".into());
    } else if let Some(from) = release.spec.irreversible.filter(|_| release.phase.is_active()) {
        let from = if from == Weight::NONE { "its first traffic".to_owned() } else { from.to_string() };
        let asks = if release.committed {
            "a person has let it go there"
        } else {
            "a person has to let it go there"
        };
        say(format!("Irreversible from {from} on: {asks}."));
    }
    if let Some(why) = &release.freeze_overridden {
        say(format!("Goes on in a freeze by a person's word: {why}"));
    }
    if release.phase == Phase::Watching && release.doubt_waived {
        say("A person lets this step pass although its traffic leaves a doubt.".into());
    }
    if release.phase == Phase::Watching && release.flaps_waived {
        say("A person lets it go on although its probes flap.".into());
    }
    if let (true, Some((HoldReason::Freeze { .. } | HoldReason::Irreversible, _))) =
        (release.phase.is_active(), &release.hold)
    {
        say("It stays where it is meanwhile, is watched, and is taken back if it is bad.".into());
    }
    lines.extend(group(look, release));
    (!lines.is_empty()).then(|| el("ul").class("lead").put(lines))
}

/// The other releases that were asked for with one.
pub(super) fn fellows<'a>(
    state: &'a State,
    release: &Release,
) -> impl Iterator<Item = &'a Release> + use<'a> {
    let (id, group) = (release.id, release.group);
    state.releases.values().filter(move |other| group.is_some() && other.group == group && other.id != id)
}

/// Those it was asked for together with.
fn group(look: &Look<'_>, release: &Release) -> Option<Element> {
    let mut line = el("li").put("Goes out, and back, together with ");
    let mut any = false;
    for other in fellows(&look.view.state, release) {
        let name = format!("{} {}", other.spec.service, other.spec.image.tag);
        line = line
            .put(any.then_some(", "))
            .put(link(&release_path(other.id), &name))
            .put(format!(" ({})", other.phase.words()));
        any = true;
    }
    any.then(|| line.put("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_what_was_seen_and_stay_within_all() {
        assert_eq!(interval(0, 0), "no data");
        assert_eq!(interval(0, 100), "0.0 to 3.7 %");
        assert_eq!(interval(50, 100), "40.4 to 59.6 %");
        assert_eq!(interval(7, 5), interval(5, 5));
    }
}
