//! A batch of what a program emitted: read, stored once, and answered metric by metric.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use hmsops_model::{ServiceName, UnixMillis, Value};
use hmsops_tsdb::{Appended, Batch, Key, Origin, Row, Store, StoreError};
use hmsops_wire::WireError;
use hmsops_wire::collector::{self, EmitResponse, Emitted, Refusal};
use sha2::{Digest as _, Sha256};

use super::{AppendError, Door, Metrics};
use crate::door::caller::Caller;

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As JSON.
    Json,
    /// As protobuf.
    Protobuf,
}

/// Why nothing of a batch was taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EmitError {
    /// It can't be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It is of services that the token is not bound to.
    #[error("the token may bring metrics with the label `service` of {0} only")]
    Foreign(String),
    /// It can't be stored.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl EmitError {
    /// Whether the same batch may be taken later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Wire(_) | Self::Foreign(_) => false,
            Self::Append(AppendError::Store(error)) => {
                !matches!(error, StoreError::TooLarge { .. } | StoreError::Source { .. })
            }
            Self::Append(_) => true,
        }
    }

    /// Whether it is larger than what is taken at once.
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::Wire(WireError::TooLarge { .. } | WireError::TooMany { .. })
                | Self::Append(AppendError::Store(StoreError::TooLarge { .. }))
        )
    }
}

/// Takes a batch: answers when it is durable, also when it was before.
/// Nothing of a batch is taken when one of its metrics is of a service that the caller's token is not bound to.
pub(crate) async fn take(
    metrics: &Metrics,
    door: Door,
    (form, body): (Form, Bytes),
    caller: Caller,
) -> Result<EmitResponse, EmitError> {
    let taken = metrics.work(move |store, now| take_now(store, now, (form, &body), &caller)).await;
    let outcome = match taken {
        Ok(Ok((emitted, outcome))) => outcome.map(|appended| (emitted, appended)).map_err(AppendError::from),
        Ok(Err(error)) => {
            metrics.count_rejected(door);
            return Err(error);
        }
        Err(busy) => Err(busy.into()),
    };
    match outcome {
        Ok((emitted, appended)) => {
            metrics.count_malformed(door, emitted.refused.len() as u64);
            let answer = answer(emitted, &appended);
            metrics.count(door, &Ok(appended));
            Ok(answer)
        }
        Err(error) => {
            metrics.count(door, &Err(error.clone()));
            Err(error.into())
        }
    }
}

type Taken = Result<(Emitted, Result<Appended, StoreError>), EmitError>;

fn take_now(store: &Store, now: UnixMillis, (form, body): (Form, &[u8]), caller: &Caller) -> Taken {
    let request = match form {
        Form::Json => collector::json::decode(body),
        Form::Protobuf => collector::decode(body),
    }?;
    let emitted = collector::batch(&request)?;
    if let Some(bound) = caller.bound() {
        let is_own = |row: &collector::Row| {
            row.labels.get("service").is_some_and(|name| bound.iter().any(|own| own.as_str() == name))
        };
        if !emitted.rows.iter().all(is_own) {
            let names = bound.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
            return Err(EmitError::Foreign(names));
        }
    }
    let rows = emitted.rows.iter().map(|row| Row {
        key: Key::Labels(&row.labels),
        time: row.time,
        start: 0,
        value: Value::Tally(row.tally),
    });
    let source = source(&emitted.source, caller.bound());
    let origin = Origin { source: &source, sequence: emitted.sequence };
    let outcome = store.append(now, &Batch { origin: Some(origin), rows: rows.collect() });
    Ok((emitted, outcome))
}

/// Under which name the store remembers what a source has sent. Who is bound to services has names of its own, shared
/// with whoever is bound to the same: else it could use up another's numbers, whose batches then passed for repeats.
fn source<'s>(given: &'s str, bound: Option<&[ServiceName]>) -> Cow<'s, str> {
    let Some(bound) = bound else { return Cow::Borrowed(given) };
    let mut names: Vec<&str> = bound.iter().map(ServiceName::as_str).collect();
    names.sort_unstable();
    let hash = Sha256::digest(names.join(","));
    let hash = hash.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    Cow::Owned(format!("bound:{hash}/{given}"))
}

fn answer(emitted: Emitted, appended: &Appended) -> EmitResponse {
    if appended.is_repeat {
        return EmitResponse { stored: 0, duplicate: true, refused: Vec::new() };
    }
    let mut refused = emitted.refused;
    // The store counts places among the rows that it was given.
    let mut away: Vec<u32> = refused.iter().map(|refusal| refusal.index).collect();
    away.sort_unstable();
    for (place, why) in &appended.refused.places {
        let mut index = *place as u32;
        for gone in &away {
            index += u32::from(*gone <= index);
        }
        refused.push(Refusal { index, why: why.clone() });
    }
    refused.sort_unstable_by_key(|refusal| refusal.index);
    // What is there to the bit is stored, whoever brought it.
    let stored = (appended.stored + appended.duplicates) as u64;
    EmitResponse { stored, duplicate: false, refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_bound_to_a_service_has_sources_of_its_own() {
        let name = |text: &str| ServiceName::new(text).unwrap();
        let (a, b) = (name("a"), name("b"));
        assert_eq!(source("host-1", None), "host-1");
        let own = source("host-1", Some(std::slice::from_ref(&a)));
        assert!(own.starts_with("bound:") && own.ends_with("/host-1"), "{own}");
        assert_ne!(own, source("host-1", Some(std::slice::from_ref(&b))));
        let both = [[a.clone(), b.clone()], [b, a]].map(|order| source("x", Some(&order)).into_owned());
        assert_eq!(both[0], both[1]);
        let longest = "x".repeat(hmsops_wire::collector::SOURCE_BYTES_MAX);
        assert!(source(&longest, Some(&[name("a")])).len() <= hmsops_tsdb::options::SOURCE_BYTES_MAX);
    }

    #[test]
    fn a_refusal_of_the_store_names_its_place_in_the_batch() {
        let refusal = |index| Refusal { index, why: "form".into() };
        let emitted = Emitted {
            source: "s".into(),
            sequence: 1,
            rows: Vec::new(),
            refused: vec![refusal(0), refusal(2)],
            dropped: 0,
        };
        let mut appended = Appended { stored: 1, ..Appended::default() };
        appended.refused.places = vec![(0, "store".into()), (2, "store".into())];
        let answer = answer(emitted, &appended);
        let places: Vec<(u32, &str)> =
            answer.refused.iter().map(|refusal| (refusal.index, refusal.why.as_str())).collect();
        assert_eq!(places, [(0, "form"), (1, "store"), (2, "form"), (4, "store")]);
    }
}
