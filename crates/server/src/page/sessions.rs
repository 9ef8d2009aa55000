//! Who is logged in.

use hmsops_control::headline::Sign;
use hmsops_control::people::Session;
use hmsops_model::SessionId;

use super::Look;
use super::alerts::table;
use super::frame::{ACCESS, Follows, Frame};
use super::html::{Element, el};
use super::mark::{called, link, worded};
use super::moment::{time, when};

/// Log-ins of the page, and as many that have ended.
const ROWS_MAX: usize = 200;

/// Log-ins that somebody may see.
#[derive(Debug, Clone, Copy)]
pub struct SessionRows<'a> {
    /// The log-ins.
    pub sessions: &'a [Session],
    /// The one that asks.
    pub own: Option<SessionId>,
    /// Whether these are everybody's.
    pub all: bool,
}

/// Who is logged in.
pub fn sessions(look: &Look<'_>, rows: &SessionRows<'_>) -> String {
    let now = look.now;
    let mut all: Vec<&Session> = rows.sessions.iter().collect();
    all.sort_by_key(|session| std::cmp::Reverse(session.id));
    let (lasting, ended): (Vec<_>, Vec<_>) = all.into_iter().partition(|session| session.is_in_force(now));
    let headline = match (lasting.len(), rows.all) {
        (0, true) => "Nobody is logged in.".to_owned(),
        (0, false) => "You are logged in nowhere: you came by a token.".to_owned(),
        (1, true) => "1 log-in lasts.".to_owned(),
        (n, true) => format!("{n} log-ins last."),
        (1, false) => "You are logged in here only.".to_owned(),
        (n, false) => format!("You are logged in {n} times."),
    };
    let words = "A log-in ends twelve hours after it began, or when nobody has used it for half an hour.";
    let lead = el("p").class("lead muted").put(words);
    let out = rows.own.map(|_| {
        el("form")
            .attr("method", "post")
            .attr("action", "/logout")
            .class("buttons")
            .put(el("button").attr("type", "submit").class("button strong").put("Log out here"))
            .put(link("/login/again?next=/sessions", "Show again who you are").class("button"))
    });
    let section = |title: &str, some: &[&Session]| {
        (!some.is_empty()).then(|| {
            let body: Vec<Element> = some.iter().take(ROWS_MAX).map(|one| row(look, one, rows.own)).collect();
            let columns = ["log-in", "who", "is here", "showed who they are", "from", "ends", ""];
            el("section").put(el("h2").put(title)).put(table(title, &columns, el("tbody").put(body)))
        })
    };
    let frame = Frame {
        look: *look,
        path: "/sessions".into(),
        title: "Log-ins".into(),
        section: ACCESS,
        follows: Follows::Nothing,
    };
    let lists = (section("Lasting", &lasting), section("Ended", &ended));
    frame.wrap(((el("h1").put(headline), lead), (out, lists)))
}

fn row(look: &Look<'_>, session: &Session, own: Option<SessionId>) -> Element {
    let lasts = session.is_in_force(look.now);
    let (sign, word) = match (lasts, own == Some(session.id)) {
        (true, true) => (Sign::Fine, "this one"),
        (true, false) => (Sign::Fine, "lasts"),
        (false, _) => (Sign::Unknown, "ended"),
    };
    let ends = match &session.ended {
        Some(ended) => el("td")
            .attr("data-label", "ended")
            .put(time(ended.at.wall, &when(ended.at.wall, look.now)))
            .put(el("p").class("muted s").put(format!("{}: {}", called(&ended.by.actor), ended.reason))),
        None => el("td")
            .class("nowrap")
            .attr("data-label", "ends")
            .put(time(session.until, &when(session.until, look.now))),
    };
    let button = (lasts && own != Some(session.id)).then(|| {
        el("form")
            .attr("method", "post")
            .attr("action", format!("/hms/v1/sessions/{}/end", session.id))
            .put(el("input").attr("type", "hidden").attr("name", "next").attr("value", "/sessions"))
            .put(el("input").attr("type", "hidden").attr("name", "reason").attr("value", "ended on the page"))
            .put(el("button").attr("type", "submit").class("button").put(format!("End {}", session.id)))
    });
    let roles: Vec<&str> = session.roles.iter().map(|role| role.name()).collect();
    el("tr")
        .put(el("th").attr("scope", "row").put(session.id.to_string()).put(" ").put(worded(sign, word)))
        .put(
            el("td")
                .class("prose")
                .put(el("b").put(session.name.as_str()))
                .put(el("p").class("muted s").put(session.person.to_string())),
        )
        .put(el("td").attr("data-label", "is here").put(roles.join(", ")))
        .put(
            el("td")
                .attr("data-label", "showed it")
                .put(time(session.proven_at, &when(session.proven_at, look.now)))
                .put(el("p").class("muted s").put(session.proof.words())),
        )
        .put(el("td").attr("data-label", "from").put(session.from.as_deref().unwrap_or("unknown").to_owned()))
        .put(ends)
        .put(el("td").put(button))
}
