//! A remote write request of either version: unpacked, read and stored off the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmsops_model::{UnixMillis, Value};
use hmsops_tsdb::{Appended, Batch, Key, Row, Store};
use hmsops_wire::remote_write::{self, Metadata, Skipped, labels_of};
use tokio::sync::Semaphore;

use super::emit::EmitError;
use super::{AppendError, Door, Metrics};
use crate::exemplars::{Exemplar, Exemplars};
use crate::families::{Families, Family};

/// Requests unpacked at a time: each may take a hundred megabytes when it is read.
static UNPACKED: Semaphore = Semaphore::const_new(4);

/// A request that has found no place among them by then is sent away; senders wait 30 s for an answer.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// Versions of the protocol, by the message that a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.0: `prometheus.WriteRequest`.
    One,
    /// 2.0: `io.prometheus.write.v2.Request`.
    Two,
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// What the store made of it.
    pub appended: Appended,
    /// Exemplars that are kept.
    pub exemplars: u64,
    /// What was left out because it makes no sense.
    pub skipped: Skipped,
}

impl Written {
    /// Samples that are stored now, those included that were before; and as many histograms.
    pub fn counts(&self) -> (u64, u64) {
        let all = self.appended.stored + self.appended.duplicates;
        let histograms = self.appended.histograms;
        ((all - histograms.min(all)) as u64, histograms as u64)
    }

    /// What the sender should know: `None` when all is stored.
    pub fn trouble(&self) -> Option<String> {
        let (refused, skipped) = (&self.appended.refused, &self.skipped);
        let count = refused.total() as u64 + skipped.histograms + skipped.of_series + skipped.exemplars;
        if count == 0 {
            return None;
        }
        let stored = self.appended.stored + self.appended.duplicates;
        let reasons = [
            (refused.over_budget as u64, "of new series beyond the limit"),
            (refused.too_old as u64, "too old"),
            (refused.too_new as u64, "in the future"),
            (refused.conflicting as u64, "with another value at that moment"),
            (refused.bad_labels as u64, "with labels that cannot be taken"),
            (skipped.of_series, "of series that cannot be read"),
            (skipped.histograms, "histograms that make no sense"),
            (
                skipped.exemplars,
                "exemplars older than the latest, without a time or with labels that cannot be taken",
            ),
        ];
        let reasons: Vec<String> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{n} {words}")).collect();
        let first = refused.first.as_deref().or(skipped.why.as_deref());
        let first = first.map(|first| format!("; the first: {first}")).unwrap_or_default();
        Some(format!("{stored} samples are stored, {count} refused ({}){first}", reasons.join(", ")))
    }
}

/// Stores a snappy-packed request.
pub async fn write(metrics: &Metrics, version: Version, body: Bytes) -> Result<Written, EmitError> {
    let door = Door::RemoteWrite;
    let Ok(Ok(_place)) = tokio::time::timeout(PLACE_WAIT, UNPACKED.acquire()).await else {
        let busy = AppendError::Busy;
        metrics.count(door, &Err(busy.clone()));
        return Err(busy.into());
    };
    let beside = (Arc::clone(metrics.families()), Arc::clone(metrics.exemplars()));
    let outcome = match metrics.work(move |store, now| write_now(store, &beside, now, version, &body)).await {
        Ok(outcome) => outcome,
        Err(busy) => Err(EmitError::Append(busy.into())),
    };
    match &outcome {
        Ok(written) => {
            metrics.count_malformed(door, written.skipped.histograms + written.skipped.of_series);
            metrics.count(door, &Ok(written.appended.clone()));
        }
        Err(EmitError::Wire(_) | EmitError::Foreign(_)) => metrics.count_rejected(door),
        Err(EmitError::Append(error)) => metrics.count(door, &Err(error.clone())),
    }
    outcome
}

fn write_now(
    store: &Store,
    (families, exemplars): &(Arc<Families>, Arc<Exemplars>),
    now: UnixMillis,
    version: Version,
    body: &[u8],
) -> Result<Written, EmitError> {
    let bytes = remote_write::unpack(body)?;
    let request = match version {
        Version::One => remote_write::decode(&bytes)?,
        Version::Two => remote_write::decode_v2(&bytes)?,
    };
    let parse: &dyn Fn(&[u8]) -> Result<hmsops_model::Labels, String> = &labels_of;
    let mut rows = Vec::with_capacity(request.samples() + request.histograms());
    for series in request.series() {
        let key = Key::Wire { bytes: series.labels, parse };
        rows.extend(series.samples.iter().map(|sample| Row {
            key,
            time: sample.time,
            start: sample.start,
            value: Value::Float(sample.value),
        }));
        rows.extend(series.histograms.iter().map(|sample| Row {
            key,
            time: sample.time,
            start: sample.start,
            value: Value::Histogram(sample.value.clone().into()),
        }));
    }
    let appended = store.append(now, &Batch { origin: None, rows }).map_err(AppendError::from)?;
    for said in request.metadata() {
        let Metadata { family, kind, help, unit } = *said;
        families.note(family, Family { kind: kind.into(), help: help.into(), unit: unit.into() });
    }
    let (mut written, mut skipped) = (0, request.skipped().clone());
    let series: Vec<&[u8]> = match request.exemplars() {
        [] => Vec::new(),
        _ => request.series().map(|series| series.labels).collect(),
    };
    for exemplar in request.exemplars() {
        let series = series.get(exemplar.series).and_then(|labels| labels_of(labels).ok());
        let (labels, time, value) = (exemplar.labels.clone(), exemplar.time, exemplar.value);
        if series.is_some_and(|series| exemplars.add(&series, Exemplar { labels, time, value })) {
            written += 1;
        } else {
            skipped.exemplars += 1;
        }
    }
    Ok(Written { appended, exemplars: written, skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_counted_by_reason_with_an_example() {
        let mut written = Written::default();
        assert_eq!(written.trouble(), None);
        written.appended.stored = 7;
        written.appended.refused.too_old = 2;
        written.appended.refused.first = Some("a sample of `up` is old".into());
        written.skipped.histograms = 1;
        assert_eq!(
            written.trouble().unwrap(),
            "7 samples are stored, 3 refused (2 too old, 1 histograms that make no sense); the first: a sample of \
             `up` is old"
        );
    }
}
