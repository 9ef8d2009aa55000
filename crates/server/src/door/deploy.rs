//! `POST /hms/v1/deploy`: a release is asked for.

use std::path::PathBuf;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hmsops_act::image::{self, ImageError};
use hmsops_config::{Diagnostic, Kind, Report, kind_of, parse_release};
use hmsops_control::event::{Asked, Options};
use hmsops_control::{Event, Transition};
use hmsops_model::limits::CONFIG_BYTES_MAX;
use hmsops_model::release::{Image, ReleaseSpec};
use hmsops_model::service::Driver;
use hmsops_model::{Digest, Version};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use http::StatusCode;
use http::header::LOCATION;

use super::body::{Body, needed_reason};
use super::caller::Caller;
use super::problem::mistakes;
use super::service::accepted;
use super::{Context, Failure, Routes, Scope, haproxy, plan, release, show};

/// Releases that may be asked for together, as in `control`.
const GROUP_MAX: usize = 32;

/// Salts stay exact in JSON.
const SALT_BITS: u32 = 53;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.post("/hms/v1/deploy", Scope::DEPLOY_REQUEST, "Release a version behind a canary", deploy).post(
        "/hms/v1/deploy/group",
        Scope::DEPLOY_REQUEST,
        "Release versions of several services that go out together, and back",
        group,
    )
}

async fn group(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, .. }: Body<api::DeployGroup>,
) -> Result<Response, Failure> {
    if !(2..=GROUP_MAX).contains(&value.files.len()) {
        return Err(Failure::argument(format!("there are {} release files", value.files.len()))
            .hint(format!("send 2 to {GROUP_MAX}; one alone goes to `/hms/v1/deploy`")));
    }
    let snapshot = context.engine.snapshot();
    let (mut asked, mut warnings) = (Vec::new(), Vec::new());
    for file in value.files {
        let one = api::Deploy { name: file.name, text: file.text, ..api::Deploy::default() };
        let (spec, more) = read(&one)?;
        caller.steers(&spec.service, &snapshot)?;
        haproxy::check(&context, &snapshot, &spec)?;
        let digest = digest(&snapshot, &spec).await?;
        asked.push(Asked { spec: Box::new(spec), digest, salt: salt()? });
        warnings.push(more);
    }
    let override_freeze = value.override_freeze.then(|| needed_reason(&value.reason)).transpose()?;
    let options = Options { first: value.first, canary: false, override_freeze };
    let event = Event::Release { asked: asked.clone(), options, by: caller.who };
    if value.dry_run {
        hmsops_control::decide(&snapshot.state, &snapshot.evidence, snapshot.now, &event)?;
        let plans = asked.into_iter().zip(warnings);
        let plans = plans.map(|(one, warnings)| {
            plan::plan((&snapshot, &context.notify), &one.spec, one.digest, warnings, false)
        });
        return Ok(Json(api::Plans { plans: plans.collect() }).into_response());
    }
    let handled = accepted(context.engine.submit(event).await?)?;
    let begun = handled.transitions.iter().filter_map(|transition| match transition {
        Transition::ReleaseRequested { release, .. } => Some(*release),
        _ => None,
    });
    let begun: Vec<_> = begun.collect();
    if begun.is_empty() {
        return Err(match &handled.ledger_failed {
            Some(why) => Failure::ledger(why),
            None => Failure::internal("the releases were neither begun nor refused"),
        });
    }
    let snapshot = context.engine.snapshot();
    let shown = begun.into_iter().map(|id| Ok(show::release(&snapshot, release::find(&snapshot, id)?)));
    let releases = api::Releases { releases: shown.collect::<Result<_, Failure>>()?, next: None };
    Ok((StatusCode::CREATED, Json(releases)).into_response())
}

