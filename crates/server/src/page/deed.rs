//! What a person can do about alerts, heals, tickets and notices. As with releases each deed says what it will do
//! and asks for a reason on a page of its own, which does not renew itself, so that nothing typed is lost.

use hmsops_control::State;
use hmsops_control::signal::notice::NoticeEnd;
use hmsops_model::{AlertId, NoticeId, RuleName, SilenceId, TicketId};

use super::Look;
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{alert_path, link, rule_path, ticket_path};

/// The longest reason that is taken, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Something that a person does by a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Take an alert in hand.
    Ack(AlertId),
    /// Keep a rule's alerts quiet for a while.
    Silence(RuleName),
    /// End a silence.
    Unsilence(SilenceId),
    /// Run a rule's heal now.
    Heal(RuleName),
    /// Heal nothing from now on.
    PauseHeals,
    /// Heal again.
    ResumeHeals,
    /// A ticket is done.
    CloseTicket(TicketId),
    /// Try a notice again.
    RetryNotice(NoticeId),
}

impl Deed {
    /// Where its form is, and where it is sent to.
    pub fn path(&self) -> String {
        match self {
            Self::Ack(id) => format!("{}/ack", alert_path(*id)),
            Self::Silence(rule) => format!("{}/silence", rule_path(rule)),
            Self::Unsilence(id) => format!("/silences/{id}/end"),
            Self::Heal(rule) => format!("{}/heal", rule_path(rule)),
            Self::PauseHeals => "/heals/pause".into(),
            Self::ResumeHeals => "/heals/resume".into(),
            Self::CloseTicket(id) => format!("{}/close", ticket_path(*id)),
            Self::RetryNotice(id) => format!("/notices/{id}/retry"),
        }
    }

    /// The page to go to afterwards.
    pub fn back(&self) -> String {
        match self {
            Self::Ack(id) => alert_path(*id),
            Self::CloseTicket(id) => ticket_path(*id),
            Self::RetryNotice(_) => "/notices".into(),
            _ => "/alerts".into(),
        }
    }

    const fn words(&self) -> &'static str {
        match self {
            Self::Ack(_) => "Take it in hand",
            Self::Silence(_) => "Silence it",
            Self::Unsilence(_) => "End the silence",
            Self::Heal(_) => "Heal now",
            Self::PauseHeals => "Pause all healing",
            Self::ResumeHeals => "Let healing go on",
            Self::CloseTicket(_) => "Close it",
            Self::RetryNotice(_) => "Try again",
        }
    }

    /// What is done to what: `Silence photo_error_spike`.
    fn title(&self, state: &State) -> String {
        let rule = |id: &AlertId| state.signals.alerts.get(id).map(|alert| alert.rule.to_string());
        match self {
            Self::Ack(id) => format!("Take {} in hand", rule(id).unwrap_or_else(|| id.to_string())),
            Self::Silence(rule) => format!("Silence {rule}"),
            Self::Unsilence(id) => {
                let of = state.signals.silences.get(id).map(|silence| silence.rule.as_str());
                format!("End the silence of {}", of.unwrap_or("a rule"))
            }
            Self::Heal(rule) => format!("Heal {rule} now"),
            Self::CloseTicket(id) => format!("Close {id}"),
            Self::RetryNotice(id) => format!("Try {id} again"),
            Self::PauseHeals | Self::ResumeHeals => self.words().to_owned(),
        }
    }

    /// What it will do; `None`: it cannot be done just now.
    fn plan(&self, state: &State) -> Option<String> {
        let signals = &state.signals;
        Some(match self {
            Self::Ack(id) => {
                let alert =
                    signals.alerts.get(id).filter(|alert| alert.is_firing() && alert.acked.is_none())?;
                format!(
                    "Everyone sees that you have {} in hand. It goes on firing; its heal is not held.",
                    alert.rule
                )
            }
            Self::Silence(rule) => {
                let is_policy = signals.policies.values().any(|policy| policy.spec.metric == rule.as_str());
                if !is_policy && !signals.rules.contains_key(rule) {
                    return None;
                }
                "Nobody is told, and nothing heals by itself unless you say so. Detectors of releases stay on. \
                 It ends by itself."
                    .into()
            }
            Self::Unsilence(id) => {
                let silence = signals.silences.get(id).filter(|silence| silence.ended.is_none())?;
                format!("{} tells and heals again at once.", silence.rule)
            }
            Self::Heal(rule) => {
                let action = signals.rules.get(rule)?.spec.heal.as_ref()?;
                if signals.heals_paused.is_some() || signals.heal_of(action.service()).is_some() {
                    return None;
                }
                format!("`{action}` runs at once.")
            }
            Self::PauseHeals if signals.heals_paused.is_some() => return None,
            Self::PauseHeals => {
                "No rule heals anything by itself until someone lets it go on. What runs already ends \
                 by itself. Releases are watched and taken back all the same."
                    .into()
            }
            Self::ResumeHeals if signals.heals_paused.is_none() => return None,
            Self::ResumeHeals => "Rules that fire heal again, those that fire now at once.".into(),
            Self::CloseTicket(id) => {
                let ticket = signals.tickets.get(id).filter(|ticket| ticket.closed.is_none())?;
                format!("Say what was done. From then on {} may be healed by itself again.", ticket.service)
            }
            Self::RetryNotice(id) => {
                let notice = signals.notices.get(id)?;
                if !matches!(notice.ended, Some(NoticeEnd::Dead { .. })) {
                    return None;
                }
                format!("{} is told once more: {}", notice.receiver, notice.subject)
            }
        })
    }

    const fn is_danger(&self) -> bool {
        matches!(self, Self::Silence(_) | Self::PauseHeals)
    }

    const fn section(&self) -> (&'static str, &'static str) {
        match self {
            Self::CloseTicket(_) => ("/tickets", "Tickets"),
            Self::RetryNotice(_) => ("/notices", "Notices"),
            _ => ("/alerts", "Alerts"),
        }
    }
}

