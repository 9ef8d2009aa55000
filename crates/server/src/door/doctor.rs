//! `GET /hms/v1/doctor`: what is not as it should be with this installation.

use axum::Json;
use axum::extract::State;
use hmsops_wire::api;

use super::{Context, Failure, Routes, Scope};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/hms/v1/doctor",
        Scope::AUDIT_READ,
        "What is not as it should be with this installation: folder, disk, clock, listeners, tokens, gateways",
        examine,
    )
}

async fn examine(State(context): State<Context>) -> Result<Json<api::Examination>, Failure> {
    crate::doctor::tower(&context).await.map(Json)
}
