//! `/-/healthy`, `/-/ready` and `/metrics`: for supervisors and monitors, without a token.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::{Access, Context, Doors, Failure, Routes, metrics};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/-/healthy", Access::Open, "Whether the program runs", healthy)
        .get("/-/ready", Access::Open, "Whether the tower takes changes", ready)
        .get("/metrics", Access::Open, "Its own metrics, text exposition format", measured)
}

async fn healthy() -> &'static str {
    "the tower runs\n"
}

async fn ready(State(context): State<Context>) -> Result<&'static str, Failure> {
    match &context.engine.snapshot().ledger_failed {
        None => Ok("the tower takes changes\n"),
        Some(_) => Err(Failure::unavailable("the ledger takes nothing, so nothing advances")),
    }
}

async fn measured(State(doors): State<Doors>) -> Response {
    let context = &doors.context;
    let stats = context.metrics.stats().await;
    let text = metrics::exposition(
        (&context.engine.snapshot(), &context.metrics, &stats),
        &doors.meters,
        context.auth.bounds(),
    );
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
