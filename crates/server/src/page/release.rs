//! A release: what became of it in a sentence, why, and the evidence.

use hmsops_control::evidence::{Point, Watch};
use hmsops_control::headline::{Sign, clock};
use hmsops_control::sentence::{self, grouped};
use hmsops_control::state::release::{Phase, Release};
use hmsops_ledger::Entry;
use hmsops_model::{ArmTick, Millis, ReleaseId, UnixMillis, Weight};

use super::Look;
use super::action::offered;
use super::chart::Chart;
use super::frame::{Follows, Frame};
use super::home::{millis, share};
use super::html::{Element, el};
use super::mark::{class, link, prose, release_path, service_path, shape, tied};
use super::moment::{time, when};
use super::{proof, steps};

/// Columns that a chart is thinned out to; wider than most screens need.
const COLUMNS_MAX: usize = 300;

/// The evidence chart's top: evidence and its need are drawn on a log scale from 1 to this.
const EVIDENCE_TOP: f64 = 10_000.0;

/// How a release does.
pub(super) fn sign(release: &Release) -> Sign {
    if release.is_bad_and_stays() {
        return Sign::Failing;
    }
    match release.phase {
        Phase::RolledBack | Phase::Failed => Sign::Failing,
        Phase::Starting | Phase::Watching | Phase::Baking | Phase::Aborted => Sign::UnderWatch,
        Phase::Done | Phase::Superseded => Sign::Fine,
    }
}

/// A release's page; `entries` are its ledger lines, oldest first, and `kept` is what it has shown, for a release that
/// is no longer in memory. `None`: no such release is remembered.
pub fn release(look: &Look<'_>, id: ReleaseId, entries: &[Entry], kept: Option<&Watch>) -> Option<String> {
    let known = look.view.state.releases.get(&id)?;
    let watch = look.view.evidence.releases.get(&id).map(AsRef::as_ref);
    let watch = watch.filter(|watch| !watch.points.is_empty()).or(kept).or(watch);
    let version = known.spec.image.tag.as_str();
    let frame = Frame {
        look: *look,
        path: release_path(id),
        title: format!("{} {version}", known.spec.service),
        section: "/releases",
        follows: Follows::One(id.to_string()),
    };
    let trail = el("p")
        .class("trail")
        .put(link("/releases", "Releases"))
        .put(" / ")
        .put(link(&service_path(&known.spec.service), known.spec.service.as_str()))
        .put(format!(" / {id}"));
    let mark = shape(sign(known));
    let headline = el("h1")
        .class(class(sign(known)))
        .put(mark)
        .put(el("span").class("plain").put(tied(&sentence::headline(known))));
    let why = sentence::why(known);
    let why = (why != sentence::headline(known)).then(|| el("p").class("lead").put(prose(&why)));
    // What waits for a person comes before what shows why.
    let (first, last) = match offered(known, look) {
        offered if known.hold.is_some() => (Some(offered), None),
        offered => (None, Some(offered)),
    };
    let left = el("div").put(course(look, known, watch)).put(proof::weighed(known, watch));
    let right = el("div").put(arms(look, known)).put(progress(look, known)).put(last);
    let evidence = (first, el("div").class("two").put(left).put(right));
    let ledger = el("section").put(el("h2").put("Every step, from the ledger")).put(ledger(entries));
    let states = proof::states(look, known);
    Some(frame.wrap(((trail, headline), (((why, states), facts(known, watch)), (evidence, ledger)))))
}

fn ledger(entries: &[Entry]) -> Element {
    if entries.is_empty() {
        return el("p").class("card missing").put("Its ledger lines could not be read just now.");
    }
    steps::table(entries, false, "Ledger lines of this release, newest last")
}

