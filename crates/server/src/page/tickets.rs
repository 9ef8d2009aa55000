//! Tickets: what a person has to do because the machine could not.

use hmsops_control::headline::Sign;
use hmsops_control::signal::ticket::Ticket;
use hmsops_ledger::Entry;
use hmsops_model::TicketId;

use super::Look;
use super::alerts::{ended, fact, others, table};
use super::deed::{Deed, button};
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{alert_path, class, link, service_path, shape, ticket_path, worded};
use super::moment::{time, when};
use super::steps;

/// Tickets of the list.
const ROWS_MAX: usize = 200;

/// The list of tickets, open ones first, newest first.
pub fn tickets(look: &Look<'_>) -> String {
    let frame = Frame {
        look: *look,
        path: "/tickets".into(),
        title: "Tickets".into(),
        section: "/alerts",
        follows: Follows::Everything,
    };
    let mut all: Vec<&Ticket> = look.view.state.signals.tickets.values().collect();
    all.sort_by_key(|ticket| (ticket.closed.is_some(), std::cmp::Reverse(ticket.id)));
    let open = all.iter().filter(|ticket| ticket.closed.is_none()).count();
    let headline = match (open, all.first()) {
        (0, None) => el("h1").put("No ticket was ever opened: nothing had to be taken over by a person."),
        (0, Some(_)) => el("h1").put("No ticket is open."),
        (1, Some(one)) => el("h1").put(link(&ticket_path(one.id), &one.title)).put(" is open."),
        (n, _) => el("h1").put(format!("{n} tickets are open.")),
    };
    let empty = all.is_empty().then(|| {
        let words = "A heal that does not help opens one. See what heals, without running it:";
        el("div").class("card").put(el("p").put(words)).put(
            el("pre").attr("tabindex", 0).put(el("code").put("hmsops heal run photo_error_spike --dry-run")),
        )
    });
    let rows: Vec<Element> = all.iter().take(ROWS_MAX).map(|ticket| row(look, ticket)).collect();
    let columns = ["ticket", "service", "state", "what was tried", "opened"];
    let table =
        (!rows.is_empty()).then(|| table("Tickets, open ones first", &columns, el("tbody").put(rows)));
    frame.wrap(((headline, others(look)), (empty, table.map(|table| el("section").put(table)))))
}

fn sign(ticket: &Ticket) -> (Sign, &'static str) {
    if ticket.closed.is_some() { (Sign::Fine, "closed") } else { (Sign::Failing, "open") }
}

fn row(look: &Look<'_>, ticket: &Ticket) -> Element {
    let at = ticket.opened_at.wall;
    let (sign, word) = sign(ticket);
    let what = ticket.text.lines().next().unwrap_or_default().trim_end_matches("; it printed:").to_owned();
    let closed = ticket.closed.as_ref();
    let closed =
        closed.map(|closed| el("p").class("muted s").put(format!("{}: {}", closed.by.actor, closed.reason)));
    el("tr")
        .put(
            el("th")
                .attr("scope", "row")
                .put(link(&ticket_path(ticket.id), &ticket.id.to_string()).class("tall")),
        )
        .put(el("td").put(link(&service_path(&ticket.service), ticket.service.as_str()).class("tall")))
        .put(el("td").class("nowrap").put(worded(sign, word)))
        .put(el("td").class("prose").put(what).put(closed))
        .put(el("td").class("nowrap").attr("data-label", "opened").put(time(at, &when(at, look.now))))
}

/// A ticket's page; `None`: no such ticket is remembered. `entries` are its lines of the ledger, oldest first.
pub fn ticket(look: &Look<'_>, id: TicketId, entries: &[Entry]) -> Option<String> {
    let known = look.view.state.signals.tickets.get(&id)?;
    let frame = Frame {
        look: *look,
        path: ticket_path(id),
        title: format!("{id}: {}", known.title),
        section: "/alerts",
        follows: if known.closed.is_none() { Follows::Everything } else { Follows::Nothing },
    };
    let trail = el("p")
        .class("trail")
        .put(link("/alerts", "Alerts"))
        .put(" / ")
        .put(link("/tickets", "Tickets"))
        .put(format!(" / {id}"));
    let (mark, _) = sign(known);
    let title = match &known.closed {
        None => format!("{}.", known.title),
        Some(closed) => format!("{} closed {id}: {}", closed.by.actor, ended(&closed.reason)),
    };
    let headline = el("h1").class(class(mark)).put(shape(mark)).put(el("span").class("plain").put(title));
    let close = button(look, &Deed::CloseTicket(id)).map(|close| el("p").class("buttons").put(close));
    let tried = el("section")
        .class("card")
        .put(el("h2").put("What was tried, and what it printed"))
        .put(el("pre").attr("tabindex", 0).put(el("code").put(known.text.as_str())));
    let course = (!entries.is_empty()).then(|| {
        el("section").put(el("h2").put("Its course, from the ledger")).put(steps::table(
            entries,
            false,
            "Ledger lines of this ticket, newest last",
        ))
    });
    let body = el("div").class("stack").put(tried);
    Some(frame.wrap(((trail, headline), ((facts(look, known), close), (body, course)))))
}

fn facts(look: &Look<'_>, ticket: &Ticket) -> Element {
    let at = ticket.opened_at.wall;
    let (sign, word) = sign(ticket);
    let list = el("dl")
        .class("figs")
        .put(fact(worded(sign, word), "state"))
        .put(fact(link(&service_path(&ticket.service), ticket.service.as_str()), "service"))
        .put(fact(time(at, &when(at, look.now)), "opened"));
    let alert = ticket.alert.map(|id| {
        let rule = look.view.state.signals.alerts.get(&id).map(|alert| alert.rule.to_string());
        fact(link(&alert_path(id), &rule.unwrap_or_else(|| id.to_string())), "alert")
    });
    let told = (!ticket.told.is_empty()).then(|| fact(ticket.told.join(", "), "told"));
    let closed = ticket.closed.as_ref().map(|closed| {
        let at = closed.at.wall;
        fact(time(at, &when(at, look.now)), "closed")
    });
    let heal = ticket.heal.and_then(|id| look.view.state.signals.heals.get(&id));
    let heal = heal.map(|heal| fact(format!("{}, {}", heal.action, heal.phase.words()), "heal"));
    list.put(alert).put(heal).put(told).put(closed)
}
