//! How somebody logs in, who is logged in, and whose glass is broken.

use hmsops_control::headline::Sign;
use hmsops_control::people::{Glass, Session};
use hmsops_model::SessionId;

use super::Look;
use super::alerts::table;
use super::frame::{Follows, Frame, document, refresh_to, sheet};
use super::html::{Element, Render, el};
use super::mark::{link, worded};
use super::moment::{time, when};

/// Log-ins of the page, and as many that have ended.
const ROWS_MAX: usize = 200;

/// The ways in that there are, beside a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginWays {
    /// Whether the tower keeps accounts.
    pub password: bool,
    /// The provider's host, if there is one.
    pub provider: Option<String>,
}

/// A path as it stands in a query.
fn query(path: &str) -> String {
    form_urlencoded::byte_serialize(path.as_bytes()).collect()
}

fn narrow(title: &str, heading: &str, content: impl Render) -> String {
    let main = el("main").attr("id", "main").class("narrow").put(el("p").class("brand").put("hmsops"));
    let main = main.put(el("h1").put(heading)).put(content);
    document(&format!("{title} · hmsops"), sheet(), el("body").put(main))
}

/// The ways to log in. `again`: who has to show once more who they are; `refused`: why it did not work.
pub fn login_form(ways: &LoginWays, next: &str, again: Option<&str>, refused: Option<&str>) -> String {
    let refused =
        refused.map(|why| el("p").class("refused").attr("role", "alert").put("Not done: ").put(why));
    let provider = ways.provider.as_ref().map(|host| {
        let path = format!("/login/oidc?next={}", query(next));
        el("section").class("card form").put(el("h2").put("As you do everywhere here")).put(
            el("p").class("buttons").put(link(&path, &format!("Log in at {host}")).class("button strong")),
        )
    });
    let password = ways.password.then(|| password(next));
    let by_link = el("section")
        .class("card form")
        .put(el("h2").put("By a link that works once"))
        .put(el("p").put("On the machine the tower runs on, as its user:"))
        .put(el("pre").attr("tabindex", 0).put(el("code").put("hmsops login")));
    let status = el("p").put("The ").put(link("/status", "status page")).put(" is open to everyone.");
    let heading = match again {
        Some(name) => format!("{name}, show again who you are."),
        None => "Log in.".to_owned(),
    };
    let lead = again.map(|_| {
        el("p").class("lead").put(
            "What you are about to do counts as your own word, so that a browser you left is not enough for it.",
        )
    });
    narrow("Log in", &heading, ((refused, lead), ((provider, password), (by_link, status))))
}

fn password(next: &str) -> Element {
    let field = |name: &'static str, kind: &'static str, words: &'static str, complete: &'static str| {
        let input = el("input")
            .attr("id", name)
            .attr("name", name)
            .attr("type", kind)
            .attr("maxlength", 1024)
            .attr("autocomplete", complete)
            .flag("required");
        el("div").put(el("label").attr("for", name).put(words)).put(input)
    };
    let button = el("button").attr("type", "submit").class("button strong").put("Log in");
    el("form")
        .attr("method", "post")
        .attr("action", "/login/password")
        .class("card form")
        .put(el("h2").put("By an account of this tower"))
        .put(el("input").attr("type", "hidden").attr("name", "next").attr("value", next))
        .put(field("name", "text", "Name", "username"))
        .put(field("password", "password", "Password", "current-password"))
        .put(el("p").class("buttons").put(button))
}

