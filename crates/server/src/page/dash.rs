//! A dashboard: a sentence, the alerts of its services, and its panels, which the live parts draw. Without them each
//! panel's latest values stand in a table.

use hmsops_control::headline::{STALE_AFTER, Sign};
use hmsops_control::signal::alert::Alert;
use hmsops_control::signal::sentence;
use hmsops_control::state::service::Service;
use hmsops_model::{DashName, PanelSpec, ServiceName};

use super::Look;
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{class, link, service_path, shape};
use super::moment::{time, when};
use crate::panel::Latest;

/// Alerts shown; more are counted.
const ALERTS_MAX: usize = 8;

/// The page of a dashboard or a system. A name that is neither gets a page, too: it says how to make it one.
pub fn dash(look: &Look<'_>, name: &str, panels: &[Latest]) -> String {
    let frame = Frame {
        look: *look,
        path: format!("/dash/{name}"),
        title: name.to_owned(),
        section: "/dash",
        follows: Follows::Time,
    };
    let services = of_system(look, name);
    let alerts = alerts(look, name, &services);
    let (sign, said) = headline(look, name, &alerts, panels);
    let headline = el("h1").class(class(sign)).put(shape(sign)).put(el("span").class("plain").put(said));
    let place = place(name).put(headline).put(alert_list(look, name, &alerts)).put(if panels.is_empty() {
        empty(name)
    } else {
        tables(panels)
    });
    frame.wrap((place, service_list(look, &services)))
}

/// The panels alone, for the page of the service of that name.
pub(super) fn panels(name: &ServiceName, panels: &[Latest]) -> Option<Element> {
    (!panels.is_empty()).then(|| place(name.as_str()).put(tables(panels)))
}

/// The list of dashboards.
pub fn dashes(look: &Look<'_>) -> String {
    let frame = Frame {
        look: *look,
        path: "/dash".into(),
        title: "Dashboards".into(),
        section: "/dash",
        follows: Follows::Everything,
    };
    let state = &look.view.state;
    let dashes = &state.signals.dashes;
    let systems =
        state.services.values().filter(|service| !service.retired).map(|service| &service.spec.system);
    let mut names: Vec<&str> =
        dashes.keys().map(DashName::as_str).chain(systems.map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let headline = el("h1").put(match dashes.len() {
        0 => "There is no dashboard yet.".to_owned(),
        1 => "There is one dashboard.".to_owned(),
        n => format!("There are {n} dashboards."),
    });
    let column = |name: &str| el("th").attr("scope", "col").put(name);
    let head =
        ["dashboard", "panels", "services", "alerts"].map(column).into_iter().fold(el("tr"), Element::put);
    let row = |name: &&str| {
        let panels = dashes.iter().find(|(known, _)| known.as_str() == *name);
        let services = of_system(look, name);
        let firing = alerts(look, name, &services).iter().filter(|alert| alert.is_firing()).count();
        let links = services.iter().fold(el("td"), |cell, service| {
            cell.put(link(&service_path(&service.spec.name), service.spec.name.as_str())).put(" ")
        });
        let panels = panels.map_or_else(
            || el("td").class("missing").put("none yet"),
            |(_, dash)| el("td").put(dash.spec.panels.len().to_string()),
        );
        let alerts = if firing == 0 { "none fires".to_owned() } else { format!("{firing} fire") };
        el("tr")
            .put(el("th").attr("scope", "row").put(link(&format!("/dash/{name}"), name)))
            .put(panels)
            .put(links)
            .put(el("td").put(alerts))
    };
    let table = (!names.is_empty()).then(|| {
        let rows = names.iter().fold(el("tbody"), |rows, name| rows.put(row(name)));
        let caption = el("caption").class("hidden").put("Dashboards by name");
        let table = el("table").put(caption).put(el("thead").put(head)).put(rows);
        el("div")
            .class("card scroll")
            .attr("tabindex", 0)
            .attr("role", "region")
            .attr("aria-label", "Dashboards")
            .put(table)
    });
    let first = dashes.is_empty().then(|| empty("main"));
    frame.wrap((headline, (table, first)))
}

/// Where the live parts put what they draw.
fn place(name: &str) -> Element {
    el("div").attr("id", "dash").attr("data-name", name)
}

/// The services of a system, those that are declared.
fn of_system<'a>(look: &Look<'a>, name: &str) -> Vec<&'a Service> {
    let services = look.view.state.services.values();
    services.filter(|service| service.spec.system == name && !service.retired).collect()
}

