//! How somebody logs in.

use hmsops_control::people::Proof;

use super::frame::{document, refresh_to, sheet};
use super::html::{Element, Render, el};
use super::mark::link;

/// The ways in that there are, beside a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginWays {
    /// Whether the tower keeps accounts.
    pub password: bool,
    /// The provider's host, if there is one.
    pub provider: Option<String>,
}

/// A path as it stands in a query.
pub(super) fn query(path: &str) -> String {
    form_urlencoded::byte_serialize(path.as_bytes()).collect()
}

pub(super) fn narrow(title: &str, heading: &str, content: impl Render) -> String {
    let main = el("main").attr("id", "main").class("narrow").put(el("p").class("brand").put("hmsops"));
    let main = main.put(el("h1").put(heading)).put(content);
    document(&format!("{title} · hmsops"), sheet(), el("body").put(main))
}

/// Somebody who has to show once more who they are.
#[derive(Debug, Clone, Copy)]
pub struct Again<'a> {
    /// What they are called.
    pub name: &'a str,
    /// How they showed it before, and show it again.
    pub proof: Proof,
}

/// The ways to log in, or to show once more who one is. `refused`: why it did not work.
pub fn login_form(ways: &LoginWays, next: &str, again: Option<Again<'_>>, refused: Option<&str>) -> String {
    let offers = |proof: Proof| again.is_none_or(|again| again.proof == proof);
    let refused = refused.map(|why| el("p").class("refused").attr("role", "alert").put(why));
    let provider = ways.provider.as_ref().filter(|_| offers(Proof::Oidc)).map(|host| {
        let path = format!("/login/oidc?next={}", query(next));
        el("section").class("card form").put(el("h2").put("As you do everywhere here")).put(
            el("p").class("buttons").put(link(&path, &format!("Log in at {host}")).class("button strong")),
        )
    });
    let name = again.map(|again| again.name);
    let password = (ways.password && offers(Proof::Password)).then(|| password(next, name));
    let by_link = offers(Proof::Link).then(|| {
        el("section")
            .class("card form")
            .put(el("h2").put("By a link that works once"))
            .put(el("p").put("On the machine the tower runs on, as its user, this prints one:"))
            .put(el("pre").attr("tabindex", 0).put(el("code").put("hmsops login")))
            .put(again.map(|_| el("p").put("Open it in this browser: it stays the same log-in.")))
    });
    let lead = match again {
        Some(_) => Some(
            "What you are about to do counts as your own word, and a browser that you left open must not give it.",
        ),
        None if ways.provider.is_none() && !ways.password => {
            Some("This tower knows neither a provider nor accounts yet, so a link is the way in.")
        }
        None => None,
    };
    let lead = lead.map(|words| el("p").class("lead").put(words));
    let rest = match again {
        Some(_) => el("p").put(link(next, "No, go back").class("button")),
        None => el("p")
            .class("muted")
            .put("The ")
            .put(link("/status", "status page"))
            .put(" is open to everyone. Programs send a token instead: ")
            .put(el("code").put("Authorization: Bearer …")),
    };
    let heading =
        again.map_or("Log in.".to_owned(), |again| format!("{}, show again who you are.", again.name));
    narrow("Log in", &heading, ((lead, refused), ((provider, password), (by_link, rest))))
}

/// `own`: the account whose password it has to be.
fn password(next: &str, own: Option<&str>) -> Element {
    let field = |name: &'static str, kind: &'static str, words: &'static str, complete: &'static str| {
        let input = el("input")
            .attr("id", name)
            .attr("name", name)
            .attr("type", kind)
            .attr("maxlength", 1024)
            .attr("autocomplete", complete)
            .flag("required");
        let input = match own.filter(|_| name == "name") {
            Some(own) => input.attr("value", own).flag("readonly"),
            None => input,
        };
        el("div").put(el("label").attr("for", name).put(words)).put(input)
    };
    let button = el("button").attr("type", "submit").class("button strong").put(if own.is_some() {
        "Show it"
    } else {
        "Log in"
    });
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
