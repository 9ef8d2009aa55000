//! The public status page: for citizens, in plain words, without a script. No host, version, path or error text.

use base64::Engine as _;
use hmsops_control::headline::clock;
use hmsops_control::incident::{Incident, OPEN_HEADING, RESOLVED_HEADING};
use hmsops_control::sentence;
use hmsops_control::state::service::Service;
use hmsops_model::Millis;
use sha2::{Digest as _, Sha256};

use super::Look;
use super::chart::heard;
use super::frame::{document, refresh, sheet};
use super::history::{DAYS, Day, Public, availability, days, first_seen, per_cent, recent, shown};
use super::html::{Element, Render, StyleSheet, el};
use super::mark::{class, link, worded};
use super::moment::{DAY_MS, day, long_day, short_day, time, when};
use super::style::CSS;
use hmsops_model::UnixMillis;

/// A resolved incident is the news for so long.
const NEWS_MS: i64 = DAY_MS;

/// Seconds between two renewals.
const REFRESH: u32 = 30;

/// Incidents told of under the heading.
const NEWS_MAX: usize = 5;

/// Incidents of the history.
const HISTORY_MAX: usize = 100;

/// What a citizen reads first, and the mark of it.
pub(super) fn heading(look: &Look<'_>, services: &[(&Service, Public)]) -> (String, Public) {
    let worst = services.iter().map(|(_, public)| *public).min();
    let news = news(look);
    let unknown = services.iter().filter(|(_, public)| matches!(public, Public::Unknown(_))).count();
    match worst {
        Some(Public::Failing) => (OPEN_HEADING.into(), Public::Failing),
        None => ("No services yet".into(), Public::Unknown(None)),
        _ if news.iter().any(|incident| incident.until.is_none()) => (OPEN_HEADING.into(), Public::Failing),
        _ if !news.is_empty() => (RESOLVED_HEADING.into(), Public::Working),
        Some(Public::Working) => ("All services work".into(), Public::Working),
        Some(known) if unknown == services.len() => ("We have no data at the moment".into(), known),
        Some(known) => (format!("No data from {unknown} of {} services", services.len()), known),
    }
}

/// Incidents that go on, or were resolved less than a day ago; newest first.
fn news<'a>(look: &Look<'a>) -> Vec<&'a Incident> {
    let fresh = |incident: &&Incident| incident.until.is_none_or(|until| look.now.0 - until.0 < NEWS_MS);
    recent(look).into_iter().filter(fresh).collect()
}

/// The status page as the tower serves it.
pub fn status(look: &Look<'_>) -> String {
    page(look, sheet())
}

/// The status page as a file that works alone, for another host to serve. It brings its own policy, since that host may
/// send none: nothing but this style sheet, named by its hash (CSP 3, section 6.6.2), is ever used.
pub fn status_static(look: &Look<'_>) -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(CSS));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'none'; base-uri 'none'"
    );
    let policy = el("meta").attr("http-equiv", "content-security-policy").attr("content", policy);
    let referrer = el("meta").attr("name", "referrer").attr("content", "no-referrer");
    page(look, ((policy, referrer), el("style").put(StyleSheet(CSS))))
}

fn page(look: &Look<'_>, style: impl Render) -> String {
    let services = shown(look);
    let (heading, public) = heading(look, &services);
    let feed = el("link")
        .attr("rel", "alternate")
        .attr("type", "application/atom+xml")
        .attr("title", "Incidents")
        .attr("href", "/status/feed.atom");
    let say = el("header")
        .class(format!("say {}", class(public.sign())))
        .put(el("h1").put(heading.clone()))
        .put(sentences(look, &services));
    let rows = services
        .iter()
        .fold(el("ul").class("public"), |rows, (service, public)| rows.put(row(look, service, *public)));
    let services =
        (!services.is_empty()).then(|| el("section").put(el("h2").put("Services, last 90 days")).put(rows));
    let main = el("main")
        .attr("id", "main")
        .class("narrow")
        .put(say)
        .put(services)
        .put(history(look))
        .put(foot(look));
    document(&heading, ((style, refresh(REFRESH)), feed), el("body").class("public").put(main))
}

/// What happened, in plain words.
fn sentences(look: &Look<'_>, services: &[(&Service, Public)]) -> Vec<Element> {
    let told = news(look);
    let mut said: Vec<Element> = told
        .iter()
        .take(NEWS_MAX)
        .map(|incident| {
            let on =
                (day(incident.since) != day(look.now)).then(|| format!("on {}", short_day(incident.since)));
            el("p").put(sentence::incident(incident, on.as_deref()))
        })
        .collect();
    for (service, public) in services {
        let name = &service.spec.name;
        match public {
            Public::Failing if service.incident.is_none() => {
                said.push(el("p").put(format!("Some requests to {name} fail.")));
            }
            Public::Unknown(_) => {
                said.push(el("p").put(format!("We have no data from {name} at the moment.")));
            }
            _ => {}
        }
    }
    let more = told.len().saturating_sub(NEWS_MAX);
    if more > 0 {
        said.push(el("p").put(format!("{more} more stand in the history below.")));
    }
    said
}

