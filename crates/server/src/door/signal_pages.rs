//! The pages' routes of alerts, tickets and notices, and the forms by which a person acts on them.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use hmsops_control::signal::notice::About;
use hmsops_control::{Command, Event, Signal, State as Known, Transition, Who};
use hmsops_ledger::{Entry, Order};
use hmsops_model::{AlertId, HealId, NoticeId, RuleName, TicketId};
use http::StatusCode;
use serde::Deserialize;

use super::body::{Body, Params, reason};
use super::pages::{Still, draw};
use super::service::accepted;
use super::{Context, Failure, Routes, Scope};
use crate::page::{self, Deed};

/// Entries of the ledger that a page looks through for its own.
const ENTRIES_MAX: usize = 5000;

/// Lines about an alert's rule go on for so long after it is over.
const AFTER_MS: i64 = 2000;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/alerts", Scope::ALERTS_READ, "What fires, what watches and what heals, as a page", alerts)
        .get("/alerts/{id}", Scope::ALERTS_READ, "One alert, as a page", alert)
        .get("/tickets", Scope::STATE_READ, "Tickets, as a page", tickets)
        .get("/tickets/{id}", Scope::STATE_READ, "One ticket, as a page", ticket)
        .get("/notices", Scope::STATE_READ, "Notices, as a page", notices)
        .get("/alerts/{id}/ack", Scope::ALERTS_READ, "The form for it", form_ack)
        .post("/alerts/{id}/ack", Scope::ALERTS_ACK, "Take an alert in hand, by a form", ack)
        .get("/rules/{name}/silence", Scope::ALERTS_READ, "The form for it", form_silence)
        .post("/rules/{name}/silence", Scope::ALERTS_SILENCE, "Silence a rule, by a form", silence)
        .get("/silences/{id}/end", Scope::ALERTS_READ, "The form for it", form_unsilence)
        .post("/silences/{id}/end", Scope::ALERTS_SILENCE, "End a silence, by a form", unsilence)
        .get("/rules/{name}/heal", Scope::ALERTS_READ, "The form for it", form_heal)
        .post("/rules/{name}/heal", Scope::HEAL_REQUEST, "Run a rule's heal, by a form", heal)
        .get("/heals/pause", Scope::STATE_READ, "The form for it", form_pause)
        .post("/heals/pause", Scope::HEAL_PAUSE, "Pause all healing, by a form", pause)
        .get("/heals/resume", Scope::STATE_READ, "The form for it", form_resume)
        .post("/heals/resume", Scope::HEAL_PAUSE, "Let healing go on, by a form", resume)
        .get("/tickets/{id}/close", Scope::STATE_READ, "The form for it", form_close)
        .post("/tickets/{id}/close", Scope::TICKETS_WRITE, "Close a ticket, by a form", close)
        .get("/notices/{id}/retry", Scope::STATE_READ, "The form for it", form_retry)
        .post("/notices/{id}/retry", Scope::ALERTS_SILENCE, "Try a notice again, by a form", retry)
}

async fn alerts(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| Some(page::alerts(look)))
}

async fn tickets(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| Some(page::tickets(look)))
}

async fn notices(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| Some(page::notices(look)))
}

async fn alert(
    State(context): State<Context>,
    Path(id): Path<String>,
    Params(still): Params<Still>,
) -> Result<Response, Failure> {
    let id: AlertId = id.parse()?;
    let about = Course::of_alert(&context.engine.snapshot().state, id);
    let entries = entries(&context, about).await?;
    draw(&context, &still, |look| page::alert(look, id, &entries))
}

async fn ticket(
    State(context): State<Context>,
    Path(id): Path<String>,
    Params(still): Params<Still>,
) -> Result<Response, Failure> {
    let id: TicketId = id.parse()?;
    let about = Course::of_ticket(&context.engine.snapshot().state, id);
    let entries = entries(&context, about).await?;
    draw(&context, &still, |look| page::ticket(look, id, &entries))
}

/// Which lines of the ledger tell of an alert or a ticket.
#[derive(Debug, Default)]
struct Course {
    /// The alert, its rule, and between which moments.
    alert: Option<(AlertId, RuleName, i64, i64)>,
    heals: Vec<HealId>,
    tickets: Vec<TicketId>,
    notices: Vec<NoticeId>,
}

impl Course {
    fn of_alert(state: &Known, id: AlertId) -> Self {
        let signals = &state.signals;
        let Some(alert) = signals.alerts.get(&id) else { return Self::default() };
        let until = alert.ended.as_ref().map_or(i64::MAX, |ended| ended.at.wall.0 + AFTER_MS);
        let heals = signals.heals.values().filter(|heal| heal.alert == Some(id)).map(|heal| heal.id);
        let tickets = signals.tickets.values().filter(|ticket| ticket.alert == Some(id));
        let tickets: Vec<TicketId> = tickets.map(|ticket| ticket.id).collect();
        let is_about = |about: &About| match about {
            About::Alert(alert) => *alert == id,
            About::Ticket(ticket) => tickets.contains(ticket),
            About::Release(_) | About::Glass(_) | About::Test(_) => false,
        };
        let notices = signals.notices.values().filter(|notice| is_about(&notice.about));
        let notices = notices.map(|notice| notice.id).collect();
        let alert = Some((id, alert.rule.clone(), alert.since.wall.0, until));
        Self { alert, heals: heals.collect(), tickets, notices }
    }

    fn of_ticket(state: &Known, id: TicketId) -> Self {
        let Some(ticket) = state.signals.tickets.get(&id) else { return Self::default() };
        let notices = state.signals.notices.values().filter(|notice| notice.about == About::Ticket(id));
        Self {
            alert: None,
            heals: ticket.heal.into_iter().collect(),
            tickets: vec![id],
            notices: notices.map(|notice| notice.id).collect(),
        }
    }

