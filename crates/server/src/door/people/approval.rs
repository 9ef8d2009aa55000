//! `/hms/v1/approvals`: what waits for somebody's word, and whether it may be that of whoever asks. Who is known here.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::people::{Approval, approvals};
use hmsops_ledger::moment::rfc3339;
use hmsops_model::{Scope, UnixMillis};
use hmsops_tower::Snapshot;
use hmsops_wire::api;

use crate::door::body::Params;
use crate::door::caller::Caller;
use crate::door::pages::{Still, draw};
use crate::door::{Context, Failure, Routes};
use crate::page;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/hms/v1/approvals",
            Scope::STATE_READ,
            "What waits for somebody's word, the longest first",
            list,
        )
        .get("/approvals", Scope::STATE_READ, "What waits for somebody's word, as a page", as_page)
        .get("/people", Scope::TOKENS_ADMIN, "Who is known here, and the accounts, as a page", people)
}

/// Why whoever asks may not say yes; `None`: they may.
fn refused(snapshot: &Snapshot, caller: &Caller, now: UnixMillis, approval: &Approval<'_>) -> Option<String> {
    let scope = approval.matter.scope();
    if let Err(failure) = caller.needs(scope).and_then(|()| caller.may_approve()) {
        return Some(failure.detail().to_owned());
    }
    approval.may(&snapshot.state, now, &caller.who).err().map(|refusal| refusal.message)
}

async fn list(State(context): State<Context>, Extension(caller): Extension<Caller>) -> Json<api::Approvals> {
    let (snapshot, now) = (context.engine.snapshot(), context.clock.now().wall);
    let shown = |approval: Approval<'_>| {
        let refused = refused(&snapshot, &caller, now, &approval);
        api::Approval {
            kind: approval.matter.name().into(),
            subject: approval.matter.subject(),
            waits: approval.waits(),
            asked_by: approval.asked.map(|who| who.actor.clone()),
            since: approval.since.map(rfc3339),
            scope: approval.matter.scope().to_string(),
            roles: approval.matter.roles().map(|role| role.name().to_owned()).collect(),
            by_other: approval.by_other,
            yours: refused.is_none(),
            refused,
        }
    };
    Json(api::Approvals {
        items: approvals(&snapshot.state, &snapshot.evidence).into_iter().map(shown).collect(),
    })
}

async fn as_page(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Params(still): Params<Still>,
) -> Result<Response, Failure> {
    draw(&context, &still, |look| {
        let asked = approvals(&look.view.state, &look.view.evidence).into_iter().map(|approval| {
            page::Asked { approval, refused: refused(look.view, &caller, look.now, &approval) }
        });
        Some(page::approvals(look, &asked.collect::<Vec<_>>()))
    })
}

async fn people(State(context): State<Context>) -> Result<Response, Failure> {
    draw(&context, &Still { still: Some(String::new()) }, |look| Some(page::people(look)))
}
