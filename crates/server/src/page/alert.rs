//! One alert: what it says, what was done about it, and its course from the ledger.

use hmsops_control::signal::alert::{Alert, Handling};
use hmsops_control::signal::heal::Heal;
use hmsops_ledger::Entry;
use hmsops_model::{AlertId, Millis};

use super::Look;
use super::alerts::{deeds, facts, heal_sign, readings, sentence, sign};
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{class, link, shape, ticket_path, tied, worded};
use super::moment::{time, when};
use super::steps;

/// An alert's page; `None`: no such alert is remembered. `entries` are its lines of the ledger, oldest first.
pub fn alert(look: &Look<'_>, id: AlertId, entries: &[Entry]) -> Option<String> {
    let known = look.view.state.signals.alerts.get(&id)?;
    let frame = Frame {
        look: *look,
        path: format!("/alerts/{id}"),
        title: known.rule.to_string(),
        section: "/alerts",
        follows: Follows::Everything,
    };
    let trail = el("p").class("trail").put(link("/alerts", "Alerts")).put(format!(" / {id}"));
    let words = el("span").class("plain").put(tied(&format!("{}.", sentence(look, known))));
    let headline = el("h1").class(class(sign(known))).put(shape(sign(known))).put(words);
    let state = el("p").class("lead").put(worded(sign(known), &known.words()));
    let two = el("div")
        .class("two")
        .put(el("div").put(done(look, known)).put(labels(known)))
        .put(el("aside").put(rule(look, known)));
    let course = match entries {
        [] => el("p").class("card missing").put("Its ledger lines could not be read just now."),
        entries => steps::table(entries, false, "Ledger lines of this alert, newest last"),
    };
    let course = el("section").put(el("h2").put("Its course, from the ledger")).put(course);
    Some(frame.wrap(((trail, headline), ((state, (facts(look, known), deeds(look, known))), (two, course)))))
}

/// What was tried, and what it printed.
fn done(look: &Look<'_>, alert: &Alert) -> Element {
    let signals = &look.view.state.signals;
    let heals = signals.heals.values().rev().filter(|heal| heal.alert == Some(alert.id));
    let heals: Vec<Element> = heals.map(|known| heal(look, known)).collect();
    let card = el("section").class("card").put(el("h2").put("What was done"));
    let none = heals.is_empty().then(|| match (alert.is_open(), signals.rules.get(&alert.rule)) {
        (true, Some(rule)) if rule.spec.heal.is_none() => {
            "Nothing heals it by itself: it is left to a person."
        }
        _ => "Nothing.",
    });
    let ticket = match alert.handling {
        Handling::TakeOver { ticket } => Some(
            el("p").put("A person has to take over: ").put(link(&ticket_path(ticket), &ticket.to_string())),
        ),
        _ => None,
    };
    card.put(none.map(|none| el("p").put(none))).put(heals).put(ticket)
}

/// One heal with its output.
pub(super) fn heal(look: &Look<'_>, heal: &Heal) -> Element {
    let at = heal.intended_at.wall;
    let head = el("header")
        .put(el("h3").put(el("code").put(heal.action.to_string())))
        .put(worded(heal_sign(heal), heal.phase.words()));
    let mut why = [heal.exit.as_deref(), heal.why.as_deref()].into_iter().flatten().collect::<Vec<_>>();
    why.dedup();
    let mut line = el("p").class("s").put(format!("{} began ", heal.id)).put(time(at, &when(at, look.now)));
    for why in why {
        line = line.put("; ").put(tied(why));
    }
    let output = match (heal.output.is_empty(), heal.exit.is_some()) {
        (true, true) => el("p").class("muted s").put("It printed nothing."),
        (true, false) => el("p").class("muted s").put("It has not ended yet."),
        _ => el("pre").attr("tabindex", 0).put(el("code").put(heal.output.as_str())),
    };
    el("div").class("heal").put(head).put(line.put(".")).put(output)
}

fn labels(alert: &Alert) -> Option<Element> {
    let pairs = alert.labels.iter().fold(el("dl").class("pairs"), |list, (name, value)| {
        list.put(el("dt").put(name)).put(el("dd").put(value))
    });
    let any = alert.labels.iter().next().is_some();
    any.then(|| el("section").class("card").put(el("h2").put("Labels")).put(pairs))
}

fn rule(look: &Look<'_>, alert: &Alert) -> Element {
    let card = el("section").class("card").put(el("h2").put("Its rule"));
    let Some(rule) = look.view.state.signals.rules.get(&alert.rule) else {
        let words = match alert.release {
            Some(release) => format!("A release policy, which judges {release}."),
            None => "It is no longer declared.".to_owned(),
        };
        return card.put(el("p").put(words));
    };
    let spec = &rule.spec;
    let pair = |name: &str, value: String| (el("dt").put(name), el("dd").put(value));
    let mut pairs = el("dl").class("pairs");
    if spec.hold > Millis::ZERO {
        pairs = pairs.put(pair("holds for", spec.hold.to_string()));
    }
    let heals = spec.heal.as_ref().map_or_else(|| "a person".into(), ToString::to_string);
    let tells = if spec.notify.is_empty() { "its service's owner".into() } else { spec.notify.join(", ") };
    pairs = pairs.put(pair("heals by", heals)).put(pair("tells", tells));
    pairs = pairs.put(pair("looks every", spec.interval.to_string()));
    pairs = pairs.put(pair("declared by", rule.by.actor.clone()));
    for (name, value) in alert.annotations(spec).iter().filter(|(name, _)| !name.starts_with("hmsops_")) {
        pairs = pairs.put(pair(name, value.clone()));
    }
    let expr = el("pre").attr("tabindex", 0).put(el("code").put(spec.expr.as_str()));
    card.put(expr).put(readings(look, rule)).put(pairs)
}
