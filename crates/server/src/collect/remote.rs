//! A remote write request: unpacked, read and stored off the threads that serve.

use std::time::Duration;

use bytes::Bytes;
use hmsops_model::{UnixMillis, Value};
use hmsops_tsdb::{Appended, Batch, Key, Row, Store};
use hmsops_wire::remote_write::{self, labels_of};
use tokio::sync::Semaphore;

use super::emit::EmitError;
use super::{AppendError, Door, Metrics};

/// Requests unpacked at a time: each may take a hundred megabytes when it is read.
static UNPACKED: Semaphore = Semaphore::const_new(4);

/// A request that has found no place among them by then is sent away; senders wait 30 s for an answer.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What the store made of it.
    pub appended: Appended,
    /// Histograms left out because they make no sense.
    pub skipped: u64,
    /// What is wrong with the first of them.
    pub skipped_why: Option<String>,
}

impl Written {
    /// What the sender should know: `None` when all is stored.
    pub fn trouble(&self) -> Option<String> {
        let refused = &self.appended.refused;
        let count = refused.total() as u64 + self.skipped;
        let first = refused.first.as_deref().or(self.skipped_why.as_deref())?;
        let stored = self.appended.stored + self.appended.duplicates;
        let reasons = [
            (refused.over_budget as u64, "of new series beyond the limit"),
            (refused.too_old as u64, "too old"),
            (refused.too_new as u64, "in the future"),
            (refused.conflicting as u64, "with another value at that moment"),
            (refused.bad_labels as u64, "with labels that cannot be taken"),
            (self.skipped, "histograms that make no sense"),
        ];
        let reasons: Vec<String> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{n} {words}")).collect();
        Some(format!(
            "{stored} samples are stored, {count} refused ({}); the first: {first}",
            reasons.join(", ")
        ))
    }
}

/// Stores a snappy-packed request of version 1.0.
pub async fn write(metrics: &Metrics, body: Bytes) -> Result<Written, EmitError> {
    let door = Door::RemoteWrite;
    let Ok(Ok(_place)) = tokio::time::timeout(PLACE_WAIT, UNPACKED.acquire()).await else {
        let busy = AppendError::Busy;
        metrics.count(door, &Err(busy.clone()));
        return Err(busy.into());
    };
    let outcome = match metrics.work(move |store, now| write_now(store, now, &body)).await {
        Ok(outcome) => outcome,
        Err(busy) => Err(EmitError::Append(busy.into())),
    };
    match &outcome {
        Ok(written) => {
            metrics.count_malformed(door, written.skipped);
            metrics.count(door, &Ok(written.appended.clone()));
        }
        Err(EmitError::Wire(_) | EmitError::Foreign(_)) => metrics.count_rejected(door),
        Err(EmitError::Append(error)) => metrics.count(door, &Err(error.clone())),
    }
    outcome
}

fn write_now(store: &Store, now: UnixMillis, body: &[u8]) -> Result<Written, EmitError> {
    let bytes = remote_write::unpack(body)?;
    let request = remote_write::decode(&bytes)?;
    let parse: &dyn Fn(&[u8]) -> Result<hmsops_model::Labels, String> = &labels_of;
    let mut rows = Vec::with_capacity(request.samples() + request.histograms());
    for series in request.series() {
        let key = Key::Wire { bytes: series.labels, parse };
        rows.extend(series.samples.iter().map(|sample| Row {
            key,
            time: sample.time,
            start: 0,
            value: Value::Float(sample.value),
        }));
        rows.extend(series.histograms.iter().map(|(time, histogram)| Row {
            key,
            time: *time,
            start: 0,
            value: Value::Histogram(histogram.clone().into()),
        }));
    }
    let appended = store.append(now, &Batch { origin: None, rows }).map_err(AppendError::from)?;
    let (skipped, why) = request.skipped();
    Ok(Written { appended, skipped, skipped_why: why.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_counted_by_reason_with_an_example() {
        let mut written = Written { appended: Appended::default(), skipped: 0, skipped_why: None };
        assert_eq!(written.trouble(), None);
        written.appended.stored = 7;
        written.appended.refused.too_old = 2;
        written.appended.refused.first = Some("a sample of `up` is old".into());
        written.skipped = 1;
        assert_eq!(
            written.trouble().unwrap(),
            "7 samples are stored, 3 refused (2 too old, 1 histograms that make no sense); the first: a sample of \
             `up` is old"
        );
    }
}