fn row(look: &Look<'_>, service: &Service, public: Public) -> Element {
    let words = match public {
        Public::Working => "Works".to_owned(),
        Public::Failing => "Some requests fail".to_owned(),
        Public::Unknown(Some(at)) => format!("No data since {}", when(at, look.now)),
        Public::Unknown(None) => "No data: never seen".to_owned(),
    };
    let head = el("header").put(el("h3").put(service.spec.name.as_str())).put(worded(public.sign(), &words));
    let state = &look.view.state;
    let mut days = days(state, service, look.now);
    // A day of which the present is not known is not a good one.
    if let (Public::Unknown(_), Some(today @ Day::Good)) = (public, days.last_mut()) {
        *today = Day::Unknown;
    }
    let measured = match availability(state, service, look.now) {
        None => "nothing measured yet".to_owned(),
        Some((_, span)) if span < DAY_MS => "measured for less than a day".to_owned(),
        Some((value, span)) => {
            let of = Millis((span - span % DAY_MS).max(0) as u64);
            format!("{} of {of} without incident, measured", per_cent(value))
        }
    };
    let ends = el("p")
        .class("ends")
        .put(el("span").put("90 days ago"))
        .put(el("span").put(measured))
        .put(el("span").put("today"));
    el("li").put(head).put(bars(look, service, &days)).put(ends)
}

/// One bar a day; what the bars show stands in the picture's name.
fn bars(look: &Look<'_>, service: &Service, days: &[Day]) -> Element {
    let number = |back: usize| UnixMillis((day(look.now) - (DAYS - 1) + back as i64) * DAY_MS);
    let mut picture =
        el("svg").class("days").attr("viewBox", format!("0 0 {DAYS} 30")).attr("preserveAspectRatio", "none");
    let mut told = Vec::new();
    // What is not drawn over stays hatched: days of which nothing is known.
    let known: Vec<bool> = days.iter().map(|day| *day != Day::Unknown).collect();
    picture = picture.put(heard(&known, 30.0));
    for (at, known) in days.iter().enumerate() {
        let name = short_day(number(at));
        let (class, top, words) = match known {
            Day::Unknown => ("d-unknown", 0, format!("{name}: no data")),
            Day::Good => ("d-ok", 8, format!("{name}: no incident")),
            Day::Incident(spent) => {
                let spent = Millis((*spent).max(0) as u64 / 1000 * 1000);
                told.push(format!("{name} ({spent})"));
                ("d-bad", 0, format!("{name}: incidents, {spent} in all"))
            }
        };
        let bar = el("rect")
            .class(class)
            .attr("x", at)
            .attr("y", top)
            .attr("width", "0.72")
            .attr("height", 30 - top);
        picture = picture.put(bar.put(el("title").put(words)));
    }
    let since = first_seen(&look.view.state, service).map_or_else(
        || "nothing is known yet".to_owned(),
        |at| format!("known since {}", short_day(at.max(number(0)))),
    );
    let incidents = if told.is_empty() {
        "no day with incidents".to_owned()
    } else {
        format!("incidents on {}", told.join(", "))
    };
    let label = format!("Last 90 days of {}: {incidents}; {since}", service.spec.name);
    picture.attr("role", "img").attr("aria-label", label)
}

fn history(look: &Look<'_>) -> Element {
    let incidents = recent(look);
    let section = el("section").put(el("h2").put("History"));
    if incidents.is_empty() {
        return section.put(el("p").class("muted").put("No incident is known of the last 90 days."));
    }
    let mut list = Vec::new();
    let mut last = None;
    for incident in incidents.iter().take(HISTORY_MAX) {
        if last.replace(day(incident.since)) != Some(day(incident.since)) {
            list.push(el("h3").put(long_day(incident.since)));
        }
        list.push(told(incident));
    }
    section.put(list)
}

fn told(incident: &Incident) -> Element {
    let length = incident.until.map_or_else(
        || "goes on".to_owned(),
        |until| Millis(until.since(incident.since).0.max(1000) / 1000 * 1000).to_string(),
    );
    let updates = incident.updates.iter().rev().fold(el("ul"), |list, (at, text)| {
        list.put(el("li").put(time(*at, &clock(*at))).put(" ").put(text.as_str()))
    });
    let head = el("h4").put(incident.heading()).put(": ").put(incident.service.as_str());
    el("article").attr("id", incident.id).put(head).put(el("p").class("muted s").put(length)).put(updates)
}

fn foot(look: &Look<'_>) -> Element {
    let made = look.view.now.wall;
    let words = format!("{} UTC", clock(made));
    el("footer")
        .put(
            el("span")
                .put("As of ")
                .put(time(made, &words))
                .put(format!(", {}. All times are UTC.", long_day(made))),
        )
        .put(link("/status/feed.atom", "Atom feed"))
}
