//! `/hms/v1/tickets`: what a person has to do because the machine could not.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::signal::ticket::Ticket;
use hmsops_control::{Command, Who};
use hmsops_model::TicketId;
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use serde::Deserialize;

use super::body::{Body, Params, changed, needed_reason};
use super::cursor::{Place, page};
use super::service::carry_out;
use super::{Context, Failure, Routes, Scope, show_signal};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/tickets", Scope::STATE_READ, "Tickets, open ones first", list)
        .get(
            "/hms/v1/tickets/{id}",
            Scope::STATE_READ,
            "One ticket: what was tried and what it printed",
            show_one,
        )
        .post("/hms/v1/tickets/{id}/close", Scope::TICKETS_WRITE, "Say that a ticket is done", close)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    #[serde(default)]
    open: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::Tickets>, Failure> {
    let snapshot = context.engine.snapshot();
    let all = snapshot.state.signals.tickets.values();
    let wanted = all.filter(|ticket| !params.open || ticket.closed.is_none());
    let place = |ticket: &Ticket| Place::numbered(ticket.closed.is_some().into(), ticket.id.0);
    let found = wanted.map(|ticket| (place(ticket), ticket)).collect();
    let (found, next) = page(found, params.cursor.as_deref(), params.limit)?;
    Ok(Json(api::Tickets { items: found.into_iter().map(show_signal::ticket).collect(), next }))
}

async fn show_one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<api::Ticket>, Failure> {
    find(&context.engine.snapshot(), id.parse()?).map(show_signal::ticket).map(Json)
}

async fn close(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(id): Path<String>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    let ticket: TicketId = id.parse()?;
    carry_out(&context, Command::CloseTicket { ticket }, by, needed_reason(&value.reason)?).await?;
    let snapshot = context.engine.snapshot();
    Ok(changed(is_form, value.next.as_deref(), &show_signal::ticket(find(&snapshot, ticket)?)))
}

fn find(snapshot: &Snapshot, id: TicketId) -> Result<&Ticket, Failure> {
    let tickets = &snapshot.state.signals.tickets;
    tickets.get(&id).ok_or_else(|| {
        let newest = tickets.keys().next_back();
        let hint = newest.map_or_else(|| "there is none yet".into(), |id| format!("the newest is {id}"));
        Failure::not_found(format!("there is no ticket {id}")).hint(hint)
    })
}
