//! Whose glass is broken, and what waits for a review.

use hmsops_control::headline::Sign;
use hmsops_control::people::Glass;

use super::Look;
use super::alerts::table;
use super::frame::{ACCESS, Follows, Frame};
use super::html::{Element, el};
use super::login::query;
use super::mark::{called, link, prose, worded};
use super::moment::{time, when};

/// Uses of the page.
const ROWS_MAX: usize = 200;

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
    let told = hmsops_control::told_of_glass(&look.view.state, &look.view.evidence);
    let told = if told.is_empty() {
        " Nobody is told by a message: the settings name nobody (`people: {notify: …}`).".to_owned()
    } else {
        format!(" Told by a message: {}.", told.join(", "))
    };
    let lead = el("p").class("lead muted").put(words).put(prose(&told));
    let list = (!all.is_empty()).then(|| {
        let body: Vec<Element> = all.iter().take(ROWS_MAX).map(|glass| glass_row(look, glass)).collect();
        let columns = ["use", "who, why", "broken", "rights end", "review"];
        table("Uses of the break-glass", &columns, el("tbody").put(body))
    });
    let frame = Frame {
        look: *look,
        path: "/breakglass".into(),
        title: "Break-glass".into(),
        section: ACCESS,
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
            .put(format!("{}: {}", called(&said.by.actor), said.reason))
            .put(el("p").class("muted s").put(time(said.at.wall, &when(said.at.wall, look.now)))),
        None => el("td").put(
            el("form")
                .attr("method", "post")
                .attr("action", format!("/hms/v1/breakglass/{}/review", glass.id))
                .class("small")
                .put(el("input").attr("type", "hidden").attr("name", "next").attr("value", "/breakglass"))
                .put(reason(&format!("review-{}", glass.id), "What was done with it?"))
                .put(el("button").attr("type", "submit").class("button").put("I have looked at it")),
        ),
    };
    let until = glass.ended.as_ref().map_or(glass.until, |ended| ended.at.wall);
    el("tr")
        .attr("id", glass.id.to_string())
        .put(el("th").attr("scope", "row").put(glass.id.to_string()).put(" ").put(worded(sign, word)))
        .put(
            el("td")
                .class("prose")
                .put(el("b").put(called(&glass.by.actor)))
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
                .put(time(until, &when(until, look.now)))
                .put(glass.is_in_force(look.now).then(|| give_back(glass))),
        )
        .put(review)
}

fn give_back(glass: &Glass) -> Element {
    el("form")
        .attr("method", "post")
        .attr("action", format!("/hms/v1/breakglass/{}/end", glass.id))
        .class("small")
        .put(el("input").attr("type", "hidden").attr("name", "next").attr("value", "/breakglass"))
        .put(el("button").attr("type", "submit").class("button").put(format!("Give {} back", glass.id)))
}

/// What every page says while a use of the break-glass waits for somebody; `None`: none does.
pub(super) fn banner(look: &Look<'_>) -> Option<Element> {
    let open: Vec<&Glass> =
        look.view.state.people.glasses.values().filter(|glass| glass.reviewed.is_none()).collect();
    let first = open.iter().find(|glass| glass.is_in_force(look.now)).or(open.first())?;
    let (id, by, why) = (first.id, called(&first.by.actor), &first.reason);
    let words = if first.is_in_force(look.now) {
        format!("The glass is broken ({id}), by {by}: {why}")
    } else {
        format!("{id} waits for another person to look at what was done with the broken glass: {why}")
    };
    Some(
        el("p")
            .class("refused wide")
            .attr("role", "status")
            .put(words)
            .put(" ")
            .put(link("/breakglass", "Look")),
    )
}
