//! The tower's home: a sentence, what needs a person, a tile per service, and the last hour.

use hmsops_control::headline::{Need, Outlook, ServiceSign, Sign, clock, plain};
use hmsops_control::sentence::{self, grouped};
use hmsops_control::state::release::Release;
use hmsops_control::state::service::Service;
use hmsops_model::{Latencies, Millis, UnixMillis};

use super::Look;
use super::chart::{Spark, WIDTH, spark};
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{class, link, linked, release_path, service_path, shape, worded};
use super::moment::{time, when};

/// What the time line shows.
const HOUR_MS: i64 = 3_600_000;

/// Seconds of a spark line: a minute is remembered, its last second is not over.
const SECONDS: usize = 59;

/// Needs shown; more are counted.
const NEEDS_MAX: usize = 12;

/// The tower's home.
pub fn home(look: &Look<'_>) -> String {
    let outlook = look.outlook();
    let frame = Frame {
        look: *look,
        path: "/".into(),
        title: "Tower".into(),
        section: "/",
        follows: Follows::Everything,
    };
    let signs = outlook.services();
    let headline = el("h1").put(linked(outlook.headline()));
    if signs.is_empty() {
        return frame.wrap((headline, (needs(&outlook.needs()), first_steps())));
    }
    let rest = Some(outlook.rest()).filter(|rest| {
        signs.len() > 1
            && signs.iter().any(|known| known.sign != Sign::Unknown)
            // Where all do the same, the headline has said it, with their names.
            && !signs.iter().all(|known| known.sign == Sign::Failing)
            && *rest != plain(&outlook.headline())
    });
    let rest = rest.map(|rest| el("p").class("lead muted").put(rest));
    let tiles =
        signs.iter().fold(el("ul").class("tiles"), |tiles, sign| tiles.put(tile(look, &outlook, sign)));
    let services = el("section").put(el("h2").put("Services")).put(tiles);
    frame.wrap(((headline, rest), (needs(&outlook.needs()), (services, last_hour(look, &signs)))))
}

/// What to do while nothing runs.
fn first_steps() -> Element {
    let step = |words: &str, command: &str| {
        el("li").put(el("p").put(words)).put(el("pre").attr("tabindex", 0).put(el("code").put(command)))
    };
    let steps = el("ol")
        .put(step(
            "Describe a service, and what its versions are started with:",
            "hmsops service init csac-portal",
        ))
        .put(step(
            "Or hand over one that already runs somewhere:",
            "hmsops service adopt csac-portal --upstream 127.0.0.1:8080 --version 1.7.3",
        ))
        .put(step(
            "Check what you wrote, and load it:",
            "hmsops check dev/cd && hmsops apply -f dev/cd/services.yaml",
        ))
        .put(step("Send the next version out behind a canary:", "hmsops deploy -f dev/cd/canary.yaml"));
    el("section").class("card first").put(el("h2").put("Next steps")).put(steps)
}

fn needs(needs: &[Need]) -> Option<Element> {
    if needs.is_empty() {
        return None;
    }
    let item = |need: &Need| {
        let mark = need.sign.map_or_else(|| el("span").attr("aria-hidden", "true").put("–"), shape);
        el("li").class(need.sign.map_or("muted", class)).put(mark).put(linked(need.text.clone()))
    };
    let list =
        needs.iter().take(NEEDS_MAX).fold(el("ul").class("needs card"), |list, need| list.put(item(need)));
    let more = needs.len().saturating_sub(NEEDS_MAX);
    let more = (more > 0).then(|| el("li").put(link("/alerts", &format!("and {more} more"))));
    Some(el("section").put(el("h2").put("Needs a person")).put(list.put(more)))
}

fn tile(look: &Look<'_>, outlook: &Outlook<'_>, known: &ServiceSign<'_>) -> Element {
    let service = known.service;
    let name = link(&service_path(&service.spec.name), service.spec.name.as_str()).class("whole");
    let head = el("header").put(el("h3").put(name)).put(worded(known.sign, known.sign.word()));
    let picture = spark(&seconds(look, service, known.sign));
    el("li")
        .class(format!("tile card {}", class(known.sign)))
        .put(head)
        .put(versions(look, service))
        .put(picture)
        .put(figures(outlook, known))
        .put(el("p").class("why").put(known.why.as_str()))
}

