//! What is asked of a service's instances, and what was seen last.

use hmsops_control::effect::{ProbeTarget, probe_targets};
use hmsops_control::headline::Sign;
use hmsops_control::sentence::{self, check_name};
use hmsops_model::ServiceName;
use hmsops_model::probe::ProbeVerdict;

use super::Look;
use super::html::{Element, el};
use super::mark::{class, shape};
use super::moment::{time, when};

/// A service's probes; `None`: nothing of it runs.
pub(super) fn table(look: &Look<'_>, service: &ServiceName) -> Option<Element> {
    let mut targets = probe_targets(&look.view.state);
    targets.retain(|target| target.service == *service);
    if targets.is_empty() {
        return None;
    }
    let column = |name: &str| el("th").attr("scope", "col").put(name);
    let head = ["check", "kind", "instance", "last look", "since", "every"]
        .map(column)
        .into_iter()
        .fold(el("tr"), Element::put);
    let rows = targets.iter().fold(el("tbody"), |body, target| body.put(row(look, target)));
    let table = el("table")
        .put(el("caption").class("hidden").put("Probes of each instance that runs"))
        .put(el("thead").put(head))
        .put(rows);
    Some(
        el("section").put(el("h2").put("Probes")).put(
            el("div")
                .class("card scroll")
                .attr("tabindex", 0)
                .attr("role", "region")
                .attr("aria-label", "Probes")
                .put(table),
        ),
    )
}

fn row(look: &Look<'_>, target: &ProbeTarget) -> Element {
    let health = look.view.evidence.instances.get(&target.instance);
    let last = health.and_then(|health| health.last_look(&target.path));
    let sign = match last.map(|last| &last.verdict) {
        Some(ProbeVerdict::Pass { .. }) => Sign::Fine,
        Some(ProbeVerdict::Fail { .. }) => Sign::Failing,
        Some(ProbeVerdict::Overloaded) | None => Sign::Unknown,
    };
    let said = last.map_or_else(|| "never seen".into(), |last| sentence::probe(&last.verdict));
    let since = last.map(|last| time(last.since.wall, &when(last.since.wall, look.now)));
    el("tr")
        .put(el("th").attr("scope", "row").put(check_name(&target.path)))
        .put(el("td").put(target.probe.ask.kind()))
        .put(el("td").put(format!("{} ({})", target.instance, target.version)))
        .put(el("td").class(class(sign)).put(shape(sign)).put(el("span").class("plain").put(said)))
        .put(el("td").put(since))
        .put(el("td").put(target.probe.every.to_string()))
}
