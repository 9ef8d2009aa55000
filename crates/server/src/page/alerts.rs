//! What fires, what watches, and what heals: alerts by need, then rules, silences and heals.

use hmsops_control::headline::{Piece, Sign};
use hmsops_control::sentence::grouped;
use hmsops_control::signal::alert::{Alert, Handling, rule_words};
use hmsops_control::signal::heal::{Heal, HealPhase};
use hmsops_control::signal::notice::{Notice, NoticeEnd};
use hmsops_control::signal::{Rule, RuleHealth, sentence as said};
use hmsops_model::Millis;

use super::Look;
use super::deed::{Deed, button};
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{alert_path, link, linked, service_path, ticket_path, tied, worded};
use super::moment::{time, when};

/// Alerts of the list.
const ALERTS_MAX: usize = 200;

/// Rules of the table.
const RULES_MAX: usize = 500;

/// Alerts and heals of the past.
const PAST_MAX: usize = 20;

/// The page of alerts.
pub fn alerts(look: &Look<'_>) -> String {
    let signals = &look.view.state.signals;
    let frame = Frame {
        look: *look,
        path: "/alerts".into(),
        title: "Alerts".into(),
        section: "/alerts",
        follows: Follows::Everything,
    };
    let mut open: Vec<&Alert> = signals.alerts.values().filter(|alert| alert.is_open()).collect();
    open.sort_by_key(|alert| (order(look, alert), std::cmp::Reverse(alert.id)));
    let blind: Vec<&Rule> = signals
        .rules
        .values()
        .filter(|rule| rule_words(rule).is_some() && signals.open_alerts(&rule.spec.name).next().is_none())
        .collect();
    let head = (el("h1").put(linked(headline(look, &open, blind.len()))), others(look));
    if signals.rules.is_empty() && signals.alerts.is_empty() {
        return frame.wrap((head, first_steps()));
    }
    let items = open.iter().take(ALERTS_MAX).map(|alert| item(look, alert));
    let items: Vec<Element> = items.chain(blind.iter().map(|rule| blind_item(look, rule))).collect();
    let more = open.len().saturating_sub(ALERTS_MAX);
    let more = (more > 0).then(|| el("p").put(format!("and {} more", grouped(more as u64))));
    let now = (!items.is_empty()).then(|| {
        el("section").put(el("h2").put("Now, by need")).put(el("ul").class("alerts").put(items)).put(more)
    });
    frame.wrap(((head, (paused(look), now)), ((rules(look), silences(look)), (heals(look), past(look)))))
}

/// The first sentence: the most urgent thing, or that there is none.
fn headline(look: &Look<'_>, open: &[&Alert], blind: usize) -> Vec<Piece> {
    let signals = &look.view.state.signals;
    let text = |text: String| vec![Piece::Text(text)];
    let sees = match (blind, signals.rules.len()) {
        (0, 1) => "1 rule watches".to_owned(),
        (0, all) => format!("{} rules watch", grouped(all as u64)),
        (blind, all) => format!("{} of {} rules cannot see", grouped(blind as u64), grouped(all as u64)),
    };
    let firing: Vec<&&Alert> = open.iter().filter(|alert| alert.is_firing()).collect();
    match firing.as_slice() {
        [] if signals.rules.is_empty() => text("No alert rule is declared yet.".into()),
        [] if blind > 0 => text(format!("Nothing fires, but {sees}.")),
        [] => text(format!("Nothing fires; {sees}.")),
        [one] => {
            let name = Piece::Alert(one.id, one.rule.to_string());
            vec![name, Piece::Text(format!("{}.", rest(look, one)))]
        }
        [first, ..] => {
            let name = Piece::Alert(first.id, first.rule.to_string());
            vec![Piece::Text(format!("{} alerts fire. First: ", firing.len())), name]
                .into_iter()
                .chain([Piece::Text(format!("{}.", rest(look, first)))])
                .collect()
        }
    }
}

/// An alert's sentence without its name.
fn rest(look: &Look<'_>, alert: &Alert) -> String {
    let sentence = sentence(look, alert);
    sentence.strip_prefix(alert.rule.as_str()).unwrap_or(&sentence).to_owned()
}

/// An alert as one would say it.
pub(super) fn sentence(look: &Look<'_>, alert: &Alert) -> String {
    said::alert(&look.view.state, &look.view.evidence, look.view.now, alert)
}

