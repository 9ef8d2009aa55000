//! What may happen next with a release. Each action says what it will do and asks for a reason, on a page of its
//! own that does not renew itself, so that nothing typed is lost.

use std::str::FromStr;

use hmsops_control::state::release::{Phase, Release};
use hmsops_control::{State, sentence};
use hmsops_model::ReleaseId;

use super::Look;
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{link, release_path};

/// The longest reason that is taken, in characters.
const REASON_CHARS_MAX: usize = 500;

/// What a person can do with a release by a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Go to the next step now.
    Promote,
    /// Stay at this step.
    Pause,
    /// Go on.
    Resume,
    /// Take it back.
    Abort,
    /// Let the version be deployed again.
    Undeny,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Promote, Self::Pause, Self::Resume, Self::Abort, Self::Undeny];

    /// As it stands in paths: `promote`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Undeny => "undeny",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Promote => "Go to the next step now",
            Self::Pause => "Pause",
            Self::Resume => "Go on",
            Self::Abort => "Take it back",
            Self::Undeny => "Lift the denial",
        }
    }

    /// Whether it is possible just now.
    fn fits(self, state: &State, release: &Release) -> bool {
        let watched = release.phase == Phase::Watching;
        match self {
            Self::Promote => watched,
            Self::Pause => watched && release.hold.is_none(),
            Self::Resume => watched && release.hold.is_some(),
            Self::Abort => release.phase.is_active(),
            Self::Undeny => state.denied.contains_key(&release.id),
        }
    }

    /// What it will do.
    fn plan(self, release: &Release) -> String {
        let version = &release.spec.image.tag;
        let from = release.from.as_ref().map_or("no version", |from| from.as_str());
        match self {
            Self::Promote => match release.spec.steps.get(release.step + 1) {
                Some(step) => format!(
                    "{version} gets {} of traffic instead of {} at once, without waiting for this step's time.",
                    step.weight, release.weight
                ),
                None => format!("{version} gets all traffic."),
            },
            Self::Pause => format!(
                "{version} stays at {} until someone lets it go on. It is still watched and taken back if it is bad.",
                release.weight
            ),
            Self::Resume => {
                format!("{version} goes on from {}; the step's time begins anew.", release.weight)
            }
            Self::Abort if release.phase == Phase::Starting => {
                format!("{version} is stopped. No user has seen it; {from} goes on.")
            }
            Self::Abort => format!("All traffic goes to {from} at once, and {version} is stopped."),
            Self::Undeny => format!(
                "{version} may be deployed again. It was denied because it was taken back: {}",
                sentence::why(release)
            ),
        }
    }
}

impl FromStr for Verb {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or(())
    }
}

fn path(id: ReleaseId, verb: Verb) -> String {
    format!("{}/{}", release_path(id), verb.as_str())
}

/// What may happen next, as links to their pages.
pub(super) fn offered(release: &Release, look: &Look<'_>) -> Element {
    let state = &look.view.state;
    let verbs = Verb::ALL.into_iter().filter(|verb| verb.fits(state, release));
    let buttons: Vec<Element> = verbs
        .map(|verb| {
            let class = if verb == Verb::Abort { "button danger" } else { "button" };
            link(&path(release.id, verb), &format!("{}…", verb.words())).class(class)
        })
        .collect();
    let denied = state.denied.contains_key(&release.id);
    let words = match (denied, buttons.is_empty(), release.phase) {
        (true, _, _) => {
            Some(format!("{} may not be deployed until someone lifts its denial.", release.spec.image.tag))
        }
        (_, true, _) => Some("Nothing: this release has ended.".into()),
        (_, _, Phase::Watching) if release.hold.is_none() => {
            Some("It goes on by itself while nothing objects.".into())
        }
        _ => None,
    };
    let row = (!buttons.is_empty()).then(|| el("p").class("buttons").put(buttons));
    let section = el("section").class("card").put(el("h2").put("What may happen next"));
    section.put(words.map(|words| el("p").put(words))).put(row)
}

/// The page that asks for a reason and posts it, as form field `reason`, to `/releases/ID/VERB`. `None`: no such
/// release, or it cannot be done just now. `refused` says why an attempt before was not carried out.
pub fn action(look: &Look<'_>, id: ReleaseId, verb: Verb, refused: Option<&str>) -> Option<String> {
    let state = &look.view.state;
    // What was refused may no longer be possible; the page then still says why.
    let release = state.releases.get(&id).filter(|known| refused.is_some() || verb.fits(state, known))?;
    let name = format!("{} {}", release.spec.service, release.spec.image.tag);
    let frame = Frame {
        look: *look,
        path: path(id, verb),
        title: format!("{}: {name}", verb.words()),
        section: "/releases",
        follows: Follows::Nothing,
    };
    let trail = el("p")
        .class("trail")
        .put(link("/releases", "Releases"))
        .put(" / ")
        .put(link(&release_path(id), &format!("{name}, {id}")));
    let reason = el("input")
        .attr("id", "reason")
        .attr("name", "reason")
        .attr("type", "text")
        .attr("maxlength", REASON_CHARS_MAX)
        .attr("autocomplete", "off")
        .attr("aria-describedby", "reason-use")
        .flag("required")
        .flag("autofocus");
    let submit = el("button").attr("type", "submit").class(if verb == Verb::Abort {
        "button danger"
    } else {
        "button strong"
    });
    let form = el("form")
        .attr("method", "post")
        .attr("action", path(id, verb))
        .class("card form")
        .put(el("label").attr("for", "reason").put("Why?"))
        .put(reason)
        .put(
            el("p")
                .class("muted s")
                .attr("id", "reason-use")
                .put("Stands in the ledger with your name, for good."),
        )
        .put(
            el("p")
                .class("buttons")
                .put(submit.put(verb.words()))
                .put(link(&release_path(id), "No, go back").class("button")),
        );
    let refused =
        refused.map(|why| el("p").class("refused").attr("role", "alert").put("Not done: ").put(why));
    let headline = el("h1").put(format!("{}: {name}?", verb.words()));
    Some(frame.wrap(((trail, headline), ((el("p").class("lead").put(verb.plan(release)), refused), form))))
}
