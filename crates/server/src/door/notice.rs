//! `/hms/v1/notices`: messages to people, delivered or not.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::signal::notice::{Notice, NoticeEnd};
use hmsops_control::{Command, Signal, Transition, Who};
use hmsops_model::NoticeId;
use hmsops_wire::api;
use serde::Deserialize;

use super::body::{Body, Params, changed, reason};
use super::cursor::{Place, page};
use super::service::carry_out;
use super::{Context, Failure, Routes, Scope, show_signal};

/// The longest name of a receiver in bytes: that of a mail address (RFC 5321, 4.5.3.1.3).
const RECEIVER_BYTES_MAX: usize = 254;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/notices", Scope::STATE_READ, "Notices: given up and waiting ones first", list)
        .post(
            "/hms/v1/notices/{id}/retry",
            Scope::ALERTS_SILENCE,
            "Try a notice again that was given up",
            retry,
        )
        .post("/hms/v1/notices/test", Scope::ALERTS_SILENCE, "Try whether a receiver can be told", test)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    #[serde(default)]
    dead: bool,
    #[serde(default)]
    pending: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::Notices>, Failure> {
    let snapshot = context.engine.snapshot();
    let wanted = |rank: u8| match (params.dead, params.pending) {
        (false, false) => true,
        (dead, pending) => (dead && rank == 0) || (pending && rank == 1),
    };
    let all = snapshot.state.signals.notices.values();
    let found = all.map(|notice| (rank(notice), notice)).filter(|(rank, _)| wanted(*rank));
    let found = found.map(|(rank, notice)| (Place::numbered(rank, notice.id.0), notice)).collect();
    let (found, next) = page(found, params.cursor.as_deref(), params.limit)?;
    let items = found.into_iter().map(|notice| show_signal::notice(snapshot.now, notice)).collect();
    Ok(Json(api::Notices { items, next }))
}

/// Those that were given up come first, then those that wait.
pub(crate) const fn rank(notice: &Notice) -> u8 {
    match notice.ended {
        Some(NoticeEnd::Dead { .. }) => 0,
        None => 1,
        Some(NoticeEnd::Delivered { .. }) => 2,
    }
}

async fn retry(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(id): Path<String>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    let notice: NoticeId = id.parse()?;
    carry_out(&context, Command::RetryNotice { notice }, by, reason(&value.reason)?).await?;
    Ok(changed(is_form, value.next.as_deref(), &one(&context, notice)?))
}

async fn test(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value, .. }: Body<api::Receiver>,
) -> Result<Json<api::Notice>, Failure> {
    let receiver = value.receiver.trim().to_owned();
    if receiver.is_empty()
        || receiver.len() > RECEIVER_BYTES_MAX
        || receiver.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(Failure::argument(format!("`{receiver:.80}` is not a receiver"))
            .hint("name a mail address or a webhook of the settings"));
    }
    let handled = carry_out(&context, Command::TestReceiver { receiver }, by, "a test".to_owned()).await?;
    let id = handled.transitions.iter().find_map(|change| match change {
        Transition::Signal(change) => match **change {
            Signal::NoticeIntended { notice, .. } => Some(notice),
            _ => None,
        },
        _ => None,
    });
    one(&context, id.ok_or_else(|| Failure::internal("no notice was made"))?).map(Json)
}

fn one(context: &Context, id: NoticeId) -> Result<api::Notice, Failure> {
    let snapshot = context.engine.snapshot();
    let notice = snapshot.state.signals.notices.get(&id);
    let notice = notice.ok_or_else(|| Failure::not_found(format!("there is no notice {id}")))?;
    Ok(show_signal::notice(snapshot.now, notice))
}