/// Tickets and notices, which have pages of their own.
pub(super) fn others(look: &Look<'_>) -> Element {
    let signals = &look.view.state.signals;
    let tickets = signals.tickets.values().filter(|ticket| ticket.closed.is_none()).count();
    let waiting = signals.waiting_notices().count();
    let dead = |notice: &&Notice| matches!(notice.ended, Some(NoticeEnd::Dead { .. }));
    let dead = match signals.notices.values().filter(dead).count() {
        0 => String::new(),
        n => format!(", {} given up", grouped(n as u64)),
    };
    let entry = |path: &str, words: String| link(path, &words).class("tall");
    let tickets = entry("/tickets", format!("Tickets: {} open", grouped(tickets as u64)));
    let notices = entry("/notices", format!("Notices: {} waiting{dead}", grouped(waiting as u64)));
    el("p").class("others").put(tickets).put(notices)
}

/// What to do while there is no rule.
fn first_steps() -> Element {
    let step = |words: &str, command: &str| {
        el("li").put(el("p").put(words)).put(el("pre").attr("tabindex", 0).put(el("code").put(command)))
    };
    let steps = el("ol")
        .put(step(
            "Declare a rule, and what heals when it fires:",
            "hmsops alert create photo_error_spike --expr 'rate(photo.upload.ok[1m]) < 0.7' --for 60s --on-fire 'rollback dmv-photo --to=prev'",
        ))
        .put(step("Or keep rules in a file, which then owns them:", "hmsops check ops/alerts"))
        .put(step("See what fires:", "hmsops alert list --active"));
    el("section").class("card first").put(el("h2").put("Next steps")).put(steps)
}

/// By need: what waits for a person, what is being healed, what may come, what is silenced.
fn order(look: &Look<'_>, alert: &Alert) -> u8 {
    match (said::urgency(&look.view.state, alert), alert.handling) {
        (Some(Sign::Failing), Handling::TakeOver { .. }) => 0,
        (Some(Sign::Failing), _) => 1,
        (Some(_), _) => 2,
        (None, _) if alert.is_firing() => 4,
        (None, _) => 3,
    }
}

/// The mark of an alert: shape by what is done about it.
pub(super) fn sign(alert: &Alert) -> Sign {
    match (alert.condition(), alert.handling, alert.acked.is_some()) {
        ("resolved", ..) => Sign::Fine,
        ("pending", ..) | (_, Handling::HealRunning { .. } | Handling::Healed { .. }, _) | (.., true) => {
            Sign::UnderWatch
        }
        _ => Sign::Failing,
    }
}

/// One fact with its name.
pub(super) fn fact(value: impl super::html::Render, words: &str) -> Element {
    el("div").put(el("dd").put(value)).put(el("dt").put(words))
}

fn item(look: &Look<'_>, alert: &Alert) -> Element {
    let name = link(&alert_path(alert.id), alert.rule.as_str());
    let silenced = alert.is_open() && look.view.state.signals.is_silenced(alert);
    let state = if silenced { format!("{}; silenced", alert.words()) } else { alert.words() };
    let head = el("header").put(el("h3").put(name)).put(worded(sign(alert), &state));
    let line = el("p").put(tied(&format!("{}.", upper(rest(look, alert).trim_start()))));
    el("li")
        .class(format!("card {}", super::mark::class(sign(alert))))
        .attr("id", alert.id.to_string())
        .put(head)
        .put(line)
        .put(facts(look, alert))
        .put(deeds(look, alert))
}

