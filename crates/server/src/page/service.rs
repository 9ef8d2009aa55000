//! One service: how it does, what runs, and what was released.

use hmsops_control::headline::{Piece, ServiceSign};
use hmsops_control::sentence::{self, check_name};
use hmsops_control::state::service::{InstancePhase, InstanceState, Service};
use hmsops_model::service::Driver;
use hmsops_model::{Latencies, ServiceName};

use super::chart::spark;
use super::frame::{Follows, Frame};
use super::home::{millis, rate, seconds, share, versions};
use super::html::{Element, el};
use super::mark::{class, link, linked, shape};
use super::moment::{time, when};
use super::{Look, dash};
use super::{probes, releases};
use crate::panel::Latest;

/// A service's page, with the panels of the dashboard of its name; `None`: no such service is declared.
pub fn service(look: &Look<'_>, name: &ServiceName, panels: &[Latest]) -> Option<String> {
    let known = look.view.state.services.get(name)?;
    let outlook = look.outlook();
    let sign = outlook.service(known);
    let frame = Frame {
        look: *look,
        path: format!("/dash/{name}"),
        title: name.to_string(),
        section: "/",
        follows: Follows::One(name.to_string()),
    };
    let words = if known.retired {
        " is no longer declared.".into()
    } else {
        format!(" is {}: {}.", sign.sign.word(), sign.why)
    };
    let headline = el("h1")
        .class(class(sign.sign))
        .put(shape(sign.sign))
        .put(el("span").class("plain").put(linked(vec![Piece::Text(name.to_string()), Piece::Text(words)])));
    let traffic = el("section").class("card").put(el("h2").put("Last minute")).put(versions(look, known));
    let traffic = traffic.put(spark(&seconds(look, known, sign.sign))).put(figures(look, &sign));
    let release_of = look.view.state.releases.values().any(|release| release.spec.service == *name);
    let releases = release_of
        .then(|| el("section").put(el("h2").put("Releases")).put(releases::table(look, Some(name))));
    let two = el("div")
        .class("two")
        .put(el("div").put(traffic).put(instances(look, known)))
        .put(declared(look, known));
    let probes = probes::table(look, name);
    Some(frame.wrap((headline, ((two, probes), (dash::panels(name, panels), releases)))))
}

fn figures(look: &Look<'_>, sign: &ServiceSign<'_>) -> Element {
    let list = el("dl").class("facts");
    let Some((stable, canary, secs)) = look.outlook().figures(sign.service) else {
        return list.put(
            el("div").put(el("dd").class("missing").put("no figures")).put(el("dt").put(sign.why.as_str())),
        );
    };
    let fact = |value: String, words: &str| el("div").put(el("dd").put(value)).put(el("dt").put(words));
    let (requests, bad) = (stable.requests + canary.requests, stable.n_bad() + canary.n_bad());
    let mut latencies = Latencies::default();
    latencies.add(&stable.latencies);
    latencies.add(&canary.latencies);
    list.put(fact(rate(requests as f64 / secs as f64), &format!("requests a second, over {secs} s")))
        .put((requests > 0).then(|| fact(share(bad, requests), "of answers bad")))
        .put(latencies.quantile_ms(0.99).map(|p99| fact(millis(p99), "p99 until an answer began")))
}

fn instances(look: &Look<'_>, service: &Service) -> Element {
    let column = |name: &str| el("th").attr("scope", "col").put(name);
    let head = ["instance", "version", "role", "state", "last probe"]
        .map(column)
        .into_iter()
        .fold(el("tr"), Element::put);
    let rows = service
        .instances
        .values()
        .rev()
        .fold(el("tbody"), |body, known| body.put(instance(look, service, known)));
    let table = el("table")
        .put(el("caption").class("hidden").put("Instances, newest first"))
        .put(el("thead").put(head))
        .put(rows);
    let section = el("section").put(el("h2").put("What runs"));
    if service.instances.is_empty() {
        return section.put(el("p").class("card missing").put("Never seen: no version runs yet."));
    }
    section.put(
        el("div")
            .class("card scroll")
            .attr("tabindex", 0)
            .attr("role", "region")
            .attr("aria-label", "What runs")
            .put(table),
    )
}

fn instance(look: &Look<'_>, service: &Service, known: &InstanceState) -> Element {
    let id = known.instance.id;
    let role = if service.stable == Some(id) {
        "stable"
    } else if service.warm.is_some_and(|warm| warm.id == id) {
        "kept warm"
    } else {
        match known.role {
            hmsops_control::transition::Role::Stable => "to be stable",
            hmsops_control::transition::Role::Canary => "canary",
            hmsops_control::transition::Role::Former => "former",
        }
    };
    let state = match &known.phase {
        InstancePhase::Intended => "starting".to_owned(),
        InstancePhase::Running => match known.pid {
            Some(pid) => format!("runs, process {pid}"),
            None => "runs".to_owned(),
        },
        InstancePhase::Stopping => "stopping".to_owned(),
        InstancePhase::Ended { why } => format!("ended: {why}"),
    };
    let probe = look
        .view
        .evidence
        .instances
        .get(&id)
        .and_then(|health| health.last.as_ref())
        .filter(|_| !known.ended());
    let probe =
        probe.map(|(verdict, at)| format!("{} at {}", sentence::probe(verdict), when(at.wall, look.now)));
    el("tr")
        .put(el("th").attr("scope", "row").put(id.to_string()))
        .put(el("td").put(known.instance.version.as_str()))
        .put(el("td").put(role))
        .put(el("td").put(state))
        .put(
            el("td").put(
                probe.unwrap_or_else(|| if known.ended() { String::new() } else { "never seen".into() }),
            ),
        )
}

/// What is declared about it.
fn declared(look: &Look<'_>, service: &Service) -> Element {
    let spec = &service.spec;
    let mut pairs: Vec<(Element, Element)> = Vec::new();
    pairs.push((el("dt").put("system"), el("dd").put(link(&format!("/dash/{}", spec.system), &spec.system))));
    let mut pair = |name: &str, value: String| pairs.push((el("dt").put(name), el("dd").put(value)));
    pair("owner", spec.owner.clone().unwrap_or_else(|| "nobody is told".into()));
    match &spec.driver {
        Driver::Process { image_dir, run, .. } => {
            pair("runs as", "a process".into());
            pair("from", image_dir.clone());
            pair("command", run.join(" "));
        }
        Driver::External { .. } => pair("runs", "elsewhere; only its traffic is shifted".into()),
    }
    pair(
        "enters by",
        spec.route.as_ref().map_or_else(
            || "no gateway".into(),
            |route| format!("gateway {}, {}", route.gateway, route.host.as_deref().unwrap_or("any host")),
        ),
    );
    for check in &service.checks {
        pair("probe", format!("{}, halts at {}", check_name(&check.path), check.threshold));
    }
    let proven = service.proven.iter().rev().take(5).fold(el("ul"), |list, proven| {
        list.put(
            el("li")
                .put(proven.version.as_str())
                .put(" since ")
                .put(time(proven.since, &when(proven.since, look.now))),
        )
    });
    let proven =
        (!service.proven.is_empty()).then(|| el("h2").put("Proven versions")).map(|head| (head, proven));
    el("aside")
        .class("card")
        .put(el("h2").put("As declared"))
        .put(el("dl").class("pairs").put(pairs))
        .put(proven)
}