/// `1.7.3 → 1.8.0 at 1 %`.
pub(super) fn versions(look: &Look<'_>, service: &Service) -> Element {
    let line = el("p").class("versions");
    let Some(release) = look.view.state.active_release(&service.spec.name) else {
        let version = service.stable_version().map_or("no version yet", |version| version.as_str());
        return line.put(el("span").class("v-stable").put(version));
    };
    let from = release.from.as_ref().map_or("nothing", |from| from.as_str());
    let to = format!("{} at {}", release.spec.image.tag, release.weight);
    line.put(el("span").class("v-stable").put(from))
        .put(" → ")
        .put(link(&release_path(release.id), &to).class("v-canary"))
}

/// Requests a second, share of bad answers and p99 over the last 10 s.
fn figures(outlook: &Outlook<'_>, known: &ServiceSign<'_>) -> Element {
    let found = outlook.figures(known.service).filter(|_| known.sign != Sign::Unknown);
    let figure = |value: String, unit: &str| el("span").put(el("b").put(value)).put(" ").put(unit);
    let list = el("p").class("figs").attr("title", "over the last 10 s");
    let Some((stable, canary, secs)) = found else {
        return list.put(el("span").class("missing").put("no figures"));
    };
    let requests = stable.requests + canary.requests;
    let bad = stable.n_bad() + canary.n_bad();
    let mut latencies = Latencies::default();
    latencies.add(&stable.latencies);
    latencies.add(&canary.latencies);
    list.put(figure(rate(requests as f64 / secs as f64), "req/s"))
        .put((requests > 0).then(|| figure(share(bad, requests), "bad")))
        .put(latencies.quantile_ms(0.99).map(|p99| figure(millis(p99), "p99")))
}

/// `842`, `0.4`: requests a second.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 10.0 || per_second == 0.0 {
        grouped(per_second.round() as u64)
    } else {
        format!("{per_second:.1}")
    }
}

/// `0.31 %`; never `0 %` or `100 %` when it is not.
pub(super) fn share(part: u64, whole: u64) -> String {
    match 100.0 * part as f64 / whole.max(1) as f64 {
        0.0 => "0 %".into(),
        p if p < 0.01 => "< 0.01 %".into(),
        p if p < 10.0 => format!("{p:.2} %"),
        p if p < 99.95 => format!("{p:.1} %"),
        _ if part < whole => "> 99.9 %".into(),
        _ => "100 %".into(),
    }
}

/// `4.2 ms`, `61 ms`, `1.2 s`.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// The last whole seconds of a service, as many as are remembered; what was not heard is missing, not zero.
pub(super) fn seconds(look: &Look<'_>, service: &Service, sign: Sign) -> Vec<Spark> {
    let now = look.view.now;
    let current = now.steady.0 / 1000;
    let traffic = look.view.evidence.services.get(&service.spec.name);
    let mut seconds: Vec<Spark> = vec![None; SECONDS];
    let mut first = None;
    for second in traffic.into_iter().flat_map(|traffic| traffic.last(now, Millis::from_secs(60))) {
        let back = current.saturating_sub(second.second) as usize;
        if let Some(slot) = SECONDS.checked_sub(back).and_then(|at| seconds.get_mut(at)) {
            let requests = second.stable.requests + second.canary.requests;
            *slot = Some((requests, second.stable.n_bad() + second.canary.n_bad()));
            first = first.or(SECONDS.checked_sub(back));
        }
    }
    // A gateway that is heard and counts nothing had nothing to count.
    if sign != Sign::Unknown {
        let heard = seconds.iter_mut().skip(first.unwrap_or(SECONDS));
        heard.for_each(|second| *second = Some(second.unwrap_or((0, 0))));
    }
    seconds
}