/// With its first letter large.
pub(super) fn upper(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Value, since when, whose, and who has it.
pub(super) fn facts(look: &Look<'_>, alert: &Alert) -> Element {
    let state = &look.view.state;
    let at = alert.fired_at.unwrap_or(alert.since).wall;
    let mut list = el("dl")
        .class("figs")
        .put(fact(said::value_words(state, &look.view.evidence, alert), "value"))
        .put(fact(
            time(at, &when(at, look.now)),
            if alert.fired_at.is_some() { "fired" } else { "holds since" },
        ));
    if let Some(service) = &alert.service {
        list = list.put(fact(link(&service_path(service), service.as_str()), "service"));
    }
    if let Handling::TakeOver { ticket } = alert.handling {
        list = list.put(fact(link(&ticket_path(ticket), &ticket.to_string()), "ticket"));
    }
    list
}

/// What a person can do about an alert.
pub(super) fn deeds(look: &Look<'_>, alert: &Alert) -> Option<Element> {
    let state = &look.view.state;
    let silence = state.signals.silences_of(&alert.rule).next().map(|silence| silence.id);
    let deeds = [
        Some(Deed::Ack(alert.id)),
        Some(silence.map_or_else(|| Deed::Silence(alert.rule.clone()), Deed::Unsilence)),
        Some(Deed::Heal(alert.rule.clone())),
    ];
    let buttons: Vec<Element> = deeds.into_iter().flatten().filter_map(|deed| button(look, &deed)).collect();
    (alert.is_open() && !buttons.is_empty()).then(|| el("p").class("buttons").put(buttons))
}

fn blind_item(look: &Look<'_>, rule: &Rule) -> Element {
    let words = rule_words(rule).unwrap_or_default();
    let why = said::blind(&look.view.evidence, rule).unwrap_or_default();
    let head = el("header").put(el("h3").put(rule.spec.name.as_str())).put(worded(Sign::Unknown, words));
    let last = format!("{}. What it would say now is not known.", upper(&why));
    el("li").class("card unknown").put(head).put(el("p").put(tied(&last)))
}

fn paused(look: &Look<'_>) -> Option<Element> {
    let paused = look.view.state.signals.heals_paused.as_ref()?;
    let at = paused.at.wall;
    let line = el("p")
        .put(worded(Sign::UnderWatch, "healing is paused"))
        .put(format!(" by {}: {} Since ", paused.by.actor, ended(&paused.reason)))
        .put(time(at, &when(at, look.now)))
        .put(" nothing heals by itself.");
    let go = button(look, &Deed::ResumeHeals).map(|go| el("p").class("buttons").put(go));
    Some(el("section").class("card").put(line).put(go))
}

/// A sentence that somebody wrote, with its full stop.
pub(super) fn ended(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// A table that can be scrolled and read aloud, and that becomes a list where there is no room.
pub(super) fn table(caption: &str, columns: &[&str], body: Element) -> Element {
    let column = |name: &&str| el("th").attr("scope", "col").put(*name);
    let head = columns.iter().map(column).fold(el("tr"), Element::put);
    let table = el("table")
        .class("releases")
        .put(el("caption").class("hidden").put(caption))
        .put(el("thead").put(head))
        .put(body);
    el("div")
        .class("card scroll")
        .attr("tabindex", 0)
        .attr("role", "region")
        .attr("aria-label", caption.to_owned())
        .put(table)
}

/// How a rule does.
fn rule_sign(rule: &Rule, firing: bool) -> Element {
    match (&rule.health, firing) {
        (RuleHealth::Error { .. }, _) => worded(Sign::Unknown, "query error"),
        (RuleHealth::NoData, _) => worded(Sign::Unknown, "no data"),
        (RuleHealth::New, _) => worded(Sign::Unknown, "not evaluated yet"),
        (RuleHealth::Known, true) => worded(Sign::Failing, "fires"),
        (RuleHealth::Known, false) => worded(Sign::Fine, "watches"),
    }
}

fn rules(look: &Look<'_>) -> Option<Element> {
    let rules = &look.view.state.signals.rules;
    if rules.is_empty() {
        return None;
    }
    let body = rules.values().take(RULES_MAX).fold(el("tbody"), |body, rule| body.put(rule_row(look, rule)));
    let more = rules.len().saturating_sub(RULES_MAX);
    let more = (more > 0).then(|| {
        let words = format!("and {} more: ", grouped(more as u64));
        el("p").put(words).put(el("code").put("hmsops alert list"))
    });
    let columns = ["rule", "state", "expression", "heals by", "evaluated", ""];
    let table = table("Alert rules, by name", &columns, body);
    Some(el("section").put(el("h2").put("Rules")).put(table).put(more))
}

fn rule_row(look: &Look<'_>, rule: &Rule) -> Element {
    let (spec, view) = (&rule.spec, look.view);
    let firing = view.state.signals.open_alerts(&spec.name).any(Alert::is_firing);
    let seen = view.evidence.seen.rules.get(&spec.name);
    let hold = (spec.hold > Millis::ZERO).then(|| format!("for {}", spec.hold));
    let why = said::blind(&view.evidence, rule).map(|why| el("p").class("muted s").put(tied(&why)));
    let evaluated = seen.map_or_else(
        || el("span").class("missing").put("never"),
        |seen| time(seen.at.wall, &when(seen.at.wall, look.now)),
    );
    let heal = spec
        .heal
        .as_ref()
        .map_or_else(|| el("span").class("muted").put("a person"), |heal| el("code").put(heal.to_string()));
    let silence = view.state.signals.silences_of(&spec.name).next().map(|silence| silence.id);
    let deed = silence.map_or_else(|| Deed::Silence(spec.name.clone()), Deed::Unsilence);
    let expr =
        el("td").class("prose").put(el("code").put(spec.expr.as_str())).put(hold.map(|h| format!(" {h}")));
    el("tr")
        .put(el("th").attr("scope", "row").put(spec.name.as_str()))
        .put(el("td").class("nowrap").put(rule_sign(rule, firing)))
        .put(expr.put(readings(look, rule)).put(why))
        .put(el("td").class("nowrap").attr("data-label", "heals by").put(heal))
        .put(el("td").class("nowrap").attr("data-label", "evaluated").put(evaluated))
        .put(el("td").put(button(look, &deed)))
}

/// Both ways a rate can be read, and which one holds.
pub(super) fn readings(look: &Look<'_>, rule: &Rule) -> Option<Element> {
    let texts = hmsops_config::readings(&rule.spec.expr);
    if texts.is_empty() {
        return None;
    }
    let seen = look.view.evidence.seen.rules.get(&rule.spec.name);
    let seen = seen.filter(|seen| seen.at.steady >= rule.declared_at.steady);
    let chosen =
        if rule.spec.is_literal { Some("per-second") } else { seen.and_then(|seen| seen.reading.as_deref()) };
    let names = ["share", "per-second"];
    let items = texts.iter().zip(names).map(|(text, name)| {
        let text =
            text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).map_or(text.as_str(), str::trim);
        let item = el("li").put(el("b").put(name)).put(": ").put(text);
        match chosen {
            Some(chosen) if chosen == name => item.class("chosen").put(" (this one holds)"),
            Some(_) => item.class("muted"),
            None => item,
        }
    });
    let items: Vec<Element> = items.collect();
    let undecided = chosen
        .is_none()
        .then(|| el("li").class("muted").put("Which one holds is decided by the first values."));
    Some(el("ul").class("readings s").put(items).put(undecided))
}

fn silences(look: &Look<'_>) -> Option<Element> {
    let running = look.view.state.signals.silences.values().rev().filter(|silence| silence.ended.is_none());
    let rows: Vec<Element> = running
        .map(|silence| {
            el("tr")
                .put(el("th").attr("scope", "row").put(silence.rule.as_str()))
                .put(el("td").class("prose").put(tied(&upper(&silence.sentence()))))
                .put(el("td").attr("data-label", "why:").put(silence.reason.as_str()))
                .put(el("td").attr("data-label", "by").put(silence.by.actor.as_str()))
                .put(el("td").put(button(look, &Deed::Unsilence(silence.id))))
        })
        .collect();
    (!rows.is_empty()).then(|| {
        let table = table("Silences in force", &["rule", "what", "why", "by", ""], el("tbody").put(rows));
        el("section").put(el("h2").put("Silences")).put(table)
    })
}

/// The mark of a heal.
pub(super) const fn heal_sign(heal: &Heal) -> Sign {
    match heal.phase {
        HealPhase::Running | HealPhase::Checking => Sign::UnderWatch,
        HealPhase::Healed => Sign::Fine,
        HealPhase::Failed => Sign::Failing,
    }
}

fn heals(look: &Look<'_>) -> Element {
    let heals = &look.view.state.signals.heals;
    let rows: Vec<Element> = heals.values().rev().take(PAST_MAX).map(|heal| heal_row(look, heal)).collect();
    let columns = ["heal", "for", "what", "state", "why", "began"];
    let table = if rows.is_empty() {
        el("p").class("card muted").put("Nothing was healed yet.")
    } else {
        table("Heals, newest first", &columns, el("tbody").put(rows))
    };
    let stop = button(look, &Deed::PauseHeals).map(|stop| el("p").class("buttons").put(stop));
    el("section").put(el("h2").put("Heals")).put(table).put(stop)
}

fn heal_row(look: &Look<'_>, heal: &Heal) -> Element {
    let at = heal.intended_at.wall;
    let rule = match heal.alert {
        Some(id) => link(&alert_path(id), heal.rule.as_str()),
        None => el("span").put(heal.rule.as_str()),
    };
    let why = heal.why.clone().or_else(|| heal.exit.clone()).unwrap_or_default();
    let ticket = heal.ticket.map(|id| el("span").put(" ").put(link(&ticket_path(id), &id.to_string())));
    el("tr")
        .put(el("th").attr("scope", "row").put(heal.id.to_string()))
        .put(el("td").put(rule))
        .put(el("td").put(el("code").put(heal.action.to_string())))
        .put(el("td").class("nowrap").put(worded(heal_sign(heal), heal.phase.words())))
        .put(el("td").class("prose").put(tied(&why)).put(ticket))
        .put(el("td").class("nowrap").attr("data-label", "began").put(time(at, &when(at, look.now))))
}

fn past(look: &Look<'_>) -> Option<Element> {
    let ended = look.view.state.signals.alerts.values().rev().filter(|alert| !alert.is_open());
    let rows: Vec<Element> = ended
        .take(PAST_MAX)
        .map(|alert| {
            let at = alert.ended.as_ref().map_or(alert.since, |ended| ended.at).wall;
            el("tr")
                .put(el("th").attr("scope", "row").put(link(&alert_path(alert.id), alert.rule.as_str())))
                .put(
                    el("td").class("prose").put(tied(&format!("{}.", upper(rest(look, alert).trim_start())))),
                )
                .put(el("td").class("nowrap").attr("data-label", "over").put(time(at, &when(at, look.now))))
        })
        .collect();
    (!rows.is_empty()).then(|| {
        let table =
            table("Alerts that are over, newest first", &["rule", "what", "over"], el("tbody").put(rows));
        el("section").put(el("h2").put("Over")).put(table)
    })
}
