//! What may happen next with a release. Each action says what it will do and asks for a reason, on a page of its
//! own that does not renew itself, so that nothing typed is lost.

use std::str::FromStr;

use hmsops_control::state::release::{Phase, Release};
use hmsops_control::transition::HoldReason;
use hmsops_control::{State, freeze, frozen, sentence};
use hmsops_model::{ReleaseId, Weight};

use super::Look;
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{link, release_path};
use super::proof::fellows;

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

    /// What its button says, for a release as it stands.
    fn words(self, look: &Look<'_>, release: &Release) -> &'static str {
        match self {
            Self::Promote if !parting(look, release).is_empty() => "Go past the point of no return",
            Self::Promote if thaw(look, release).is_some() => "Go on in the freeze",
            Self::Promote if release.is_bad_and_stays() => "Go on although it is bad",
            Self::Promote => "Go to the next step now",
            Self::Pause => "Pause",
            Self::Resume => "Let it go on",
            Self::Abort => "Take it back",
            Self::Undeny => "Lift the denial",
        }
    }

    /// Whether it is possible just now.
    fn fits(self, state: &State, release: &Release) -> bool {
        let watched = release.phase == Phase::Watching;
        let hold = release.hold.as_ref().map(|(why, _)| why).filter(|_| release.phase.is_active());
        match self {
            Self::Promote => release.phase != Phase::Baking && (watched || hold.is_some()),
            Self::Pause => watched && hold.is_none_or(HoldReason::ends_by_itself),
            Self::Resume => match hold {
                None | Some(HoldReason::Irreversible | HoldReason::Freeze { .. }) => false,
                Some(HoldReason::NoReturn { .. }) => release.phase == Phase::Baking,
                Some(_) => true,
            },
            Self::Abort => release.phase.is_active(),
            Self::Undeny => state.denied.contains_key(&release.id),
        }
    }

    /// What it will do.
    fn plan(self, look: &Look<'_>, release: &Release) -> String {
        let version = &release.spec.image.tag;
        let from = release.from.as_ref().map_or("no version", |from| from.as_str());
        let plan = match self {
            Self::Promote => next_step(release),
            Self::Pause => format!(
                "{version} stays at {} until someone lets it go on. It is still watched and taken back if it is bad.",
                release.weight
            ),
            Self::Resume if release.phase == Phase::Baking => {
                format!(
                    "{version} is kept, although it was found to be bad: it counts as proven from then on."
                )
            }
            Self::Resume => {
                format!("{version} goes on from {}; the step's time begins anew.", release.weight)
            }
            Self::Abort if release.weight_max == Weight::NONE => {
                format!("{version} is stopped. No user has seen it; {from} goes on.")
            }
            Self::Abort if release.is_past_return() => format!(
                "All traffic goes to {from} at once, and {version} is stopped. It was declared irreversible: what it \
                 has changed already stays changed, and {from} has to cope with it."
            ),
            Self::Abort => format!("All traffic goes to {from} at once, and {version} is stopped."),
            Self::Undeny => format!(
                "{version} may be deployed again. It was denied because it was taken back: {}",
                sentence::why(release)
            ),
        };
        let with: Vec<String> = match self {
            Self::Promote | Self::Abort => moved_with(&look.view.state, release).map(name).collect(),
            _ => Vec::new(),
        };
        let verb = if self == Self::Abort { "back" } else { "on" };
        let with = (!with.is_empty()).then(|| format!(" Together with it goes {verb}: {}.", with.join(", ")));
        format!("{plan}{}", with.unwrap_or_default())
    }
}

/// `csac-portal 1.8.0`.
fn name(release: &Release) -> String {
    format!("{} {}", release.spec.service, release.spec.image.tag)
}

/// What the step that comes next means.
fn next_step(release: &Release) -> String {
    let version = &release.spec.image.tag;
    let next = release.next_share();
    let instead = match release.weight {
        Weight::NONE => String::new(),
        weight => format!(" instead of {weight}"),
    };
    if next < Weight::ALL {
        return format!(
            "{version} gets {next} of traffic{instead} at once, without waiting for this step's time."
        );
    }
    match &release.from {
        Some(from) => format!(
            "{version} gets all traffic{instead} at once; {from} stays warm for {}.",
            release.spec.bake
        ),
        None => format!("{version} gets all traffic at once."),
    }
}

/// Those that a person's word moves together with a release.
fn moved_with<'a>(state: &'a State, release: &'a Release) -> impl Iterator<Item = &'a Release> {
    fellows(state, release).filter(|fellow| fellow.phase.is_active())
}

/// The releases that the next step brings past their point of no return: someone has to say so.
fn parting<'a>(look: &Look<'a>, release: &'a Release) -> Vec<&'a Release> {
    let parts = |release: &&Release| release.needs_person(release.next_share()) && release.from.is_some();
    let state = &look.view.state;
    std::iter::once(release).chain(moved_with(state, release)).filter(parts).collect()
}

/// Whether a person has to say yes to a point of no return before a release goes to its next step.
pub fn needs_consent(look: &Look<'_>, id: ReleaseId) -> bool {
    look.view.state.releases.get(&id).is_some_and(|release| !parting(look, release).is_empty())
}