/// Leads on from the provider's answer: by a step of this tower's own, which brings the new cookie along.
pub fn login_done(next: &str) -> String {
    let main = el("main")
        .attr("id", "main")
        .class("narrow")
        .put(el("h1").put("You are logged in."))
        .put(el("p").put(link(next, "Go on")));
    document("Logged in · hmsops", (sheet(), refresh_to(next)), el("body").put(main))
}

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
        section: "/sessions",
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
            .put(el("p").class("muted s").put(format!("{}: {}", ended.by.actor, ended.reason))),
        None => el("td")
            .class("nowrap")
            .attr("data-label", "ends")
            .put(time(session.until, &when(session.until, look.now))),
    };
    let button = lasts.then(|| {
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

/// Whose glass is broken, and what waits for a review.
pub fn glasses(look: &Look<'_>) -> String {
    let mut all: Vec<&Glass> = look.view.state.people.glasses.values().collect();
    all.sort_by_key(|glass| (glass.reviewed.is_some(), std::cmp::Reverse(glass.id)));
    let waiting = all.iter().filter(|glass| glass.reviewed.is_none()).count();
    let headline = match (all.len(), waiting) {
        (0, _) => "Nobody has broken the glass.".to_owned(),
        (_, 0) => "Every use of the break-glass was looked at.".to_owned(),
        (_, 1) => "1 use of the break-glass waits for another person to look at it.".to_owned(),
        (_, n) => format!("{n} uses of the break-glass wait for another person to look at them."),
    };
    let words = "It gives an operator's rights for a quarter of an hour, and no second person is needed meanwhile. \
                 Everybody sees it, and another person says afterwards what was done.";
    let lead = el("p").class("lead muted").put(words);
    let list = (!all.is_empty()).then(|| {
        let body: Vec<Element> = all.iter().take(ROWS_MAX).map(|glass| glass_row(look, glass)).collect();
        let columns = ["use", "who, why", "broken", "rights end", "review"];
        table("Uses of the break-glass", &columns, el("tbody").put(body))
    });
    let frame = Frame {
        look: *look,
        path: "/breakglass".into(),
        title: "Break-glass".into(),
        section: "/breakglass",
        follows: Follows::Nothing,
    };
    let minutes = el("input")
        .attr("id", "minutes")
        .attr("name", "minutes")
        .attr("type", "number")
        .attr("min", 1)
        .attr("max", 60)
        .attr("value", 15)
        .flag("required");
    let form = el("form")
        .attr("method", "post")
        .attr("action", "/hms/v1/breakglass")
        .class("card form")
        .put(el("h2").put("Break it"))
        .put(el("input").attr("type", "hidden").attr("name", "next").attr("value", "/breakglass"))
        .put(reason("reason", "Why? Everybody will read it."))
        .put(el("div").put(el("label").attr("for", "minutes").put("For how many minutes?")).put(minutes))
        .put(
            el("p")
                .class("buttons")
                .put(el("button").attr("type", "submit").class("button danger").put("Break the glass")),
        );
    frame.wrap(((el("h1").put(headline), lead), (list, form)))
}

fn reason(id: &str, words: &str) -> Element {
    let input = el("input")
        .attr("id", id)
        .attr("name", "reason")
        .attr("type", "text")
        .attr("maxlength", 500)
        .attr("autocomplete", "off")
        .flag("required");
    el("div").put(el("label").attr("for", id).put(words)).put(input)
}

fn glass_row(look: &Look<'_>, glass: &Glass) -> Element {
    let (sign, word) = match glass {
        glass if glass.reviewed.is_some() => (Sign::Fine, "looked at"),
        glass if glass.is_in_force(look.now) => (Sign::Failing, "broken"),
        _ => (Sign::UnderWatch, "waits"),
    };
    let review = match &glass.reviewed {
        Some(said) => el("td")
            .class("prose")
            .put(format!("{}: {}", said.by.actor, said.reason))
            .put(el("p").class("muted s").put(time(said.at.wall, &when(said.at.wall, look.now)))),
        None => el("td").put(
            el("form")
                .attr("method", "post")
                .attr("action", format!("/hms/v1/breakglass/{}/review", glass.id))
                .put(el("input").attr("type", "hidden").attr("name", "next").attr("value", "/breakglass"))
                .put(reason(&format!("review-{}", glass.id), "What was done with it?"))
                .put(el("button").attr("type", "submit").class("button").put("I have looked at it")),
        ),
    };
    let until = glass.ended.as_ref().map_or(glass.until, |ended| ended.at.wall);
    el("tr")
        .put(el("th").attr("scope", "row").put(glass.id.to_string()).put(" ").put(worded(sign, word)))
        .put(
            el("td")
                .class("prose")
                .put(el("b").put(glass.by.actor.as_str()))
                .put(el("p").put(glass.reason.as_str()))
                .put(link(&format!("/audit?actor={}", query(&glass.by.actor)), "what they did").class("s")),
        )
        .put(
            el("td")
                .class("nowrap")
                .attr("data-label", "broken")
                .put(time(glass.broken_at.wall, &when(glass.broken_at.wall, look.now))),
        )
        .put(
            el("td")
                .class("nowrap")
                .attr("data-label", "rights end")
                .put(time(until, &when(until, look.now))),
        )
        .put(review)
}

/// What every page says while a use of the break-glass waits for somebody; `None`: none does.
pub(super) fn banner(look: &Look<'_>) -> Option<Element> {
    let open: Vec<&Glass> =
        look.view.state.people.glasses.values().filter(|glass| glass.reviewed.is_none()).collect();
    let first = open.first()?;
    let words = if open.iter().any(|glass| glass.is_in_force(look.now)) {
        format!("The glass is broken: {}, by {}: {}", first.id, first.by.actor, first.reason)
    } else {
        format!("{} waits for another person to look at what was done: {}", first.id, first.reason)
    };
    Some(el("p").class("refused").attr("role", "status").put(words).put(" ").put(link("/breakglass", "Look")))
}