/// The alerts of a dashboard's services that go on, those that fire first.
fn alerts<'a>(look: &Look<'a>, name: &str, services: &[&Service]) -> Vec<&'a Alert> {
    let is_of = |alert: &&Alert| {
        let service = alert.service.as_ref();
        service.is_some_and(|service| {
            service.as_str() == name || services.iter().any(|known| known.spec.name == *service)
        })
    };
    let alerts = look.view.state.signals.alerts.values();
    let mut found: Vec<&Alert> = alerts.filter(|alert| alert.is_open()).filter(is_of).collect();
    found.sort_by_key(|alert| {
        (!alert.is_firing(), look.view.state.signals.is_silenced(alert), alert.since.wall)
    });
    found
}

/// The first sentence, and how urgent it is.
fn headline(look: &Look<'_>, name: &str, alerts: &[&Alert], panels: &[Latest]) -> (Sign, String) {
    let age = look.age();
    if age > STALE_AFTER {
        let said = format!("The tower was last heard {} s ago; what follows is from then.", age.0 / 1000);
        return (Sign::Unknown, said);
    }
    if let Some((worst, rest)) = alerts.split_first() {
        let more = match rest.len() {
            0 => String::new(),
            1 => " One more alert is active.".into(),
            n => format!(" {n} more alerts are active."),
        };
        return (
            alert_sign(look, worst),
            format!("{}.{more}", alert_line(look, worst).trim_end_matches('.')),
        );
    }
    if panels.is_empty() {
        return (Sign::Unknown, format!("{name} has no panels yet."));
    }
    let said = |panel: &Latest| match &panel.rows {
        Err(_) => Some("cannot be asked for: its query failed"),
        Ok(rows) if rows.is_empty() => Some("has no data now"),
        Ok(_) => None,
    };
    let mut mute = panels.iter().filter_map(|panel| Some((&panel.spec.title, said(panel)?)));
    if let Some((title, said)) = mute.next() {
        let more = match mute.count() {
            0 => String::new(),
            1 => "; one more panel is without news".into(),
            n => format!("; {n} more panels are without news"),
        };
        return (Sign::Unknown, format!("“{title}” {said}{more}."));
    }
    let fed = match panels.len() {
        1 => "its panel is fed".to_owned(),
        n => format!("all {n} panels are fed"),
    };
    (Sign::Fine, format!("Nothing fires in {name}; {fed}."))
}

fn alert_line(look: &Look<'_>, alert: &Alert) -> String {
    sentence::alert(&look.view.state, &look.view.evidence, look.view.now, alert)
}

fn alert_sign(look: &Look<'_>, alert: &Alert) -> Sign {
    // What is no person's business now is watched all the same.
    sentence::urgency(&look.view.state, alert).unwrap_or(Sign::UnderWatch)
}