/// The freeze that a release would have to go on in, in words.
fn thaw(look: &Look<'_>, release: &Release) -> Option<String> {
    let view = look.view;
    let all = std::iter::once(release).chain(moved_with(&view.state, release));
    let mut frozen = all.filter_map(|release| frozen(&view.state, &view.evidence, view.now, release));
    frozen.next().map(|frozen| freeze::words(frozen.until, frozen.because.as_deref()))
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
            link(&path(release.id, verb), &format!("{}…", verb.words(look, release))).class(class)
        })
        .collect();
    let denied = state.denied.contains_key(&release.id);
    let words = match (denied, buttons.is_empty(), &release.hold) {
        (true, _, _) => {
            Some(format!("{} may not be deployed until someone lifts its denial.", release.spec.image.tag))
        }
        (_, true, _) => Some("Nothing: this release has ended.".into()),
        (_, _, Some((why, _))) => Some(ends(why).to_owned()),
        (_, _, None) => match release.phase {
            Phase::Watching => Some("It goes on by itself while nothing objects.".into()),
            Phase::Starting => Some("It gets its first share by itself once its probes pass.".into()),
            _ => Some("It counts as proven by itself when its time is over.".into()),
        },
    };
    let row = (!buttons.is_empty()).then(|| el("p").class("buttons").put(buttons));
    let section = el("section").class("card").put(el("h2").put("What may happen next"));
    section.put(words.map(|words| el("p").put(words))).put(row)
}

/// What ends a hold.
const fn ends(why: &HoldReason) -> &'static str {
    match why {
        HoldReason::Freeze { .. } => "It goes on by itself when the freeze is over.",
        HoldReason::BothFail { .. } => "It goes on by itself when both versions pass again.",
        HoldReason::Capacity { .. } => {
            "It goes on by itself once the new version takes that much, or there is less traffic."
        }
        HoldReason::Irreversible => {
            "It waits for a person: after the next step nothing takes it back by itself."
        }
        HoldReason::NoReturn { .. } => {
            "It waits for a person, who knows what it has changed: take it back, or deploy a fix."
        }
        _ => "It waits for a person. It is still watched, and taken back if it is bad.",
    }
}

/// The page that asks for a reason and posts it, as form field `reason`, to `/releases/ID/VERB`; where a freeze or a
/// point of no return is in the way, also for a word on that, as `override_freeze` and `no_return`. `None`: no such
/// release, or it cannot be done just now. `refused` says why an attempt before was not carried out.
pub fn action(look: &Look<'_>, id: ReleaseId, verb: Verb, refused: Option<&str>) -> Option<String> {
    let state = &look.view.state;
    // What was refused may no longer be possible; the page then still says why.
    let release = state.releases.get(&id).filter(|known| refused.is_some() || verb.fits(state, known))?;
    let name = name(release);
    let words = verb.words(look, release);
    let frame = Frame {
        look: *look,
        path: path(id, verb),
        title: format!("{words}: {name}"),
        section: "/releases",
        follows: Follows::Nothing,
    };
    let trail = el("p")
        .class("trail")
        .put(link("/releases", "Releases"))
        .put(" / ")
        .put(link(&release_path(id), &format!("{name}, {id}")));
    let is_danger = verb == Verb::Abort || verb == Verb::Promote && !parting(look, release).is_empty();
    let submit = if is_danger { "button danger" } else { "button strong" };
    let form = el("form")
        .attr("method", "post")
        .attr("action", path(id, verb))
        .class("card form")
        .put((verb == Verb::Promote).then(|| consents(look, release)))
        .put(el("label").attr("for", "reason").put("Why?"))
        .put(reason())
        .put(
            el("p")
                .class("muted s")
                .attr("id", "reason-use")
                .put("Stands in the ledger with your name, for good."),
        )
        .put(
            el("p")
                .class("buttons")
                .put(el("button").attr("type", "submit").class(submit).put(words))
                .put(link(&release_path(id), "No, go back").class("button")),
        );
    let refused =
        refused.map(|why| el("p").class("refused").attr("role", "alert").put("Not done: ").put(why));
    let headline = el("h1").put(format!("{words}: {name}?"));
    let now = (verb != Verb::Undeny)
        .then(|| el("p").class("muted lead").put("Now: ").put(sentence::headline(release)));
    let plan = el("p").class("lead").put(verb.plan(look, release));
    Some(frame.wrap(((trail, headline), ((plan, now), (refused, form)))))
}

fn reason() -> Element {
    el("input")
        .attr("id", "reason")
        .attr("name", "reason")
        .attr("type", "text")
        .attr("maxlength", REASON_CHARS_MAX)
        .attr("autocomplete", "off")
        .attr("aria-describedby", "reason-use")
        .flag("required")
        .flag("autofocus")
}

/// What has to be said yes to besides, a box each.
fn consents(look: &Look<'_>, release: &Release) -> Vec<Element> {
    let check = |name: &'static str, words: String| {
        let input =
            el("input").attr("type", "checkbox").attr("name", name).attr("value", "true").flag("required");
        el("label").class("check").put(input).put(el("span").put(words))
    };
    let frozen = thaw(look, release)
        .map(|words| check("override_freeze", format!("Although nothing new goes out {words}")));
    let parting: Vec<String> = parting(look, release).into_iter().map(name).collect();
    let parting = (!parting.is_empty()).then(|| {
        let words = format!(
            "There is no way back for {} from there on, and I know what that means",
            parting.join(", ")
        );
        check("no_return", words)
    });
    frozen.into_iter().chain(parting).collect()
}
