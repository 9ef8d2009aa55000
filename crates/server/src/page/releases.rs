//! All releases that are remembered, newest first.

use hmsops_control::evidence::Watch;
use hmsops_control::sentence::{self, grouped};
use hmsops_control::state::release::Release;
use hmsops_model::ServiceName;

use super::Look;
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{link, linked, prose, release_path, service_path, worded};
use super::moment::{time, when};
use super::release::sign;

/// Releases of a list.
const ROWS_MAX: usize = 200;

/// The list of releases, newest first.
pub fn releases(look: &Look<'_>) -> String {
    let frame = Frame {
        look: *look,
        path: "/releases".into(),
        title: "Releases".into(),
        section: "/releases",
        follows: Follows::Everything,
    };
    let all = look.view.state.releases.values();
    let out: Vec<&Release> = all.clone().filter(|release| release.phase.is_active()).collect();
    let headline = match (out.as_slice(), all.clone().next_back()) {
        ([one], _) => el("h1").put(linked(hmsops_control::headline::release_line(one))),
        ([], None) => el("h1").put("Nothing was released yet."),
        ([], Some(last)) => el("h1")
            .put("Nothing is out. The last: ")
            .put(linked(hmsops_control::headline::release_line(last))),
        (many, _) => el("h1").put(format!("{} releases are out.", many.len())),
    };
    let empty = all.len() == 0;
    let table = (!empty).then(|| table(look, None));
    let hint = empty.then(|| {
        el("div")
            .class("card")
            .put(el("p").put("Send a version out:"))
            .put(el("pre").put(el("code").put("hmsops deploy -f dev/cd/canary.yaml")))
    });
    frame.wrap((headline, (table, hint)))
}

/// Releases as a table, newest first; of one service or all.
pub(super) fn table(look: &Look<'_>, of: Option<&ServiceName>) -> Element {
    let column = |name: &str| el("th").attr("scope", "col").put(name);
    let head = el("tr")
        .put(column("release"))
        .put(of.is_none().then(|| column("service")))
        .put(column("versions"))
        .put(column("state"))
        .put(column("why"))
        .put(column("bad, first to last").class("r"))
        .put(column("began"));
    let rows = look
        .view
        .state
        .releases
        .values()
        .rev()
        .filter(|release| of.is_none_or(|of| *of == release.spec.service));
    let body =
        rows.take(ROWS_MAX).fold(el("tbody"), |body, release| body.put(row(look, release, of.is_none())));
    let caption = el("caption").class("hidden").put("Releases, newest first");
    let table = el("table").class("releases").put(caption).put(el("thead").put(head)).put(body);
    el("div")
        .class("card scroll")
        .attr("tabindex", 0)
        .attr("role", "region")
        .attr("aria-label", "Releases")
        .put(table)
}

fn row(look: &Look<'_>, release: &Release, with_service: bool) -> Element {
    let service = &release.spec.service;
    let from = release.from.as_ref().map_or("nothing", |from| from.as_str());
    let watch = look.view.evidence.releases.get(&release.id);
    let why = match (&release.verdict, watch) {
        (None, Some(watch)) if release.phase.is_active() && release.traffic_since.is_some() => {
            let evidence = grouped(watch.evidence().clamp(0.0, 1e15) as u64);
            format!(
                "{} Evidence {evidence}, needed {}.",
                sentence::headline(release),
                grouped(Watch::needed() as u64)
            )
        }
        _ => sentence::why(release),
    };
    let bad = sentence::bad_span(release).map_or_else(|| "none".to_owned(), |span| span.to_string());
    let at = release.requested_at.wall;
    el("tr")
        .put(
            el("th")
                .attr("scope", "row")
                .put(link(&release_path(release.id), &release.id.to_string()).class("tall")),
        )
        .put(with_service.then(|| el("td").put(link(&service_path(service), service.as_str()).class("tall"))))
        .put(
            el("td")
                .class("nowrap")
                .put(el("span").class("v-stable").put(from))
                .put(" → ")
                .put(el("span").class("v-canary").put(release.spec.image.tag.as_str())),
        )
        .put(el("td").class("nowrap").put(worded(sign(release), release.phase.words())))
        .put(el("td").class("prose").put(prose(&why)))
        .put(el("td").class("r").attr("data-label", "bad answers, first to last:").put(bad))
        .put(el("td").class("nowrap").attr("data-label", "began").put(time(at, &when(at, look.now))))
}
