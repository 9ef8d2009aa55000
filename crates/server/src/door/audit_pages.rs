//! The pages' routes of the ledger: searched, read, checked.

use axum::extract::{Path, State};
use axum::response::Response;
use hmsops_ledger::tree::leaf_hash;
use serde::Deserialize;

use super::audit::{Found, Wanted, find, search, verify_now};
use super::body::Params;
use super::pages::{Still, draw};
use super::{Context, Failure, Routes, Scope};
use crate::page::{self, AuditFilter, AuditPage};

/// Entries on a page of the list.
const PAGE: usize = 100;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/audit", Scope::AUDIT_READ, "The ledger, as a page", list)
        .get("/audit/check", Scope::AUDIT_READ, "Whether the ledger is whole, as a page", check)
        .get("/audit/{id}", Scope::AUDIT_READ, "One entry of the ledger, as a page", entry)
}

#[derive(Deserialize)]
struct ListParams {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    release: String,
    #[serde(default)]
    control: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    cursor: Option<u64>,
    still: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Response, Failure> {
    let (cursor, still) = (params.cursor, Still { still: params.still });
    let tidy = |text: String| text.trim().to_owned();
    let filter = AuditFilter {
        kind: tidy(params.kind),
        service: tidy(params.service),
        actor: tidy(params.actor),
        subject: tidy(params.subject),
        release: tidy(params.release),
        control: tidy(params.control),
        from: tidy(params.from),
        to: tidy(params.to),
    };
    let asked = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let wanted = Wanted {
        actor: asked(&filter.actor),
        subject: asked(&filter.subject),
        kind: asked(&filter.kind),
        release: asked(&filter.release),
        service: asked(&filter.service),
        control: asked(&filter.control),
        from: asked(&filter.from),
        to: asked(&filter.to),
        limit: Some(PAGE),
        cursor,
    };
    let (found, refused) = match search(&context, wanted).await {
        Ok(found) => (found, None),
        Err(failure) if failure.status().is_client_error() => {
            (Found { entries: Vec::new(), next: None }, Some(failure))
        }
        Err(failure) => return Err(failure),
    };
    let why = refused.as_ref().map(Failure::words);
    let mut page = draw(&context, &still, |look| {
        let (entries, newest) = (&found.entries, cursor.is_none());
        let page = AuditPage { entries, older: found.next, newest, filter: &filter, refused: why.as_deref() };
        Some(page::audit(look, page))
    })?;
    if let Some(failure) = refused {
        *page.status_mut() = failure.status();
    }
    Ok(page)
}

async fn entry(State(context): State<Context>, Path(id): Path<String>) -> Result<Response, Failure> {
    let entry = find(&context, &id).await?;
    let bytes = entry.encode().unwrap_or_default();
    let hash = leaf_hash(&bytes).to_base64();
    let still = Still { still: Some(String::new()) };
    draw(&context, &still, |look| Some(page::audit_entry(look, &entry, &hash)))
}

async fn check(State(context): State<Context>) -> Result<Response, Failure> {
    let found = verify_now(&context).await?;
    let still = Still { still: Some(String::new()) };
    draw(&context, &still, |look| Some(page::audit_check(look, &found)))
}