/// The figures that matter first.
fn facts(release: &Release, watch: Option<&Watch>) -> Element {
    let tally = watch.filter(|_| !release.closed).map_or(&release.tally, |watch| &watch.tally);
    let fact = |value: String, words: String| el("div").put(el("dd").put(value)).put(el("dt").put(words));
    let span = match (tally.first_bad_at, tally.last_bad_at) {
        (Some(first), Some(last)) => fact(last.since(first).to_string(), "first bad answer to last".into()),
        _ => fact("none".into(), "bad answers of the canary".into()),
    };
    let seen = match tally.seen {
        1 => fact("1".into(), "failure that a user saw".into()),
        n => fact(grouped(n), "failures that users saw".into()),
    };
    let from = release.from.as_ref().map_or("stable", |from| from.as_str());
    let evidence = watch.map_or_else(
        || release.verdict.as_ref().map_or(1.0, |verdict| verdict.evidence as f64),
        Watch::evidence,
    );
    let evidence = release
        .verdict
        .as_ref()
        .filter(|verdict| !verdict.by_person() || watch.is_none())
        .map_or(evidence, |verdict| verdict.evidence as f64);
    el("dl")
        .class("facts")
        .put(span)
        .put(seen)
        .put(fact(grouped(tally.shielded), format!("failures made good by {from}")))
        .put(fact(proof::value(evidence), format!("evidence, of {} needed", grouped(Watch::needed() as u64))))
        .put(fact(
            format!("1\u{a0}in\u{a0}{}", grouped(Watch::needed() as u64)),
            "chance of a false alarm, at most".into(),
        ))
}

/// The three charts.
fn course(look: &Look<'_>, release: &Release, watch: Option<&Watch>) -> Element {
    let section = el("section").class("card charts");
    let points: Vec<Point> = watch.map(|watch| watch.points.iter().copied().collect()).unwrap_or_default();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        let words = match release.phase {
            Phase::Starting => "Nothing to draw yet: no user sees this version.",
            Phase::Failed => "Nothing to draw: no user saw this version.",
            _ => {
                "Its course by the second is no longer at hand; the ledger below keeps every step and figure."
            }
        };
        return section.put(el("h2").put("Course")).put(el("p").class("missing").put(words));
    };
    let end = if release.phase == Phase::Watching { look.view.now.wall.max(last.at) } else { last.at };
    // Past a verdict there is some room, in which the weight is seen to be none.
    let room = release.verdict.as_ref().map_or(0, |_| ((end.0 - first.at.0) / 12).max(1000));
    let end = UnixMillis(end.0 + room);
    let axis = Axis { begin: first.at.0 - 1000, end: end.0 };
    let columns = thinned(&points);
    section
        .put(figure("Traffic to", release, weight_chart(&columns, &axis, release)))
        .put(figure("Bad answers, share of", release, share_chart(&columns, &axis, release)))
        .put(figure("Evidence against", release, evidence_chart(&columns, &axis, release)))
        .put(
            el("p")
                .class("axis")
                .put(time(UnixMillis(axis.begin), &clock(UnixMillis(axis.begin))))
                .put(time(end, &format!("{} UTC", clock(end)))),
        )
}

fn figure(words: &str, release: &Release, chart: Element) -> Element {
    let from = release.from.as_ref().filter(|_| words.contains("share")).map(|from| format!("{from} and "));
    let words = format!("{words} {}{}", from.unwrap_or_default(), release.spec.image.tag);
    el("figure").put(el("figcaption").put(words)).put(chart)
}

/// The span of time that a chart shows.
struct Axis {
    begin: i64,
    end: i64,
}

impl Axis {
    fn x(&self, at: UnixMillis) -> f64 {
        ((at.0 - self.begin) as f64 / (self.end - self.begin).max(1) as f64).clamp(0.0, 1.0)
    }
}

/// Several points in one, where there are more than a screen shows: counts are summed, of evidence the highest stays.
fn thinned(points: &[Point]) -> Vec<Point> {
    let group = points.len().div_ceil(COLUMNS_MAX).max(1);
    let merged = points.chunks(group).filter_map(|chunk| {
        let mut sum = *chunk.last()?;
        for point in chunk.iter().rev().skip(1) {
            sum.stable = (sum.stable.0 + point.stable.0, sum.stable.1 + point.stable.1);
            sum.canary = (sum.canary.0 + point.canary.0, sum.canary.1 + point.canary.1);
            sum.evidence = sum.evidence.max(point.evidence);
        }
        Some(sum)
    });
    merged.collect()
}

