//! Tokens: who is let in besides the admin and people who are logged in.

use hmsops_control::access::{Token, Used};
use hmsops_control::headline::Sign;
use hmsops_control::sentence::grouped;
use hmsops_model::{TokenId, UnixMillis};

use super::Look;
use super::alerts::table;
use super::frame::{ACCESS, Follows, Frame};
use super::html::{Element, el};
use super::mark::{link, tied, worded};
use super::moment::{short_day, time, when};

/// Tokens of the list, and as many that have ended.
const ROWS_MAX: usize = 200;

/// Scopes that a row names; of more it says how many.
const SCOPES_NAMED: usize = 4;

/// A token as the list shows it.
#[derive(Debug, Clone)]
pub struct TokenRow<'a> {
    /// The token.
    pub token: &'a Token,
    /// How it was used, until now.
    pub used: Option<Used>,
    /// What is doubtful about it.
    pub findings: Vec<String>,
}

/// Where a token's forms are.
pub(super) fn token_path(id: TokenId) -> String {
    format!("/tokens/{id}")
}

/// The ledger's entries about a token.
pub(super) fn token_entries(id: TokenId) -> String {
    format!("/audit?subject=token/{id}")
}

/// The list of tokens: those in force, doubtful ones first, then the last that have ended.
pub fn tokens(look: &Look<'_>, mut rows: Vec<TokenRow<'_>>) -> String {
    let frame = Frame {
        look: *look,
        path: "/tokens".into(),
        title: "Tokens".into(),
        section: ACCESS,
        follows: Follows::Everything,
    };
    let now = look.view.now.wall;
    rows.sort_by_key(|row| (row.findings.is_empty(), std::cmp::Reverse(row.token.id)));
    let (open, mut ended): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.token.is_in_force(now));
    ended.sort_by_key(|row| std::cmp::Reverse((ended_at(row.token), row.token.id)));
    let doubtful = open.iter().filter(|row| !row.findings.is_empty()).count();
    let some = match open.len() {
        0 if ended.is_empty() => "No token was given out: only the admin is let in, and who logs in.".into(),
        0 => "No token is in force: only the admin is let in, and who logs in.".to_owned(),
        1 => "1 token lets a program in".to_owned(),
        n => format!("{} tokens let programs in", grouped(n as u64)),
    };
    let headline = match (open.len(), doubtful) {
        (0, _) => some,
        (_, 0) => format!("{some}, none of them doubtful."),
        (1, _) => format!("{some}, and it is doubtful."),
        (_, 1) => format!("{some}; 1 is doubtful."),
        (_, n) => format!("{some}; {} are doubtful.", grouped(n as u64)),
    };
    let make = el("p").class("buttons").put(link("/tokens/new", "Make a token…").class("button strong"));
    let words =
        "A token's text is shown once, when it is made, and kept nowhere; here stands what it may do.";
    let lead = el("p").class("lead muted").put(words);
    let empty = (open.is_empty() && ended.is_empty()).then(empty);
    let body = (section(look, ("In force", "ends"), &open), section(look, ("Ended", "ended"), &ended));
    frame.wrap(((el("h1").put(headline), lead), ((make, empty), body)))
}

fn empty() -> Element {
    el("div")
        .class("card")
        .put(el("p").put("Give a program no more than it needs. CI that deploys one service:"))
        .put(el("pre").attr("tabindex", 0).put(el("code").put(
            "hmsops token create --scope deploy:request --scope state:read \\\n  --service csac-portal --reason \"CI of the portal\"",
        )))
}

fn section(look: &Look<'_>, (title, end): (&str, &str), rows: &[TokenRow<'_>]) -> Option<Element> {
    if rows.is_empty() {
        return None;
    }
    let body = rows.iter().take(ROWS_MAX).map(|row| self::row(look, row)).collect::<Vec<_>>();
    let columns = ["token", "state", "whose, what for", "may", "last used", end, ""];
    let more = rows.len().checked_sub(ROWS_MAX).filter(|more| *more > 0).map(|more| {
        let words = format!("{} more: ", grouped(more as u64));
        el("p").class("muted s").put(words).put(el("code").put("hmsops token list --all --limit 10000"))
    });
    Some(el("section").put(el("h2").put(title)).put(table(title, &columns, el("tbody").put(body))).put(more))
}

/// When it ended, if it has.
fn ended_at(token: &Token) -> UnixMillis {
    let fact = token.revoked.as_ref().map(|revoked| revoked.at).or(token.ended).map(|at| at.wall);
    fact.unwrap_or(token.spec.expires)
}

fn state(token: &Token, row: &TokenRow<'_>, now: UnixMillis) -> (Sign, &'static str) {
    match token {
        token if token.revoked.is_some() => (Sign::Unknown, "revoked"),
        token if !token.is_in_force(now) => (Sign::Unknown, "ended"),
        token if token.followed_by.is_some() => (Sign::UnderWatch, "rotated"),
        _ if !row.findings.is_empty() => (Sign::UnderWatch, "doubtful"),
        _ => (Sign::Fine, "in force"),
    }
}

