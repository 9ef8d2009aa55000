//! `/hms/v1/audit`: the ledger, read and verified.

use axum::Json;
use axum::extract::{Path, State};
use hmsops_config::parse_duration;
use hmsops_ledger::entry::ENTRY_VERSION;
use hmsops_ledger::moment::rfc3339;
use hmsops_ledger::{Entry, LedgerReader, Order, Outcome};
use hmsops_model::UnixMillis;
use hmsops_wire::api;
use serde::Deserialize;

use super::body::Params;
use super::{Context, Failure, Routes, Scope, folder};
use crate::page;

/// Entries on a page, unless more or fewer are asked for.
const PAGE: usize = 100;

/// At most.
const PAGE_MAX: usize = 1000;

/// Entries that one request looks at; the cursor of its answer goes on from there.
const SEARCHED_MAX: u64 = 50_000;

/// Entries of one read.
const CHUNK: u64 = 1000;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/audit", Scope::AUDIT_READ, "Ledger entries, newest first", list)
        .get("/hms/v1/audit/verify", Scope::AUDIT_READ, "Whether the ledger is whole", verify)
        .get("/hms/v1/audit/{id}", Scope::AUDIT_READ, "One entry of the ledger, by its number", show_one)
}

/// Which entries are wanted. Every field that is there has to fit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) actor: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) control: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) limit: Option<usize>,
    pub(crate) cursor: Option<u64>,
}

/// What is looked for.
struct Search {
    wanted: Wanted,
    control: Option<String>,
    from: Option<UnixMillis>,
    to: Option<UnixMillis>,
}

/// What was found: entries, newest first, and where to look on; `None`: at nothing more.
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    pub(crate) next: Option<u64>,
}

/// Looks through the ledger for what is wanted.
pub(crate) async fn search(context: &Context, wanted: Wanted) -> Result<Found, Failure> {
    let now = context.clock.now().wall;
    let moment = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
    let control = wanted.control.as_deref().map(control).transpose()?;
    let search = Search { control, from: moment(&wanted.from)?, to: moment(&wanted.to)?, wanted };
    let ledger = context.ledger.clone();
    let found = tokio::task::spawn_blocking(move || search.run(&ledger)).await;
    found.map_err(|_| Failure::internal("reading the ledger broke off"))?
}

