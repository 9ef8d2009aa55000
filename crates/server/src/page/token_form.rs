//! The forms by which a person makes, rotates and revokes a token, and the one page that shows a token's text.

use hmsops_control::access::Token;
use hmsops_model::{Scope, TokenId, UnixMillis};

use super::Look;
use super::alerts::fact;
use super::frame::{ACCESS, Follows, Frame};
use super::html::{Element, Render, el};
use super::mark::link;
use super::moment::{time, when};
use super::tokens::token_path;

/// The longest reason that is taken, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Names of scopes' boxes begin with it: a form cannot send one name twice.
pub const SCOPE_FIELD: &str = "scope.";

/// What a form was filled with, so that nothing is typed twice.
#[derive(Debug, Clone, Default)]
pub struct TokenWish {
    /// `sa`, `pat`, `agt`, `ing`.
    pub kind: String,
    /// Who answers for it.
    pub owner: String,
    /// Boxes that are ticked.
    pub scopes: Vec<String>,
    /// Names with spaces or commas between.
    pub services: String,
    /// The same of networks.
    pub networks: String,
    /// `90d`.
    pub expires: String,
    /// What for.
    pub reason: String,
}

fn frame<'a>(look: &Look<'a>, path: String, title: &str) -> Frame<'a> {
    Frame { look: *look, path, title: title.to_owned(), section: ACCESS, follows: Follows::Nothing }
}

fn trail(of: Option<TokenId>) -> Element {
    let trail = el("p").class("trail").put(link("/tokens", "Tokens"));
    trail.put(of.map(|id| format!(" / {id}")))
}

fn refusal(why: Option<&str>) -> Option<Element> {
    why.map(|why| el("p").class("refused").attr("role", "alert").put("Not done: ").put(why))
}

/// A line to type into, and what it is for.
fn field(name: &'static str, label: &str, value: &str, use_: &str) -> Element {
    let id = format!("{name}-use");
    let input = el("input")
        .attr("id", name)
        .attr("name", name)
        .attr("type", "text")
        .attr("maxlength", REASON_CHARS_MAX)
        .attr("autocomplete", "off")
        .attr("value", value)
        .attr("aria-describedby", id.as_str());
    el("div")
        .put(el("label").attr("for", name).put(label))
        .put(input)
        .put(el("p").class("muted s").attr("id", id).put(use_))
}

fn reason(value: &str) -> Element {
    let input = el("input")
        .attr("id", "reason")
        .attr("name", "reason")
        .attr("type", "text")
        .attr("maxlength", REASON_CHARS_MAX)
        .attr("autocomplete", "off")
        .attr("value", value)
        .attr("aria-describedby", "reason-use")
        .flag("required");
    el("div").put(el("label").attr("for", "reason").put("Why?")).put(input).put(
        el("p")
            .class("muted s")
            .attr("id", "reason-use")
            .put("Stands in the ledger with your name, for good."),
    )
}

fn submit(words: &str, class: &str) -> Element {
    el("p")
        .class("buttons")
        .put(el("button").attr("type", "submit").class(class).put(words))
        .put(link("/tokens", "No, go back").class("button"))
}

fn form(path: &str, content: impl Render) -> Element {
    el("form").attr("method", "post").attr("action", path).class("card form").put(content)
}

/// The form that makes a token.
pub fn token_new(look: &Look<'_>, wish: &TokenWish, refused: Option<&str>) -> String {
    let kinds = [
        ("sa", "a program that acts for itself: CI, a bot"),
        ("pat", "a person's own programs"),
        ("agt", "an agent or a probe elsewhere"),
        ("ing", "brings metrics, logs, traces or events, nothing else"),
    ];
    let select =
        kinds.iter().fold(el("select").attr("id", "kind").attr("name", "kind"), |select, (name, words)| {
            let option = el("option").attr("value", name).put(*words);
            select.put(if wish.kind == *name { option.flag("selected") } else { option })
        });
    let kind = el("div").put(el("label").attr("for", "kind").put("Who holds it?")).put(select);
    let owner = field("owner", "Who answers for it?", &wish.owner, "A person or a team; empty: you.");
    let services = field(
        "services",
        "Which services may it touch?",
        &wish.services,
        "Names with spaces between. Empty: every service, those to come included.",
    );
    let networks = field(
        "networks",
        "From which networks?",
        &wish.networks,
        "10.0.0.0/8, with spaces between. Empty: from anywhere.",
    );
    let expires = field("expires", "For how long?", &wish.expires, "90d, 12h; a year at most.");
    let fields = ((kind, owner), (scopes(wish), (services, networks)));
    let form =
        form("/tokens/new", ((fields, expires), (reason(&wish.reason), submit("Make it", "button strong"))));
    let plan = el("p").class("lead").put("Its text is shown once, on the next page, and kept nowhere.");
    frame(look, "/tokens/new".into(), "Make a token")
        .wrap(((trail(None), el("h1").put("Make a token")), ((plan, refusal(refused)), form)))
}