async fn deploy(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, .. }: Body<api::Deploy>,
) -> Result<Response, Failure> {
    let (spec, warnings) = read(&value)?;
    let snapshot = context.engine.snapshot();
    caller.steers(&spec.service, &snapshot)?;
    let digest = digest(&snapshot, &spec).await?;
    let salt = salt()?;
    let override_freeze = value.override_freeze.then(|| needed_reason(&value.reason)).transpose()?;
    let options = Options { first: value.first, canary: value.canary, override_freeze };
    let asked = vec![Asked { spec: Box::new(spec.clone()), digest: digest.clone(), salt }];
    let event = Event::Release { asked, options, by: caller.who };
    // As it would be: without a canary, when it goes back.
    let decided = hmsops_control::decide(&snapshot.state, &snapshot.evidence, snapshot.now, &event);
    let asks = decided.as_ref().ok().into_iter().flatten().find_map(|transition| match transition {
        Transition::ReleaseRequested { spec, revert, .. } => Some((spec.as_ref().clone(), *revert)),
        _ => None,
    });
    let (spec, revert) = asks.unwrap_or((spec, false));
    if decided.is_ok() && !revert {
        haproxy::check(&context, &snapshot, &spec)?;
    }
    if value.dry_run {
        decided?;
        return Ok(
            Json(plan::plan((&snapshot, &context.notify), &spec, digest, warnings, revert)).into_response()
        );
    }
    let handled = accepted(context.engine.submit(event).await?)?;
    let id = handled.release().ok_or_else(|| match &handled.ledger_failed {
        Some(why) => Failure::ledger(why),
        None => Failure::internal("the release was neither begun nor refused"),
    })?;
    let snapshot = context.engine.snapshot();
    let shown = show::release(&snapshot, release::find(&snapshot, id)?);
    Ok((StatusCode::CREATED, [(LOCATION, format!("/hms/v1/releases/{id}"))], Json(shown)).into_response())
}

fn read(asked: &api::Deploy) -> Result<(ReleaseSpec, Vec<api::Mistake>), Failure> {
    if asked.text.len() > CONFIG_BYTES_MAX {
        return Err(Failure::too_large(format!(
            "`{:.200}` has more than {CONFIG_BYTES_MAX} bytes",
            asked.name
        )));
    }
    let kind = kind_of(&asked.text);
    if kind == Kind::Services {
        return Err(Failure::argument(format!("`{:.200}` declares services, it is no release", asked.name))
            .hint(format!("`hmsops apply -f {:.200}` declares them", asked.name)));
    }
    let checked = parse_release(&asked.text);
    let report = |diagnostics: Vec<Diagnostic>| {
        [Report { name: asked.name.clone(), kind: Kind::Release, diagnostics }]
    };
    let Some(mut spec) = checked.value else { return Err(Failure::files(&report(checked.diagnostics))) };
    if let Some(image) = &asked.image {
        spec.image = instead(&spec.image, image)?;
    }
    Ok((spec, mistakes(&report(checked.diagnostics))))
}

/// Another image than the file's: `NAME:TAG`, or only a tag.
fn instead(declared: &Image, asked: &str) -> Result<Image, Failure> {
    let (name, tag) = asked.rsplit_once(':').unwrap_or((declared.name.as_str(), asked));
    if name != declared.name {
        return Err(Failure::argument(format!(
            "the image is `{name:.80}`, the file's is `{}`",
            declared.name
        ))
        .hint("only the tag can be another"));
    }
    Ok(Image { name: name.to_owned(), tag: Version::new(tag)? })
}

/// What the version's folder holds; `None` for services that run elsewhere (or aren't known, which the tower
/// says better).
async fn digest(snapshot: &Snapshot, spec: &ReleaseSpec) -> Result<Option<Digest>, Failure> {
    let service = snapshot.state.services.get(&spec.service);
    let Some(Driver::Process { image_dir, .. }) = service.map(|service| &service.spec.driver) else {
        return Ok(None);
    };
    let dir = PathBuf::from(image_dir.replace("{tag}", spec.image.tag.as_str()));
    let digest = tokio::task::spawn_blocking(move || image::digest(&dir)).await;
    match digest.map_err(|_| Failure::internal("taking the digest broke off"))? {
        Ok(digest) => Ok(Some(digest)),
        Err(error @ ImageError::Missing { .. }) => Err(Failure::not_found(error.to_string())
            .hint("build it, or name a version that is there with `--image`")),
        Err(error) => Err(Failure::conflict(error.to_string())),
    }
}

fn salt() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| Failure::unavailable("the system gave no random number"))?;
    Ok(u64::from_le_bytes(bytes) >> (u64::BITS - SALT_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tag_can_be_another() {
        let declared = Image { name: "csac-portal".into(), tag: Version::new("1.8.0").unwrap() };
        assert_eq!(instead(&declared, "1.8.1").unwrap().to_string(), "csac-portal:1.8.1");
        assert_eq!(instead(&declared, "csac-portal:1.8.1").unwrap().to_string(), "csac-portal:1.8.1");
        for wrong in ["other:1.8.1", "csac-portal:", "a b", ""] {
            assert!(instead(&declared, wrong).is_err(), "{wrong}");
        }
    }
}
