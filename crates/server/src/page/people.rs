//! Who is known here, and the accounts that the tower keeps.

use hmsops_control::people::{Person, Session};
use hmsops_model::person::Identity;

use super::Look;
use super::alerts::table;
use super::frame::{ACCESS, Follows, Frame};
use super::html::{Element, el};
use super::login::query;
use super::mark::link;
use super::moment::{time, when};

/// People of the page, those first who were here last.
const ROWS_MAX: usize = 200;

/// Everybody who has logged in, and the accounts.
pub fn people(look: &Look<'_>) -> String {
    let people = &look.view.state.people;
    let mut all: Vec<&Person> = people.persons.values().collect();
    all.sort_by_key(|person| (std::cmp::Reverse(person.seen_at), person.id));
    let headline = match all.len() {
        0 => "Nobody has logged in yet.".to_owned(),
        1 => "1 person is known here.".to_owned(),
        n => format!("{n} people are known here."),
    };
    let words = "Whoever logs in gets a number, which nobody else is given, and which stands in the ledger beside what they do. \
                 What they may do comes from their groups at the provider, or from their account here.";
    let rows: Vec<Element> = all.iter().take(ROWS_MAX).map(|person| row(look, person)).collect();
    let more = all.len().saturating_sub(ROWS_MAX);
    let more = (more > 0).then(|| el("p").class("muted s").put(format!("and {more} who were here earlier")));
    let columns = ["person", "known by", "is here", "last logged in", ""];
    let list = (!rows.is_empty()).then(|| {
        el("section")
            .put(el("h2").put("Have logged in"))
            .put(table("People", &columns, el("tbody").put(rows)))
            .put(more)
    });
    let frame = Frame {
        look: *look,
        path: "/people".into(),
        title: "People".into(),
        section: ACCESS,
        follows: Follows::Nothing,
    };
    frame.wrap(((el("h1").put(headline), el("p").class("lead muted").put(words)), (list, accounts(look))))
}

fn row(look: &Look<'_>, person: &Person) -> Element {
    let sessions = look.view.state.people.sessions.values();
    let own = sessions.filter(|session| session.person == person.id);
    let newest = own.clone().max_by_key(|session| session.id);
    let lasting = own.filter(|session| session.is_in_force(look.now)).count();
    let lasting = match lasting {
        0 => "not logged in".to_owned(),
        1 => "logged in once".to_owned(),
        n => format!("logged in {n} times"),
    };
    let known = match person.identity.issuer.as_str() {
        Identity::LOCAL => format!("the account {}", person.identity.subject),
        Identity::TOWER => "the admin token, or a link made with it".to_owned(),
        issuer => format!("{} at {issuer}", person.identity.subject),
    };
    let roles = newest.map(roles_of).unwrap_or_default();
    let actor = format!("person:{} {}", person.id, person.name);
    let seen = time(person.seen_at, &when(person.seen_at, look.now));
    el("tr")
        .put(
            el("th")
                .attr("scope", "row")
                .put(person.id.to_string())
                .put(" ")
                .put(el("b").put(person.name.as_str())),
        )
        .put(el("td").class("prose").attr("data-label", "known by").put(known))
        .put(el("td").attr("data-label", "is here").put(roles))
        .put(
            el("td")
                .attr("data-label", "last logged in")
                .put(seen)
                .put(el("p").class("muted s").put(lasting)),
        )
        .put(
            el("td")
                .put(link(&format!("/audit?actor={}", query(&actor)), "what they did").class("tall nowrap")),
        )
}

fn roles_of(session: &Session) -> String {
    session.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}

fn accounts(look: &Look<'_>) -> Element {
    let accounts = &look.view.state.people.accounts;
    let rows: Vec<Element> = accounts
        .iter()
        .map(|(name, roles)| {
            let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            el("tr")
                .put(el("th").attr("scope", "row").put(name.as_str()))
                .put(el("td").attr("data-label", "is here").put(roles.join(", ")))
        })
        .collect();
    let list = (!rows.is_empty()).then(|| table("Accounts", &["account", "is here"], el("tbody").put(rows)));
    let words = if list.is_some() {
        "To keep another, or to give one another password or other roles; what it had opened ends:"
    } else {
        "The tower keeps none. For the beginning, and for when the provider is away:"
    };
    let command = "hmsops account set ann --role operator --reason \"joins the team\"";
    el("section").put(el("h2").put("Accounts that this tower keeps")).put(list).put(
        el("div")
            .class("card gap")
            .put(el("p").put(words))
            .put(el("pre").attr("tabindex", 0).put(el("code").put(command))),
    )
}