/// A box a scope, by what it is about.
fn scopes(wish: &TokenWish) -> Element {
    let mut groups: Vec<(&str, Vec<Element>)> = Vec::new();
    for scope in Scope::ALL {
        let (noun, verb) = scope.name().split_once(':').unwrap_or((scope.name(), ""));
        let input = el("input")
            .attr("type", "checkbox")
            .attr("name", format!("{SCOPE_FIELD}{scope}"))
            .attr("value", "true");
        let is_ticked = wish.scopes.iter().any(|ticked| ticked == scope.name());
        let input = if is_ticked { input.flag("checked") } else { input };
        let check = el("label").class("check").put(input).put(el("span").put(verb));
        match groups.iter_mut().find(|(known, _)| *known == noun) {
            Some((_, checks)) => checks.push(check),
            None => groups.push((noun, vec![check])),
        }
    }
    let groups = groups.into_iter().map(|(noun, checks)| {
        let name = format!("may-{noun}");
        el("div")
            .class("scope")
            .attr("role", "group")
            .attr("aria-labelledby", name.as_str())
            .put(el("b").attr("id", name).put(noun))
            .put(checks)
    });
    el("fieldset").class("scopes").put(el("legend").put("What may it do?")).put(groups.collect::<Vec<_>>())
}

/// The form that puts another token in the place of one; `None`: it cannot be done just now.
pub fn token_rotate(
    look: &Look<'_>,
    token: &Token,
    (overlap, expires, why): (&str, &str, &str),
    refused: Option<&str>,
) -> Option<String> {
    let can = token.is_in_force(look.view.now.wall) && token.followed_by.is_none();
    if !can && refused.is_none() {
        return None;
    }
    let path = format!("{}/rotate", token_path(token.id));
    let overlap =
        field("overlap", "How long does the old one go on?", overlap, "1d, 2h; 0s: it ends at once.");
    let expires = field(
        "expires",
        "How long does the new one live?",
        expires,
        "Empty: as long as the old one was given.",
    );
    let form = form(&path, ((overlap, expires), (reason(why), submit("Rotate it", "button strong"))));
    let plan = format!(
        "A new token with the same rights is made for {}. Its text is shown once, on the next page.",
        token.spec.owner
    );
    let title = format!("Rotate {}", token.id);
    let lead = el("p").class("lead").put(plan);
    Some(
        frame(look, path, &title).wrap((
            (trail(Some(token.id)), el("h1").put(format!("{title}?"))),
            ((lead, refusal(refused)), form),
        )),
    )
}

/// The form that revokes a token, `made` those in force that were made with it; `None`: it cannot be done just now.
pub fn token_revoke(
    look: &Look<'_>,
    token: &Token,
    made: &[TokenId],
    refused: Option<&str>,
) -> Option<String> {
    if token.revoked.is_some() && made.is_empty() && refused.is_none() {
        return None;
    }
    let path = format!("{}/revoke", token_path(token.id));
    let names: Vec<String> = made.iter().take(20).map(ToString::to_string).collect();
    let more = made.len().saturating_sub(names.len());
    let names = names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
    let keep = (!made.is_empty()).then(|| {
        let input = el("input").attr("type", "checkbox").attr("name", "keep_made").attr("value", "true");
        let words = format!("Leave in force what was made with it: {names}");
        el("label").class("check").put(input).put(el("span").put(words))
    });
    let plan = format!(
        "Whoever holds it is let in no more, within a second; streams that it opened end. It is {}'s, for: {}",
        token.spec.owner, token.reason
    );
    let also = (!made.is_empty()).then(|| {
        let them = if made.len() == 1 { "that is revoked, too" } else { "these are revoked, too" };
        el("p").class("lead").put(format!("With it were made {names}: {them}."))
    });
    let form = form(&path, (keep, (reason(""), submit("Revoke it", "button danger"))));
    let title = format!("Revoke {}", token.id);
    let lead = (el("p").class("lead").put(plan), also);
    Some(
        frame(look, path, &title).wrap((
            (trail(Some(token.id)), el("h1").put(format!("{title}?"))),
            ((lead, refusal(refused)), form),
        )),
    )
}

/// The one page that shows a token's text.
pub fn token_made(look: &Look<'_>, token: &Token, text: &str) -> String {
    let spec = &token.spec;
    let scopes: Vec<&str> = spec.scopes.iter().map(|scope| scope.name()).collect();
    let services: Vec<&str> = spec.services.iter().map(hmsops_model::ServiceName::as_str).collect();
    let services = if services.is_empty() { "every".to_owned() } else { services.join(", ") };
    let at = |at: UnixMillis| time(at, &when(at, look.now));
    let facts = el("dl")
        .class("figs")
        .put(fact(spec.owner.as_str(), "owner"))
        .put(fact(scopes.join(", "), "scopes"))
        .put(fact(services, "services"))
        .put(fact(at(spec.expires), "ends"));
    let old = token.follows.and_then(|id| look.view.state.access.tokens.get(&id)).map(|old| {
        let words = format!("{} goes on until ", old.id);
        el("p").class("lead").put(words).put(at(old.spec.expires)).put(".")
    });
    let secret = el("section")
        .class("card")
        .put(el("h2").put("Its text, shown this once"))
        .put(el("pre").class("secret").attr("tabindex", 0).put(el("code").put(text)))
        .put(el("p").class("muted s").put("Programs send it as "))
        .put(el("pre").attr("tabindex", 0).put(el("code").put("Authorization: Bearer …")))
        .put(
            el("p")
                .class("muted s")
                .put("and hmsops reads it from HMSOPS_TOKEN. A lost one is replaced by rotating it."),
        );
    let back = el("p").class("buttons").put(link("/tokens", "I have it: to the list").class("button strong"));
    let headline = el("h1").put(format!("{} is made: copy its text now.", token.id));
    frame(look, "/tokens".into(), &format!("{} is made", token.id)).wrap((
        (trail(Some(token.id)), headline),
        ((facts, old), (el("div").class("stack").put(secret), back)),
    ))
}