/// The time of the first to the last bad answer, and the verdict's moment.
fn marked(chart: Chart, axis: &Axis, release: &Release) -> Chart {
    let tally = &release.tally;
    let chart = match (tally.first_bad_at, tally.last_bad_at) {
        (Some(first), Some(last)) => chart.span((axis.x(first), axis.x(last)), "c-bad-span"),
        _ => chart,
    };
    match &release.verdict {
        Some(verdict) => chart.moment(axis.x(verdict.at.wall), "c-verdict"),
        None => chart,
    }
}

fn weight_chart(points: &[Point], axis: &Axis, release: &Release) -> Element {
    let top = points.iter().map(|point| point.weight).max().unwrap_or(Weight::NONE).max(release.weight_max);
    let label = format!("Share of traffic that {} had; at most {top}", release.spec.image.tag);
    let share = |weight: Weight| if top == Weight::NONE { 0.0 } else { weight.share() / top.share() };
    let mut path = Vec::new();
    let mut before = None;
    for point in points {
        let (x, y) = (axis.x(point.at), share(point.weight));
        path.extend(before.map(|before| (x, Some(before))));
        path.push((x, Some(y)));
        before = Some(y);
    }
    if let Some(verdict) = &release.verdict {
        let x = axis.x(verdict.at.wall);
        path.retain(|(at, _)| *at <= x);
        path.extend(before.map(|before| (x, Some(before))));
        path.extend([(x, Some(0.0)), (1.0, Some(0.0))]);
    }
    let chart = Chart::new(96.0, &label).level(0.0, "0 %", "grid").level(1.0, &top.to_string(), "grid");
    marked(chart, axis, release).line(&path, "canary").draw()
}