async fn list(
    State(context): State<Context>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<api::Entries>, Failure> {
    let Found { entries, next } = search(&context, wanted).await?;
    let entries = entries.into_iter().map(shown).collect();
    Ok(Json(api::Entries { entries, next: next.map(|seq| seq.to_string()) }))
}

async fn show_one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<api::Entry>, Failure> {
    find(&context, &id).await.map(shown).map(Json)
}

/// The entry of a number.
pub(crate) async fn find(context: &Context, id: &str) -> Result<Entry, Failure> {
    let seq: u64 = id.parse().map_err(|_| {
        Failure::argument(format!("`{id:.80}` is no number of an entry"))
            .hint("write `1204`, as `audit list` has it")
    })?;
    let reader = context.ledger.clone();
    let size = reader.size();
    let found = tokio::task::spawn_blocking(move || reader.get(seq)).await;
    let found = found.map_err(|_| Failure::internal("reading the ledger broke off"))?;
    let found =
        found.map_err(|error| Failure::unavailable(format!("cannot read the ledger: {}", error.chain())))?;
    found.ok_or_else(|| {
        let hint = match size {
            0 => "there is none yet".to_owned(),
            size => format!("the newest is {}", size - 1),
        };
        Failure::not_found(format!("there is no entry {seq}")).hint(hint)
    })
}

async fn verify(State(context): State<Context>) -> Result<Json<api::Verified>, Failure> {
    verify_now(&context).await.map(Json)
}

/// Checks every entry and the tree over them.
pub(crate) async fn verify_now(context: &Context) -> Result<api::Verified, Failure> {
    let data = context.data.clone();
    let found = tokio::task::spawn_blocking(move || folder::verify(&data)).await;
    let found = found.map_err(|_| Failure::internal("reading the ledger broke off"))?;
    found.map_err(|error| Failure::unavailable(format!("cannot read the ledger: {error}")))
}

impl Search {
    fn run(&self, ledger: &LedgerReader) -> Result<Found, Failure> {
        let limit = self.wanted.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let mut end = self.wanted.cursor.unwrap_or(u64::MAX).min(ledger.size());
        let last = end.saturating_sub(SEARCHED_MAX);
        let mut entries = Vec::new();
        while end > last && entries.len() < limit {
            let begin = end.saturating_sub(CHUNK).max(last);
            let chunk = ledger.read(begin..end, Order::NewestFirst, CHUNK as usize).map_err(|error| {
                Failure::unavailable(format!("cannot read the ledger: {}", error.chain()))
            })?;
            for entry in chunk {
                end = entry.seq;
                if self.wants(&entry) {
                    entries.push(entry);
                    if entries.len() == limit {
                        break;
                    }
                }
            }
            end = if entries.len() < limit { begin } else { end };
        }
        Ok(Found { entries, next: (end > 0).then_some(end) })
    }

    fn wants(&self, entry: &Entry) -> bool {
        let params = &self.wanted;
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let kind = |wanted: &str| {
            entry.kind == wanted || entry.kind.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
        };
        is(&params.actor, &entry.actor)
            && is(&params.subject, &entry.subject)
            && params.kind.as_deref().is_none_or(kind)
            && params.release.as_ref().is_none_or(|wanted| entry.release.as_ref() == Some(wanted))
            && params.service.as_ref().is_none_or(|wanted| entry.subject == format!("service/{wanted}"))
            && self.control.as_ref().is_none_or(|wanted| entry.controls.contains(wanted))
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
    }
}

/// A control's label, `AC-6(9)`, however it is written: `ac-6(9)`, `AC-6 (9)` or, as OSCAL has it, `ac-6.9`.
fn control(text: &str) -> Result<String, Failure> {
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_uppercase();
    let parts = bare.split_once('-').and_then(|(family, rest)| {
        let (number, more) = match rest.split_once(['(', '.']) {
            Some((number, more)) => (number, Some(more.strip_suffix(')').unwrap_or(more))),
            None => (rest, None),
        };
        let is_number = |text: &str| matches!(text.len(), 1..=3) && text.bytes().all(|b| b.is_ascii_digit());
        let fits = family.len() == 2 && family.bytes().all(|b| b.is_ascii_uppercase()) && is_number(number);
        (fits && more.is_none_or(is_number)).then(|| {
            let more = more.map(|more| format!("({})", more.trim_start_matches('0')));
            format!("{family}-{}{}", number.trim_start_matches('0'), more.unwrap_or_default())
        })
    });
    parts.ok_or_else(|| {
        Failure::argument(format!("`{text:.80}` is no control of NIST SP 800-53"))
            .hint("write `IR-4`, or `IR-4(1)` for an enhancement")
    })
}

/// `2026-11-22T14:02:07Z` or `-1h`.
fn moment(text: &str, now: UnixMillis) -> Result<UnixMillis, Failure> {
    if let Some(span) = text.strip_prefix('-')
        && let Ok(span) = parse_duration(span)
    {
        return Ok(UnixMillis(now.0.saturating_sub_unsigned(span.0)));
    }
    let moment: Result<jiff::Timestamp, _> = text.parse();
    moment.map(|moment| UnixMillis(moment.as_millisecond())).map_err(|_| {
        Failure::argument(format!("`{text:.80}` is no moment"))
            .hint("write `2026-11-22T14:02:07Z`, or `-1h` for an hour ago")
    })
}

/// An entry as the API shows it: the fields it was hashed with, and what they say.
fn shown(entry: Entry) -> api::Entry {
    api::Entry {
        said: page::words(&entry),
        v: ENTRY_VERSION,
        seq: entry.seq,
        at: rfc3339(entry.at),
        at_ms: entry.at.0,
        steady_ms: entry.steady.0,
        node: entry.node,
        kind: entry.kind,
        actor: entry.actor,
        subject: entry.subject,
        source: entry.source,
        outcome: match entry.outcome {
            Outcome::Intended => api::EntryOutcome::Intended,
            Outcome::Done => api::EntryOutcome::Done,
            Outcome::Failed => api::EntryOutcome::Failed,
            Outcome::Refused => api::EntryOutcome::Refused,
        },
        controls: entry.controls,
        release: entry.release,
        late: entry.late,
        data: entry.data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_is_found_however_it_is_written() {
        for text in ["AC-6(9)", "ac-6(9)", "AC-6 (9)", "ac-6.9", "AC-06(09)"] {
            assert_eq!(control(text).unwrap(), "AC-6(9)", "{text}");
        }
        assert_eq!(control("au-12").unwrap(), "AU-12");
        for wrong in ["", "AC", "AC-", "AC-x", "AC-6(x)", "ACC-6", "AC-6(9)(1)", "AC-6666"] {
            assert!(control(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_absolute_or_ago() {
        let now = UnixMillis(1_795_356_127_100);
        assert_eq!(moment("-1h", now).unwrap(), UnixMillis(now.0 - 3_600_000));
        assert_eq!(moment("2026-11-22T14:02:07.1Z", now).unwrap(), now);
        for wrong in ["", "-", "yesterday", "-5 parsecs", "2026-11-22"] {
            assert!(moment(wrong, now).is_err(), "{wrong}");
        }
    }
}
