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

/// A program that asks to act as somebody.
#[derive(Debug, Clone, Copy)]
pub struct ProgramAsks<'a> {
    /// The code that it shows.
    pub code: &'a str,
    /// As it calls itself: anybody can say anything.
    pub name: &'a str,
    /// From which address it asks.
    pub from: Option<&'a str>,
}

/// The page on which somebody lets a program act as them. `None`: the code is asked for.
pub fn program(name: &str, asks: Option<ProgramAsks<'_>>, refused: Option<&str>) -> String {
    let refused = refused.map(|why| el("p").class("refused").attr("role", "alert").put(why));
    let Some(asks) = asks else {
        let input = el("input")
            .attr("id", "code")
            .attr("name", "code")
            .attr("type", "text")
            .attr("maxlength", 20)
            .attr("autocomplete", "off")
            .attr("autocapitalize", "characters")
            .attr("spellcheck", "false")
            .class("mono")
            .flag("required")
            .flag("autofocus");
        let form = el("form")
            .attr("method", "get")
            .attr("action", "/sessions/new")
            .class("card form")
            .put(el("label").attr("for", "code").put("The code that the program shows"))
            .put(input)
            .put(
                el("p")
                    .class("buttons")
                    .put(el("button").attr("type", "submit").class("button strong").put("Go on")),
            );
        let lead = el("p")
            .class("lead")
            .put("It shows a code of eight letters, as ")
            .put(el("code").put("WDJB-MJHT"));
        let back = el("p").put(link("/sessions", "No, go back").class("button"));
        return narrow(
            "A program",
            &format!("{name}, which program is yours?"),
            ((lead.put("."), refused), (form, back)),
        );
    };
    let fact = |name: &str, value: &str| el("div").put(el("dt").put(name)).put(el("dd").put(value));
    let facts = el("dl")
        .class("parts")
        .put(fact("code", asks.code))
        .put(fact("calls itself", asks.name))
        .put(fact("asks from", asks.from.unwrap_or("an unknown address")));
    let button = |answer: &'static str, class: &'static str, words: &'static str| {
        el("button")
            .attr("type", "submit")
            .attr("name", "answer")
            .attr("value", answer)
            .class(class)
            .put(words)
    };
    let buttons = el("p")
        .class("buttons")
        .put(button("yes", "button strong", "Yes, it is mine"))
        .put(button("no", "button danger", "No"));
    let form = el("form")
        .attr("method", "post")
        .attr("action", "/sessions/new")
        .class("card form")
        .put(facts)
        .put(el("input").attr("type", "hidden").attr("name", "code").attr("value", asks.code))
        .put(buttons);
    let lead = el("p").class("lead").put(
        "It will be able to do all that you may, for twelve hours at most. Say yes only if you have started it yourself just \
         now, and it shows this very code: whoever sent you here with a code wants to come in as you.",
    );
    narrow("A program", &format!("{name}, shall this program act as you?"), ((lead, refused), form))
}

/// What becomes of it.
pub fn program_answered(is_yes: bool) -> String {
    let (heading, words) = if is_yes {
        (
            "The program goes on as you.",
            "Go back to it. Its log-in stands among yours, where it can be ended.",
        )
    } else {
        (
            "The program is not let in.",
            "If you did not start it, somebody else wanted to come in as you: tell your administrators.",
        )
    };
    let ways = el("p")
        .class("buttons")
        .put(link("/sessions", "Your log-ins").class("button"))
        .put(link("/", "Tower").class("button"));
    narrow("A program", heading, (el("p").class("lead").put(words), ways))
}