/// The link to a deed's page, if it is possible just now.
pub(super) fn button(look: &Look<'_>, deed: &Deed) -> Option<Element> {
    deed.plan(&look.view.state)?;
    let class = if matches!(deed, Deed::PauseHeals) { "button danger" } else { "button" };
    Some(link(&deed.path(), &format!("{}…", deed.words())).class(class))
}

/// The page that asks for a reason. `None`: it cannot be done just now. `refused` says why an attempt before was
/// not carried out.
pub fn deed(look: &Look<'_>, deed: &Deed, refused: Option<&str>) -> Option<String> {
    let state = &look.view.state;
    let plan = deed.plan(state);
    // What was refused may no longer be possible; the page then still says why.
    if plan.is_none() && refused.is_none() {
        return None;
    }
    let title = deed.title(state);
    let (section, name) = deed.section();
    let frame = Frame {
        look: *look,
        path: deed.path(),
        title: title.clone(),
        section: "/alerts",
        follows: Follows::Nothing,
    };
    let trail = el("p").class("trail").put(link(section, name));
    let submit = if deed.is_danger() { "button danger" } else { "button strong" };
    let form = el("form")
        .attr("method", "post")
        .attr("action", deed.path())
        .class("card form")
        .put(matches!(deed, Deed::Silence(_)).then(span))
        .put(el("label").attr("for", "reason").put("Why?"))
        .put(input("reason", REASON_CHARS_MAX).attr("aria-describedby", "reason-use").flag("autofocus"))
        .put(
            el("p")
                .class("muted s")
                .attr("id", "reason-use")
                .put("Stands in the ledger with your name, for good."),
        )
        .put(
            el("p")
                .class("buttons")
                .put(el("button").attr("type", "submit").class(submit).put(deed.words()))
                .put(link(&deed.back(), "No, go back").class("button")),
        );
    let refused =
        refused.map(|why| el("p").class("refused").attr("role", "alert").put("Not done: ").put(why));
    let plan = plan.map(|plan| el("p").class("lead").put(plan));
    Some(frame.wrap(((trail, el("h1").put(format!("{title}?"))), ((plan, refused), form))))
}

fn input(name: &'static str, most: usize) -> Element {
    el("input")
        .attr("id", name)
        .attr("name", name)
        .attr("type", "text")
        .attr("maxlength", most)
        .attr("autocomplete", "off")
        .flag("required")
}

/// How long a silence lasts, and whether it heals all the same.
fn span() -> (Element, Element) {
    let span = el("div")
        .put(el("label").attr("for", "for").put("For how long?"))
        .put(input("for", 20).attr("value", "2h").attr("aria-describedby", "for-use"))
        .put(el("p").class("muted s").attr("id", "for-use").put("15m, 2h, 1d; at most 30 days."));
    let keep = el("input").attr("type", "checkbox").attr("name", "keep_heal").attr("value", "true");
    (span, el("label").class("check").put(keep).put("Heal all the same"))
}
