//! What waits for somebody's word.

use hmsops_control::headline::{Piece, Sign, release_line};
use hmsops_control::people::{Approval, Matter};
use hmsops_model::ReleaseId;
use hmsops_model::person::Role;

use super::Look;
use super::frame::{ACCESS, Follows, Frame};
use super::html::{Element, el};
use super::mark::{called, class, link, linked, release_path, shape};
use super::moment::{time, when};

/// Things of the page, of each kind.
const ITEMS_MAX: usize = 100;

/// Something that somebody may say yes to, and why whoever looks may not.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// What.
    pub approval: Approval<'a>,
    /// Why not by whoever looks; `None`: they may.
    pub refused: Option<String>,
}

/// The page of what waits for somebody's word.
pub fn approvals(look: &Look<'_>, all: &[Asked<'_>]) -> String {
    let (waiting, denied): (Vec<&Asked<'_>>, Vec<_>) = all.iter().partition(|asked| asked.approval.waits());
    let yours = waiting.iter().filter(|asked| asked.refused.is_none()).count();
    let headline = match (waiting.len(), yours) {
        (0, _) => "Nothing waits for anybody's word.".to_owned(),
        (1, 1) => "1 thing waits for a word, and it may be yours.".to_owned(),
        (1, _) => "1 thing waits for a word, of somebody else.".to_owned(),
        (n, 0) => format!("{n} things wait for a word, of somebody else."),
        (n, yours) => format!("{n} things wait for a word; {yours} of them may be yours."),
    };
    let words = "To say yes takes a role that may, a person who has shown within five minutes who they are, and for some \
                 things another person than the one whose wish it is. A token does not say yes.";
    let list = (!waiting.is_empty()).then(|| items(look, &waiting));
    let denied = (!denied.is_empty()).then(|| {
        let words =
            "Versions that were taken back. Nothing waits: they stay where they are until somebody lifts it.";
        el("section")
            .put(el("h2").put("May not be deployed again"))
            .put(el("p").class("muted s").put(words))
            .put(items(look, &denied))
    });
    let frame = Frame {
        look: *look,
        path: ACCESS.into(),
        title: "Approvals".into(),
        section: ACCESS,
        follows: Follows::Everything,
    };
    let head = (el("h1").put(headline), el("p").class("lead muted").put(words));
    frame.wrap((head, (list.map(|list| el("section").put(el("h2").put("By age")).put(list)), denied)))
}

fn items(look: &Look<'_>, all: &[&Asked<'_>]) -> Element {
    let list =
        all.iter().take(ITEMS_MAX).fold(el("ul").class("alerts"), |list, asked| list.put(item(look, asked)));
    let more = all.len().saturating_sub(ITEMS_MAX);
    list.put((more > 0).then(|| el("li").class("muted").put(format!("and {more} more"))))
}

fn item(look: &Look<'_>, asked: &Asked<'_>) -> Element {
    let approval = &asked.approval;
    let (sign, said, path, words) = course(look, approval.matter);
    let head = el("header").put(el("h3").put(shape(sign)).put(" ").put(linked(said)));
    let who = approval
        .asked
        .map(|who| el("div").put(el("dt").put("whose wish")).put(el("dd").put(called(&who.actor))));
    let since = approval
        .since
        .map(|at| el("div").put(el("dt").put("since")).put(el("dd").put(time(at, &when(at, look.now)))));
    let roles: Vec<&str> = approval.matter.roles().map(Role::name).collect();
    let other = if approval.by_other { ", another person" } else { "" };
    let may =
        el("div").put(el("dt").put("who may")).put(el("dd").put(format!("{}{other}", roles.join(", "))));
    let facts = el("dl").class("parts s").put(who).put(since).put(may);
    let end = match &asked.refused {
        None => el("p").class("buttons").put(link(&path, words).class("button strong")),
        Some(why) => {
            el("p").class("muted s").put("Not by you: ").put(why.as_str()).put(". ").put(link(&path, "Look"))
        }
    };
    el("li").class(format!("card {}", class(sign))).put(head).put(facts).put(end)
}

/// How it stands, what it is, where it is said, and what the button says.
fn course(look: &Look<'_>, matter: Matter) -> (Sign, Vec<Piece>, String, &'static str) {
    let state = &look.view.state;
    let release = |id: ReleaseId| {
        let known = state.releases.get(&id).map(release_line);
        known.unwrap_or_else(|| vec![Piece::Text(format!("{id} is long ago."))])
    };
    match matter {
        Matter::NoReturn(id) => (
            Sign::UnderWatch,
            release(id),
            format!("{}/promote", release_path(id)),
            "Let it go past the point of no return…",
        ),
        Matter::Inconclusive(id) => (Sign::UnderWatch, release(id), release_path(id), "Look, and decide…"),
        Matter::Denial(id) => {
            let said = state.denied.get(&id).map(|denial| {
                vec![
                    Piece::Release(id, format!("{} {}", denial.service, denial.version)),
                    Piece::Text(" was taken back.".into()),
                ]
            });
            let said = said.unwrap_or_else(|| release(id));
            (Sign::Unknown, said, format!("{}/undeny", release_path(id)), "Lift the denial…")
        }
        Matter::Glass(id) => {
            let glass = state.people.glasses.get(&id);
            let is_broken = glass.is_some_and(|glass| glass.is_in_force(look.now));
            let by = glass.map(|glass| called(&glass.by.actor)).unwrap_or_default();
            let why = glass.map(|glass| glass.reason.clone()).unwrap_or_default();
            let text =
                format!("{id}: {by} broke the glass, and nobody has looked yet at what was done. Why: {why}");
            let sign = if is_broken { Sign::Failing } else { Sign::UnderWatch };
            (sign, vec![Piece::Text(text)], format!("/breakglass#{id}"), "Look at what was done…")
        }
    }
}