/// The last hour: a lane per service with what was released and when users were affected.
fn last_hour(look: &Look<'_>, signs: &[ServiceSign<'_>]) -> Element {
    let lanes: Vec<Element> = signs.iter().filter_map(|known| lane(look, known.service)).collect();
    let section = el("section").put(el("h2").put("The last hour"));
    if lanes.is_empty() {
        return section.put(el("p").class("card muted").put("No release and no incident in the last hour."));
    }
    let end = look.now.0;
    let axis =
        [4, 3, 2, 1].iter().fold(el("p").class("axis").attr("aria-hidden", "true"), |axis, quarters| {
            let at = clock(UnixMillis(end - quarters * HOUR_MS / 4));
            axis.put(el("span").put(at.get(..5).unwrap_or_default()))
        });
    section.put(el("div").class("card lanes").put(lanes).put(axis.put(el("span").put("now, UTC"))))
}

fn lane(look: &Look<'_>, service: &Service) -> Option<Element> {
    let state = &look.view.state;
    let (begin, end) = (look.now.0 - HOUR_MS, look.now.0);
    let of = |release: &&Release| {
        let over = release.ended_at.map_or(end, |at| at.wall.0);
        release.spec.service == service.spec.name && over >= begin
    };
    let releases: Vec<&Release> = state.releases.values().filter(of).collect();
    let incidents = state.incidents.values().filter(|incident| {
        incident.service == service.spec.name && incident.until.map_or(end, |until| until.0) >= begin
    });
    let place = |at: i64| ((at.clamp(begin, end) - begin) as f64 / HOUR_MS as f64 * WIDTH).round();
    let bar = |class: &str, (from, to): (i64, i64), (y, height): (u32, u32), title: String| {
        el("rect")
            .class(class)
            .attr("x", place(from))
            .attr("y", y)
            .attr("width", (place(to) - place(from)).max(3.0))
            .attr("height", height)
            .put(el("title").put(title))
    };
    let mut picture = el("svg")
        .class("track")
        .attr("viewBox", format!("0 0 {WIDTH} 28"))
        .attr("preserveAspectRatio", "none");
    let mut said = el("ul");
    let mut n = 0;
    for release in &releases {
        n += 1;
        let span = (release.requested_at.wall.0, release.ended_at.map_or(end, |at| at.wall.0));
        let verdict = release.verdict.as_ref().map(|verdict| {
            let at = verdict.at.wall.0;
            bar("l-bad", (at, at), (2, 24), sentence::why(release))
        });
        picture = picture.put(bar("l-canary", span, (9, 10), sentence::headline(release))).put(verdict);
        let at = release.ended_at.map_or(release.requested_at.wall, |at| at.wall);
        let line = sentence::headline(release);
        said = said.put(
            el("li")
                .put(link(&release_path(release.id), line.trim_end_matches('.')))
                .put(", ")
                .put(time(at, &when(at, look.now))),
        );
    }
    for incident in incidents {
        n += 1;
        let span = (incident.since.0, incident.until.map_or(end, |until| until.0));
        picture = picture.put(bar("l-incident", span, (22, 5), sentence::incident(incident, None)));
        said = said.put(el("li").put(sentence::incident(incident, None)));
    }
    let name = link(&service_path(&service.spec.name), service.spec.name.as_str());
    let picture =
        picture.attr("role", "img").attr("aria-label", format!("{n} events in the last hour, named below"));
    (n > 0).then(|| el("div").class("lane").put(el("h3").put(name)).put(picture).put(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_to_what_it_is_not() {
        let cases = [(0, 10, "0 %"), (1, 1_000_000, "< 0.01 %"), (31, 10_000, "0.31 %"), (1, 3, "33.3 %")];
        for (part, whole, said) in cases {
            assert_eq!(share(part, whole), said);
        }
        assert_eq!((share(99_999, 100_000), share(7, 7)), ("> 99.9 %".into(), "100 %".into()));
        assert_eq!(
            (millis(4.21), millis(61.3), millis(1234.0)),
            ("4.2 ms".into(), "61 ms".into(), "1.2 s".into())
        );
    }
}