fn alert_list(look: &Look<'_>, name: &str, alerts: &[&Alert]) -> Option<Element> {
    let item = |alert: &Alert| {
        let sign = alert_sign(look, alert);
        let of = alert.service.as_ref().filter(|service| service.as_str() != name);
        let of = of.map(|service| (" · ".to_owned(), link(&service_path(service), service.as_str())));
        let silenced = look.view.state.signals.is_silenced(alert).then_some(" · silenced");
        let facts = el("span")
            .class("muted s")
            .put(format!(" {} · since ", alert.words()))
            .put(time(alert.since.wall, &when(alert.since.wall, look.now)))
            .put(silenced)
            .put(of);
        let said = el("span").put(alert_line(look, alert)).put(facts);
        el("li").class(class(sign)).put(shape(sign)).put(said)
    };
    let more = alerts.len().saturating_sub(ALERTS_MAX);
    let more = (more > 0).then(|| el("li").class("muted").put(format!("and {more} more")));
    let list = alerts
        .iter()
        .take(ALERTS_MAX)
        .fold(el("ul").class("needs card"), |list, alert| list.put(item(alert)));
    (!alerts.is_empty()).then(|| el("section").put(el("h2").put("Alerts")).put(list.put(more)))
}

/// What to type when there is nothing to see; the query is an example.
fn empty(name: &str) -> Element {
    let command = format!(
        "hmsops dash add --dash {name} \\\n  --query \"sum(rate(photo.upload.ok[5m]))\" \\\n  \
         --title \"Photo Uploads / sec\" \\\n  --panel line"
    );
    el("section")
        .class("card first")
        .put(el("h2").put("Next step"))
        .put(el("p").put("Add a panel; it appears here by itself:"))
        .put(el("pre").attr("tabindex", 0).put(el("code").put(command)))
        .put(el("p").class("muted s").put("--panel is one of line, bar, stat, table, heatmap."))
}

fn tables(panels: &[Latest]) -> Element {
    let section = el("section").put(el("h2").put("Panels"));
    panels.iter().fold(section, |section, panel| section.put(table(&panel.spec, &panel.rows)))
}

fn table(spec: &PanelSpec, rows: &Result<Vec<(String, f64)>, String>) -> Element {
    let card = el("section").class("card").put(el("h3").put(spec.title.as_str()));
    let rows = match rows {
        Err(why) => return card.put(el("p").class("missing").put(why.as_str())),
        Ok(rows) if rows.is_empty() => return card.put(el("p").class("missing").put("no data now")),
        Ok(rows) => rows,
    };
    let row = |(name, value): &(String, f64)| {
        el("tr")
            .put(el("th").attr("scope", "row").put(name.as_str()))
            .put(el("td").class("num").put(shown(*value)))
    };
    let body = rows.iter().fold(el("tbody"), |body, one| body.put(row(one)));
    let caption =
        el("caption").class("hidden").put(format!("{}: the latest values of {}", spec.title, spec.query));
    card.put(el("table").put(caption).put(body))
}

/// A value with about four digits: enough to compare, few enough to read.
fn shown(value: f64) -> String {
    if !value.is_finite() {
        return "no number".into();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e9).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits = if size >= 1000.0 {
        0
    } else if size >= 1.0 {
        2
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn service_list(look: &Look<'_>, services: &[&Service]) -> Option<Element> {
    let outlook = look.outlook();
    let item = |service: &&Service| {
        let sign = outlook.service(service);
        let name = link(&service_path(&service.spec.name), service.spec.name.as_str());
        let said = el("span").put(name).put(format!(" is {}: {}.", sign.sign.word(), sign.why));
        el("li").class(class(sign.sign)).put(shape(sign.sign)).put(said)
    };
    let list = services.iter().fold(el("ul").class("needs card"), |list, service| list.put(item(service)));
    (!services.is_empty()).then(|| el("section").put(el("h2").put("Services")).put(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_enough_to_read() {
        for (value, said) in [
            (0.0, "0"),
            (0.3, "0.3"),
            (0.123_456, "0.1235"),
            (-12.5, "-12.5"),
            (123_456.7, "123457"),
            (1e12, "1.000e12"),
            (1e-7, "1.000e-7"),
            (f64::NAN, "no number"),
        ] {
            assert_eq!(shown(value), said);
        }
    }
}