fn row(look: &Look<'_>, row: &TokenRow<'_>) -> Element {
    let (token, now) = (row.token, look.view.now.wall);
    let (sign, word) = state(token, row, now);
    let is_open = token.is_in_force(now);
    let findings = row.findings.iter().map(|finding| el("p").class("s warn").put(coded(finding)));
    let whose = el("td")
        .class("prose")
        .put(el("b").put(token.spec.owner.as_str()))
        .put(el("p").class("muted s").put(token.reason.as_str()))
        .put(findings.collect::<Vec<_>>())
        .put(course(look, token).map(|line| el("p").class("muted s").put(line)));
    let buttons = is_open.then(|| {
        let rotate = token
            .followed_by
            .is_none()
            .then(|| link(&format!("{}/rotate", token_path(token.id)), "Rotate…").class("button"));
        let revoke = link(&format!("{}/revoke", token_path(token.id)), "Revoke…").class("button danger");
        el("span").class("buttons").put(rotate).put(revoke)
    });
    let ends = if is_open { token.spec.expires } else { ended_at(token) };
    el("tr")
        .attr("id", token.id.to_string())
        .put(
            el("th")
                .attr("scope", "row")
                .put(link(&token_entries(token.id), &token.id.to_string()).class("tall")),
        )
        .put(el("td").class("nowrap").put(worded(sign, word)))
        .put(whose)
        .put(el("td").attr("data-label", "may").put(may(token)))
        .put(el("td").attr("data-label", "last used").put(last_use(look, row.used)))
        .put(
            el("td")
                .class("nowrap")
                .attr("data-label", if is_open { "ends" } else { "ended" })
                .put(end(look, ends)),
        )
        .put(el("td").put(buttons))
}

/// A sentence with the commands in it as such, instead of the marks around them.
fn coded(text: &str) -> Vec<Element> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts
        .map(|(at, part)| if at % 2 == 1 { el("code").put(part) } else { el("span").put(tied(part)) })
        .collect()
}

/// A day is enough for an end that is not near.
fn end(look: &Look<'_>, at: UnixMillis) -> Element {
    let is_near = (at.0 - look.now.0).abs() < 2 * super::moment::DAY_MS;
    time(at, &if is_near { when(at, look.now) } else { dated(at, look.now) })
}

/// `20 November`, with its year unless it is this one.
fn dated(at: UnixMillis, now: UnixMillis) -> String {
    let year = |at| super::moment::rfc3339(at).chars().take(4).collect::<String>();
    let day = short_day(at);
    if year(at) == year(now) { day } else { format!("{day} {}", year(at)) }
}

/// What it may do, where, and from where.
fn may(token: &Token) -> (Element, Option<Element>) {
    let spec = &token.spec;
    let named: Vec<&str> = spec.scopes.iter().take(SCOPES_NAMED).map(|scope| scope.name()).collect();
    let more = match spec.scopes.len().saturating_sub(SCOPES_NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let all: Vec<&str> = spec.scopes.iter().map(|scope| scope.name()).collect();
    let scopes = el("span").class("mono").attr("title", all.join(", ")).put(named.join(", "));
    let scopes = el("div").put(scopes).put(more);
    let services: Vec<&str> = spec.services.iter().map(hmsops_model::ServiceName::as_str).collect();
    let networks: Vec<String> = spec.networks.iter().map(ToString::to_string).collect();
    let bounds = match (services.is_empty(), networks.is_empty()) {
        (true, true) => "every service, from anywhere".to_owned(),
        (false, true) => format!("{} only, from anywhere", services.join(", ")),
        (true, false) => format!("every service, from {}", networks.join(", ")),
        (false, false) => format!("{} only, from {}", services.join(", "), networks.join(", ")),
    };
    (scopes, Some(el("p").class("muted s").put(bounds)))
}

fn last_use(look: &Look<'_>, used: Option<Used>) -> Vec<Element> {
    let Some(used) = used else { return vec![el("span").class("muted").put("never")] };
    let from = used.from.map(|from| format!("from {from}, ")).unwrap_or_default();
    let count = match used.count {
        1 => "once".to_owned(),
        n => format!("{} times", grouped(n)),
    };
    vec![
        el("span").put(time(used.at, &when(used.at, look.now))),
        el("p").class("muted s").put(format!("{from}{count}")),
    ]
}

/// Where it comes from and how it ended.
fn course(look: &Look<'_>, token: &Token) -> Option<String> {
    let made = match (token.granter, token.follows) {
        (_, Some(old)) => Some(format!("in place of {old}")),
        (Some(granter), None) => Some(format!("made with {granter}")),
        _ => None,
    };
    let followed = token.followed_by.map(|next| format!("{next} takes its place"));
    let revoked = token.revoked.as_ref().map(|revoked| {
        let with = revoked.with.map(|with| format!(" with {with}")).unwrap_or_default();
        let day = dated(revoked.at.wall, look.now);
        format!("revoked{with} by {}, {day}: {}", revoked.by.actor, revoked.reason)
    });
    let parts: Vec<String> = [made, followed, revoked].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
