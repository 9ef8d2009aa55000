//! OTLP metrics: unpacked, read and stored off the threads that serve. Growth since the last export is added up here, from
//! the latest value that is stored, so that nothing acknowledged is lost with the tower.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::read::GzDecoder;
use hmsops_model::labels::{Labels, MatchOp, Matcher};
use hmsops_model::sample::Value;
use hmsops_model::series::{Budget, Hints, Selection, SeriesSource as _};
use hmsops_model::{ServiceName, UnixMillis};
use hmsops_tsdb::{Appended, Batch, Key, Row, Store};
use hmsops_wire::WireError;
use hmsops_wire::otlp::{self, Point, REQUEST_BYTES_MAX, Said};
use prost::Message as _;
use tokio::sync::Semaphore;

use super::emit::{EmitError, Form};
use super::{AppendError, Door, Metrics};
use crate::door::caller::Caller;
use crate::families::Family;

/// The path of plain HTTP.
pub(crate) const EXPORT: &str = "/v1/metrics";

/// The path of the method of gRPC.
pub(super) const EXPORT_GRPC: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Requests read at a time: attributes of two bytes each become fifty of memory.
static READ: Semaphore = Semaphore::const_new(4);

/// Series that grow and are remembered; of others the latest value is read from the store.
const GROWING_MAX: usize = 100_000;

/// How far back the latest value of a series that grows is looked for, in milliseconds.
const LATEST_WITHIN: i64 = 24 * 60 * 60 * 1000;

/// A body as it came.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// JSON or protobuf.
    pub(crate) form: Form,
    /// Whether it is gzip.
    pub(crate) is_gzip: bool,
    /// The bytes.
    pub(crate) body: Bytes,
}

/// Values that have grown by what was exported, as of the last export.
#[derive(Debug, Default)]
pub(crate) struct Growing(Mutex<HashMap<Labels, (i64, f64)>>);

/// Takes an export: answers when what can be stored is durable.
/// Nothing is taken when one of its series is of a service that the caller's token is not bound to.
pub(crate) async fn take(
    metrics: &Metrics,
    packed: Packed,
    caller: Caller,
) -> Result<otlp::ExportMetricsServiceResponse, EmitError> {
    let Ok(Ok(_place)) = tokio::time::timeout(super::metrics::PLACE_WAIT, READ.acquire()).await else {
        metrics.count(Door::Otlp, &Err(AppendError::Busy));
        return Err(AppendError::Busy.into());
    };
    let taker = metrics.clone();
    let taken = metrics.work(move |store, now| take_now(&taker, store, now, &packed, &caller)).await;
    let taken = taken.unwrap_or_else(|busy| Err(AppendError::from(busy).into()));
    match taken {
        Ok((batch, appended)) => {
            metrics.count_malformed(Door::Otlp, batch.refused);
            let answer = answer(&batch, &appended);
            metrics.count(Door::Otlp, &Ok(appended));
            for family in batch.families {
                let otlp::Family { name, kind, help, unit } = family;
                metrics.families().note(&name, Family { kind: kind.into(), help, unit });
            }
            Ok(answer)
        }
        Err(EmitError::Append(error)) => {
            metrics.count(Door::Otlp, &Err(error.clone()));
            Err(error.into())
        }
        Err(error) => {
            metrics.count_rejected(Door::Otlp);
            Err(error)
        }
    }
}

type Taken = Result<(otlp::Batch, Appended), EmitError>;

fn take_now(metrics: &Metrics, store: &Store, now: UnixMillis, packed: &Packed, caller: &Caller) -> Taken {
    let plain = if packed.is_gzip { unpack(&packed.body)? } else { packed.body.clone() };
    let request = match packed.form {
        Form::Json => otlp::decode_json(&plain),
        Form::Protobuf => otlp::decode(&plain),
    }?;
    let batch = otlp::translate(&request);
    drop(request);
    if let Some(bound) = caller.bound() {
        let is_own = |point: &Point| {
            point.labels.get("service").is_some_and(|name| bound.iter().any(|own| own.as_str() == name))
        };
        if !batch.points.iter().all(is_own) {
            let names = bound.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
            return Err(EmitError::Foreign(names));
        }
    }
    let appended = metrics.growing().append(store, now, &batch.points).map_err(EmitError::Append)?;
    Ok((batch, appended))
}

fn unpack(body: &[u8]) -> Result<Bytes, WireError> {
    let mut plain = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    match GzDecoder::new(body).take(limit).read_to_end(&mut plain) {
        // One that is too long is refused where its length is looked at.
        Ok(_) => Ok(plain.into()),
        Err(error) => {
            let why = format!("it is packed, and can't be unpacked: {error}");
            Err(WireError::Invalid { what: "an OTLP request", why })
        }
    }
}

