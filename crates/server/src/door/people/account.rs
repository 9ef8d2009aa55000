//! `/hms/v1/accounts`: the few accounts that the tower keeps itself.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use hmsops_control::people::PeopleWish;
use hmsops_model::Scope;
use hmsops_model::person::Role;
use hmsops_wire::api;
use serde::Deserialize;

use super::{password, wished};
use crate::door::body::{Body, Params, needed_reason};
use crate::door::caller::Caller;
use crate::door::{Context, Failure, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/accounts", Scope::TOKENS_ADMIN, "Accounts that the tower keeps itself", list)
        .put(
            "/hms/v1/accounts/{name}",
            Scope::TOKENS_ADMIN,
            "Keep an account, anew or with another password; its log-ins end",
            set,
        )
        .delete("/hms/v1/accounts/{name}", Scope::TOKENS_ADMIN, "Keep it no longer; its log-ins end", remove)
}

async fn list(State(context): State<Context>) -> Json<api::Accounts> {
    let snapshot = context.engine.snapshot();
    let shown = |(name, roles): (&String, &Vec<Role>)| api::Account {
        name: name.clone(),
        roles: roles.iter().map(ToString::to_string).collect(),
    };
    Json(api::Accounts { items: snapshot.state.people.accounts.iter().map(shown).collect() })
}

async fn set(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body { value, .. }: Body<api::NewAccount>,
) -> Result<Json<api::Account>, Failure> {
    let roles: Result<Vec<Role>, _> = value.roles.iter().map(|role| role.parse()).collect();
    let roles =
        roles.map_err(|error: hmsops_model::person::UnknownRole| Failure::argument(error.to_string()))?;
    password::fit(&value.password, &name)?;
    let reason = needed_reason(&value.reason)?;
    // What may take long, or fail because many log in, comes before anything is changed.
    let hash = context.reception.passwords.hash(value.password).await?;
    // Nobody comes in by the old password with the new roles, or the other way round.
    let _nobody_logs_in = context.reception.accounts.write().await;
    let wish = PeopleWish::SetAccount { name: name.clone(), roles: roles.clone() };
    wished(&context, wish, caller.who, reason).await?;
    context.reception.passwords.set(&name, hash)?;
    Ok(Json(api::Account { name, roles: roles.iter().map(ToString::to_string).collect() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    #[serde(default)]
    reason: String,
}

async fn remove(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(why): Params<Why>,
) -> Result<Json<api::Account>, Failure> {
    let reason = needed_reason(&why.reason)?;
    let _nobody_logs_in = context.reception.accounts.write().await;
    let wish = PeopleWish::RemoveAccount { name: name.clone() };
    wished(&context, wish, caller.who, reason).await?;
    context.reception.passwords.remove(&name)?;
    Ok(Json(api::Account { name, roles: Vec::new() }))
}