    fn wants(&self, entry: &Entry) -> bool {
        let is = |kind: &str, id: String| entry.subject == format!("{kind}/{id}");
        if self.heals.iter().any(|id| is("heal", id.to_string()))
            || self.tickets.iter().any(|id| is("ticket", id.to_string()))
            || self.notices.iter().any(|id| is("notice", id.to_string()))
        {
            return true;
        }
        let Some((id, rule, since, until)) = &self.alert else { return false };
        if entry.at.0 < *since || entry.at.0 > *until || entry.subject != format!("rule/{rule}") {
            return false;
        }
        // Other series of the same rule have alerts of their own.
        match serde_json::from_value::<Transition>(entry.data.clone()) {
            Ok(Transition::Signal(change)) => match *change {
                Signal::AlertPending { alert, .. }
                | Signal::AlertFired { alert, .. }
                | Signal::AlertEnded { alert, .. }
                | Signal::AlertAcked { alert, .. } => alert == *id,
                _ => true,
            },
            _ => true,
        }
    }
}

/// The ledger's entries of a course, oldest first.
async fn entries(context: &Context, course: Course) -> Result<Vec<Entry>, Failure> {
    let reader = context.ledger.clone();
    let read = tokio::task::spawn_blocking(move || {
        let newest = reader.size();
        let mut found = reader.read(0..newest, Order::NewestFirst, ENTRIES_MAX)?;
        found.retain(|entry| course.wants(entry));
        found.reverse();
        Ok::<_, hmsops_ledger::LedgerError>(found)
    });
    let read = read.await.map_err(|error| Failure::internal(error.to_string()))?;
    read.map_err(|error| Failure::unavailable(format!("cannot read the ledger: {error}")))
}

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    reason: String,
    /// How long a silence lasts.
    #[serde(default, rename = "for")]
    span: String,
    #[serde(default)]
    keep_heal: bool,
}

macro_rules! deed {
    ($name:ident, $form:ident, $path:ident: $id:ty, $deed:expr, $command:expr) => {
        async fn $form(
            State(context): State<Context>,
            Path($path): Path<String>,
        ) -> Result<Response, Failure> {
            let $path: $id = $path.parse()?;
            form(&context, &$deed)
        }

        async fn $name(
            State(context): State<Context>,
            Extension(by): Extension<Who>,
            Path($path): Path<String>,
            Body { value: given, .. }: Body<Given>,
        ) -> Result<Response, Failure> {
            let $path: $id = $path.parse()?;
            act(&context, by, $deed, $command(&given), &given.reason).await
        }
    };
}

deed!(ack, form_ack, id: AlertId, Deed::Ack(id), |_: &Given| Ok(Command::Ack { alert: id }));
deed!(heal, form_heal, name: RuleName, Deed::Heal(name.clone()), |_: &Given| Ok(Command::Heal { rule: name.clone() }));
deed!(unsilence, form_unsilence, id: hmsops_model::SilenceId, Deed::Unsilence(id), |_: &Given| Ok(
    Command::Unsilence { silence: id }
));
deed!(close, form_close, id: TicketId, Deed::CloseTicket(id), |_: &Given| Ok(Command::CloseTicket { ticket: id }));
deed!(retry, form_retry, id: NoticeId, Deed::RetryNotice(id), |_: &Given| Ok(Command::RetryNotice { notice: id }));
deed!(silence, form_silence, name: RuleName, Deed::Silence(name.clone()), |given: &Given| {
    let span = hmsops_config::parse_duration(given.span.trim());
    let span = span.map_err(|error| format!("how long? {}", error.message))?;
    Ok(Command::Silence { rule: name.clone(), span, keep_heal: given.keep_heal })
});

async fn form_pause(State(context): State<Context>) -> Result<Response, Failure> {
    form(&context, &Deed::PauseHeals)
}

async fn form_resume(State(context): State<Context>) -> Result<Response, Failure> {
    form(&context, &Deed::ResumeHeals)
}

async fn pause(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value: given, .. }: Body<Given>,
) -> Result<Response, Failure> {
    act(&context, by, Deed::PauseHeals, Ok(Command::PauseHeals), &given.reason).await
}

async fn resume(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value: given, .. }: Body<Given>,
) -> Result<Response, Failure> {
    act(&context, by, Deed::ResumeHeals, Ok(Command::ResumeHeals), &given.reason).await
}

/// A form does not renew itself.
fn still() -> Still {
    Still { still: Some(String::new()) }
}

/// The form that asks for a reason.
fn form(context: &Context, deed: &Deed) -> Result<Response, Failure> {
    draw(context, &still(), |look| page::deed(look, deed, None))
}

/// Does what a form asks for, and goes back; a refusal stands on the form again.
async fn act(
    context: &Context,
    by: Who,
    deed: Deed,
    command: Result<Command, String>,
    given: &str,
) -> Result<Response, Failure> {
    let refused = match command {
        Err(why) => Some(why),
        Ok(_) if given.trim().is_empty() => Some("a reason is needed: it goes into the ledger".to_owned()),
        Ok(command) => {
            let handled =
                context.engine.submit(Event::Command { command, by, reason: reason(given)? }).await?;
            match handled.refused {
                Some(refusal) => Some(refusal.message),
                None => accepted(handled).map(|_| None)?,
            }
        }
    };
    let Some(why) = refused else { return Ok(Redirect::to(&deed.back()).into_response()) };
    let mut page = draw(context, &still(), |look| page::deed(look, &deed, Some(&why)))?;
    *page.status_mut() = StatusCode::CONFLICT;
    Ok(page)
}
