//! `POST /hms/v1/apply`: declarations that are sent instead of kept in a repo.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use hmsops_config::{Kind, Report, check, parse_services};
use hmsops_control::Event;
use hmsops_ledger::{LedgerReader, Order};
use hmsops_model::ServiceName;
use hmsops_model::limits::CONFIG_BYTES_MAX;
use hmsops_model::service::ServiceSpec;
use hmsops_tower::Snapshot;
use hmsops_wire::api;

use super::body::Body;
use super::caller::Caller;
use super::problem::mistakes;
use super::service::{accepted, in_force};
use super::{Context, Failure, Routes, Scope, haproxy};

/// Files of one request.
const FILES_MAX: usize = 100;

/// Entries that are searched for who declared a service.
const OWNER_ENTRIES_MAX: u64 = 100_000;

/// Entries of one read.
const CHUNK: u64 = 1000;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.post("/hms/v1/apply", Scope::SERVICES_WRITE, "Declare services", apply)
}

async fn apply(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, .. }: Body<api::Apply>,
) -> Result<Json<api::Applied>, Failure> {
    let (specs, reports) = read(&value.files)?;
    specs.iter().try_for_each(|spec| caller.on(&spec.name))?;
    let snapshot = context.engine.snapshot();
    let changes: Vec<api::Change> = specs.iter().map(|spec| change(&snapshot, spec)).collect();
    let names: Vec<ServiceName> = specs.iter().map(|spec| spec.name.clone()).collect();
    refuse_owned(&context, &names).await?;
    haproxy::check_declared(&context, &snapshot, &specs)?;
    let mut is_in_force = false;
    if !value.dry_run {
        let handled = context.engine.submit(Event::Declared { specs, whole: false, by: caller.who }).await?;
        accepted(handled)?;
        is_in_force = in_force(&context, &names).await;
    }
    let warnings = mistakes(&reports);
    Ok(Json(api::Applied { changes, dry_run: value.dry_run, in_force: is_in_force, warnings }))
}

/// All services of all files, by name; or everything that is wrong.
fn read(files: &[api::File]) -> Result<(Vec<ServiceSpec>, Vec<Report>), Failure> {
    if files.is_empty() || files.len() > FILES_MAX {
        return Err(Failure::argument(format!("there are {} files", files.len()))
            .hint(format!("send 1 to {FILES_MAX}")));
    }
    let mut specs = BTreeMap::new();
    let mut reports = Vec::new();
    for file in files {
        if file.text.len() > CONFIG_BYTES_MAX {
            return Err(Failure::too_large(format!(
                "`{:.200}` has more than {CONFIG_BYTES_MAX} bytes",
                file.name
            )));
        }
        let report = check(&file.name, &file.text);
        if !report.failed() {
            for spec in services(file, report.kind)? {
                let name = spec.name.clone();
                if specs.insert(name.clone(), spec).is_some() {
                    return Err(Failure::argument(format!("`{name}` is declared in two of the files")));
                }
            }
        }
        reports.push(report);
    }
    if reports.iter().any(Report::failed) {
        return Err(Failure::files(&reports));
    }
    Ok((specs.into_values().collect(), reports))
}

fn services(file: &api::File, kind: Kind) -> Result<Vec<ServiceSpec>, Failure> {
    let name: String = file.name.chars().take(200).collect();
    let wrong = |what: &str, hint: String| Err(Failure::argument(format!("`{name}` {what}")).hint(hint));
    match kind {
        Kind::Services => Ok(parse_services(&file.text).value.unwrap_or_default()),
        Kind::Release => wrong(
            "is a release, not something that is declared",
            format!("`hmsops deploy -f {name}` sends it"),
        ),
        Kind::Policy => {
            wrong("is a rollback policy, which is checked but not used yet", "leave it out".into())
        }
        Kind::Tower => wrong(
            "holds the tower's own settings",
            format!("`hmsops serve --config {name}` starts the tower with them"),
        ),
        Kind::Rules | Kind::Scrape | Kind::Baseline => wrong(
            "is read from a repository only",
            "put it below `ops/` of a folder that the tower watches".into(),
        ),
        Kind::RuleTests => {
            wrong("holds tests of rules", format!("`hmsops alert test {name}` runs them, without a tower"))
        }
        Kind::Unknown => {
            wrong("is nothing that can be applied", "`hmsops check` says what is wrong with it".into())
        }
    }
}

fn change(snapshot: &Snapshot, spec: &ServiceSpec) -> api::Change {
    let change = match snapshot.state.services.get(&spec.name) {
        None => api::ChangeKind::Added,
        Some(known) if known.retired => api::ChangeKind::Returned,
        Some(known) if known.spec == *spec => api::ChangeKind::Same,
        Some(_) => api::ChangeKind::Changed,
    };
    api::Change { service: spec.name.clone(), change }
}

/// One owner per object: what a file of a repo declares is changed there.
async fn refuse_owned(context: &Context, names: &[ServiceName]) -> Result<(), Failure> {
    let (ledger, names) = (context.ledger.clone(), names.to_vec());
    let owned = tokio::task::spawn_blocking(move || owner(&ledger, names)).await;
    match owned.map_err(|_| Failure::internal("the search for the owner of a service broke off"))? {
        Some((name, file)) => Err(Failure::conflict(format!("`{name}` belongs to the file `{file}`"))
            .hint("change it there: one object has one owner")),
        None => Ok(()),
    }
}

/// The first of these services whose last declaration came from a repo, and the file it stands in.
fn owner(ledger: &LedgerReader, names: Vec<ServiceName>) -> Option<(ServiceName, String)> {
    let mut open: BTreeMap<String, ServiceName> =
        names.into_iter().map(|name| (format!("service/{name}"), name)).collect();
    let mut end = ledger.size();
    let last = end.saturating_sub(OWNER_ENTRIES_MAX);
    while end > last && !open.is_empty() {
        let begin = end.saturating_sub(CHUNK).max(last);
        // What cannot be read names no owner; that the ledger is damaged is said elsewhere.
        for entry in ledger.read(begin..end, Order::NewestFirst, CHUNK as usize).unwrap_or_default() {
            let declared = entry.kind == "service.declared";
            if (declared || entry.kind == "service.retired")
                && let Some(name) = open.remove(&entry.subject)
                && declared
                && entry.source == "repo"
            {
                return Some((name, entry.actor));
            }
        }
        end = begin;
    }
    None
}