impl Growing {
    /// Stores points; those that say by how much something has grown become the value that it has grown to. One that is
    /// not later than what is stored has been added before.
    fn append(&self, store: &Store, now: UnixMillis, points: &[Point]) -> Result<Appended, AppendError> {
        let grows = points.iter().any(|point| matches!(point.said, Said::Growth(_)));
        if !grows {
            return store.append(now, &batch(points.iter().map(plain).collect())).map_err(AppendError::from);
        }
        // Held until it is stored: two exports of one series are added one after the other.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh: HashMap<&Labels, (i64, f64)> = HashMap::new();
        let (mut rows, mut repeated) = (Vec::with_capacity(points.len()), 0);
        for point in points {
            let Said::Growth(by) = point.said else {
                rows.push(plain(point));
                continue;
            };
            let before = fresh.get(&point.labels).or_else(|| known.get(&point.labels)).copied();
            let before = match before {
                Some(before) => Some(before),
                None => latest(store, &point.labels, now).map_err(|why| {
                    tracing::warn!("otlp: cannot read what a counter had grown to: {why}");
                    AppendError::Busy
                })?,
            };
            if before.is_some_and(|(time, _)| point.time <= time) {
                repeated += 1;
                continue;
            }
            let value = before.map_or(0.0, |(_, value)| value) + by;
            fresh.insert(&point.labels, (point.time, value));
            rows.push(Row { value: Value::Float(value), ..plain(point) });
        }
        let mut appended = store.append(now, &batch(rows)).map_err(AppendError::from)?;
        appended.duplicates += repeated;
        if appended.refused.total() > 0 || known.len() + fresh.len() > GROWING_MAX {
            // What is stored is read again where it is needed.
            known.clear();
        } else {
            known.extend(fresh.into_iter().map(|(labels, grown)| (labels.clone(), grown)));
        }
        Ok(appended)
    }
}

fn batch(rows: Vec<Row<'_>>) -> Batch<'_> {
    Batch { origin: None, rows }
}

/// A point as it is stored; growth is not known yet.
fn plain(point: &Point) -> Row<'_> {
    let value = match &point.said {
        Said::Value(value) => value.clone(),
        Said::Growth(_) => Value::Float(0.0),
    };
    Row { key: Key::Labels(&point.labels), time: point.time, start: point.start, value }
}

/// The latest float of a series, and when it is of; one that has ended begins anew.
fn latest(store: &Store, labels: &Labels, now: UnixMillis) -> Result<Option<(i64, f64)>, String> {
    let matchers: Vec<Matcher> =
        labels.iter().map(|(name, value)| Matcher::new(name, MatchOp::Eq, value)).collect();
    let hints = Hints { is_latest_only: true, ..Hints::default() };
    let (from, to) = (now.0.saturating_sub(LATEST_WITHIN), i64::MAX);
    let selection = Selection { matchers: &matchers, from, to, hints };
    let budget = Budget::new(1_000_000, 64 << 20);
    for found in store.select(&selection, &budget).map_err(|error| error.to_string())? {
        let found = found.map_err(|error| error.to_string())?;
        let Some(last) = found.samples.len().checked_sub(1).filter(|_| found.labels == *labels) else {
            continue;
        };
        let time = found.samples.times()[last];
        return Ok(match found.samples.value(last) {
            Value::Float(value) if !value.is_nan() => Some((time, value)),
            _ => Some((time, 0.0)),
        });
    }
    Ok(None)
}

fn answer(batch: &otlp::Batch, appended: &Appended) -> otlp::ExportMetricsServiceResponse {
    let refused = batch.refused + appended.refused.total() as u64;
    let why = batch.refused_why.as_ref().or(appended.refused.first.as_ref());
    let partial_success = (refused > 0).then(|| otlp::PartialSuccess {
        rejected_data_points: refused.cast_signed(),
        error_message: why.cloned().unwrap_or_default(),
    });
    otlp::ExportMetricsServiceResponse { partial_success }
}

/// An answer in the form that was asked in.
pub(crate) fn written(answer: &otlp::ExportMetricsServiceResponse, form: Form) -> Bytes {
    match form {
        Form::Protobuf => answer.encode_to_vec().into(),
        Form::Json => {
            let partial = answer.partial_success.as_ref().map(|partial| {
                // Numbers of 64 bits are texts in this JSON.
                serde_json::json!({
                    "rejectedDataPoints": partial.rejected_data_points.to_string(),
                    "errorMessage": partial.error_message,
                })
            });
            let answer = partial
                .map_or(serde_json::json!({}), |partial| serde_json::json!({ "partialSuccess": partial }));
            answer.to_string().into()
        }
    }
}