fn share_chart(points: &[Point], axis: &Axis, release: &Release) -> Element {
    let of = |(requests, bad): (u64, u64)| (requests > 0).then(|| bad as f64 / requests as f64);
    let highest =
        points.iter().flat_map(|point| [of(point.stable), of(point.canary)]).flatten().fold(0.0, f64::max);
    // A scale that people know by heart, so that a calm chart looks calm.
    let top = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0].into_iter().find(|top| highest <= *top).unwrap_or(1.0);
    let line = |arm: fn(&Point) -> (u64, u64)| -> Vec<(f64, Option<f64>)> {
        points.iter().map(|point| (axis.x(point.at), of(arm(point)).map(|share| share / top))).collect()
    };
    let (stable, canary) = (line(|point| point.stable), line(|point| point.canary));
    let last = |line: &[(f64, Option<f64>)]| line.iter().rev().find_map(|(x, y)| Some((*x, (*y)?)));
    let peak = canary.iter().filter_map(|(x, y)| Some((*x, (*y)?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let version = release.spec.image.tag.as_str();
    let from = release.from.as_ref().map_or("stable", |from| from.as_str());
    let label = format!("Share of bad answers by the second; {version} at most {:.1} %", highest * 100.0);
    let chart = Chart::new(140.0, &label).level(0.0, "0 %", "grid").level(
        1.0,
        &format!("{} %", (top * 100.0).round()),
        "grid",
    );
    let mut chart = marked(chart, axis, release).line(&stable, "stable").line(&canary, "canary");
    if let Some((x, y)) = last(&stable) {
        chart = chart.label((x, y), from, "t-stable", false);
    }
    // Its highest second is where a reader looks; where both lines are one, below it.
    if let Some((x, y)) = peak.filter(|(_, y)| *y > 0.2).or_else(|| last(&canary)) {
        chart = chart.label((x, y), version, "t-canary", y <= 0.2 || y > 0.9);
    }
    chart.draw()
}

fn evidence_chart(points: &[Point], axis: &Axis, release: &Release) -> Element {
    let scale = |value: f64| value.max(1.0).log10() / EVIDENCE_TOP.log10();
    let needed = Watch::needed();
    let line: Vec<(f64, Option<f64>)> =
        points.iter().map(|point| (axis.x(point.at), Some(scale(point.evidence)))).collect();
    // A person takes back whatever the evidence is, and a verdict has it in whole numbers.
    let value = release
        .verdict
        .as_ref()
        .filter(|verdict| !verdict.by_person())
        .map_or_else(|| points.last().map_or(1.0, |point| point.evidence), |verdict| verdict.evidence as f64);
    let value_words = proof::value(value);
    let label =
        format!("Evidence that {} is worse: {value_words}, needed {}", release.spec.image.tag, needed as u64);
    let mut chart = Chart::new(150.0, &label);
    for (value, words) in [(1.0, "1"), (10.0, "10"), (100.0, "100")] {
        chart = chart.level(scale(value), words, "grid");
    }
    chart = chart.level(scale(needed), &format!("needed {}", grouped(needed as u64)), "need");
    chart = marked(chart, axis, release).line(&line, "evidence");
    let x = release.verdict.as_ref().map_or(1.0, |verdict| axis.x(verdict.at.wall));
    chart.label((x, scale(value)), &value_words, "t-strong", scale(value) > 0.9).draw()
}

/// What both versions answered.
fn arms(look: &Look<'_>, release: &Release) -> Element {
    let service = look.view.state.services.get(&release.spec.service);
    let evidence = &look.view.evidence;
    let out = release.phase == Phase::Watching;
    let recent = evidence.services.get(&release.spec.service).filter(|_| out);
    let recent = recent.map(|traffic| traffic.sum(look.view.now, Millis::from_secs(60)));
    let tally = evidence.releases.get(&release.id).map_or(&release.tally, |watch| &watch.tally);
    let whole = |requests, bad, at: UnixMillis| ArmTick {
        requests,
        bad: [(hmsops_model::BadKind::Status, bad)].into(),
        last_bad_at: Some(at),
        ..ArmTick::default()
    };
    let (stable, canary) = recent.unwrap_or_else(|| {
        let at = release.requested_at.wall;
        (
            whole(tally.stable_requests, tally.stable_bad, at),
            whole(tally.canary_requests, tally.canary_bad, at),
        )
    });
    let from = release.from.as_ref().map_or("no version", |from| from.as_str());
    let cell = |name: &'static str, text: &str| el(name).class("r").put(text);
    let head = el("tr")
        .put(el("th").attr("scope", "col").put(if out { "last minute" } else { "whole release" }))
        .put(cell("th", from).attr("scope", "col"))
        .put(cell("th", release.spec.image.tag.as_str()).attr("scope", "col"));
    let row = |name: &str, figures: [String; 2]| {
        let [a, b] = figures.map(|text| cell("td", &text));
        el("tr").put(el("th").attr("scope", "row").put(name)).put(a).put(b)
    };
    let both = |figure: &dyn Fn(&ArmTick) -> String| [figure(&stable), figure(&canary)];
    let quantile =
        |arm: &ArmTick, q| arm.latencies.quantile_ms(q).map_or_else(|| "no data".to_owned(), millis);
    let shares =
        |arm: &ArmTick| if arm.requests > 0 { share(arm.n_bad(), arm.requests) } else { "no data".into() };
    let slow =
        |arm: &ArmTick| if arm.requests > 0 { share(arm.slow, arm.requests) } else { "no data".into() };
    let since = release.traffic_since.map_or(Millis::ZERO, |at| look.view.now.steady.since(at.steady));
    let seconds = since.as_secs_f64().clamp(1.0, 60.0);
    let rates = [(&stable, 60.0), (&canary, seconds)]
        .map(|(arm, seconds)| format!("{:.1}", arm.requests as f64 / seconds));
    let stable_id = service.and_then(|service| service.stable).filter(|id| *id != release.instance);
    let looks = stable_id
        .and_then(|id| evidence.instances.get(&id))
        .map(hmsops_control::evidence::health::Health::looks);
    let passed = |all: u64, failed: u64| {
        if all == 0 {
            "no data".into()
        } else {
            format!("{} of {}", grouped(all - failed.min(all)), grouped(all))
        }
    };
    let probes = [
        looks.map_or_else(|| "no data".into(), |(all, failed)| passed(all as u64, failed as u64)),
        passed(tally.probes, tally.probes_failed),
    ];
    let body = el("tbody")
        .put(row("requests", both(&|arm| grouped(arm.requests))))
        .put(out.then(|| row("requests/s", rates)))
        .put(row("bad answers", both(&|arm| grouped(arm.n_bad()))))
        .put(row("bad share", both(&shares)))
        .put(row("95 % interval", both(&|arm| proof::interval(arm.n_bad(), arm.requests))))
        .put(out.then(|| row("slow share", both(&slow))))
        .put(out.then(|| row("p50", both(&|arm| quantile(arm, 0.5)))))
        .put(out.then(|| row("p99", both(&|arm| quantile(arm, 0.99)))))
        .put(row("probes passed", probes));
    let caption = el("caption").class("hidden").put("What both versions answered");
    el("section")
        .class("card")
        .put(el("table").class("arms").put(caption).put(el("thead").put(head)).put(body))
}

/// The steps of a release and how far it is.
fn progress(look: &Look<'_>, release: &Release) -> Element {
    let now = look.view.now.steady;
    let done = matches!(release.phase, Phase::Baking | Phase::Done);
    let mut list = el("ol").class("plan");
    for (i, step) in release.spec.steps.iter().enumerate() {
        let words = if step.weight == Weight::ALL {
            format!(
                "{}, then {} stays warm for {}",
                step.weight,
                release.from.as_ref().map_or("nothing", |v| v.as_str()),
                release.spec.bake
            )
        } else {
            format!("{} for {}", step.weight, step.hold)
        };
        let here = release.phase == Phase::Watching && i == release.step;
        let (class, state, bar) = match (here, release.step_since, &release.verdict) {
            _ if release.phase == Phase::Baking && i + 1 == release.spec.steps.len() => {
                let left = release.bake_until.map_or(Millis::ZERO, |until| until.since(now));
                let left = Millis(left.0 / 1000 * 1000);
                ("here", format!("the version before is kept warm for another {left}"), None)
            }
            _ if done || (i < release.step && release.verdict.is_none()) => ("done", "done".into(), None),
            (_, _, Some(_)) if i < release.step => ("done", "done".into(), None),
            (_, _, Some(_)) if i == release.step && release.traffic_since.is_some() => {
                ("stopped", "taken back here".into(), None)
            }
            (_, _, Some(_)) => ("ahead", "not reached".into(), None),
            (true, Some(_), None) if release.hold.is_some() => ("here", "held".into(), None),
            (true, Some(since), None) => {
                let spent = now.since(since.steady);
                let whole = step.hold.0.saturating_mul(if release.extended { 2 } else { 1 });
                let spent = Millis(spent.0.min(whole) / 1000 * 1000);
                let bar = el("progress")
                    .attr("max", whole.max(1))
                    .attr("value", spent.0)
                    .attr("aria-label", "time spent at this step");
                let extended = if release.extended { "; inconclusive: extended once" } else { "" };
                ("here", format!("{spent} so far{extended}"), Some(bar))
            }
            (true, None, None) => ("here", "on its way".into(), None),
            _ => ("ahead", "ahead".into(), None),
        };
        let words = el("span").put(el("b").put(words)).put(" ").put(el("span").class("muted").put(state));
        list = list.put(el("li").class(class).put(words).put(bar));
    }
    let asked = format!("Asked for by {} at ", release.by.actor);
    let at = release.requested_at.wall;
    let asked = el("p").class("muted s").put(asked).put(time(at, &when(at, look.now))).put(".");
    let digest = release.digest.as_ref().map(|digest| {
        el("p").class("muted s").put("Content ").put(el("code").attr("title", digest).put(digest.short()))
    });
    el("section").class("card").put(el("h2").put("Steps")).put(list).put(asked).put(digest)
}
