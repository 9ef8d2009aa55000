//! What programs send us: batches of tallies, as `hmsops.v1.Collector` (`proto/hmsops/v1/collector.proto`) or as
//! the same in JSON over plain HTTP/1.1 (`POST /v1/emit`).
//!
//! A batch is known by its source and sequence, so that it can be sent again without being counted twice.

pub mod json;
mod message;

use hmsops_model::labels::METRIC_NAME;
use hmsops_model::limits::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX};
use hmsops_model::{Labels, Tally};
use prost::Message as _;

pub use message::{EmitRequest, EmitResponse, Label, Metric, Refusal};

use crate::WireError;
use crate::protobuf::Fields;

/// The longest batch in bytes, in either form: the default limit of gRPC servers.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Metrics of a batch: a program with more series than this flushes in several batches.
pub const METRICS_MAX: usize = 10_000;

/// The longest id of a source in bytes; a UUID has 36.
pub const SOURCE_BYTES_MAX: usize = 128;

/// What errors call a batch.
const WHAT: &str = "the batch of metrics";

/// A batch whose metrics have been looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    /// The emitting process.
    pub source: String,
    /// The number of the batch within its source, from 1.
    pub sequence: u64,
    /// What can be stored, in the order of the batch.
    pub rows: Vec<Row>,
    /// What can't, by place in the batch.
    pub refused: Vec<Refusal>,
    /// Values that the source has dropped so far.
    pub dropped: u64,
}

/// One tally of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The metric's own labels, over those of the batch.
    pub labels: Labels,
    /// When it was flushed, in Unix milliseconds.
    pub time: i64,
    /// What was emitted.
    pub tally: Tally,
}

/// Reads a batch from protobuf. Counts before it allocates: a few bytes can announce millions of empty messages.
pub fn decode(bytes: &[u8]) -> Result<EmitRequest, WireError> {
    check_size(bytes)?;
    let (mut metrics, mut labels) = (0, 0);
    let mut fields = Fields::new(WHAT, bytes);
    while let Some(field) = fields.read()? {
        match field.number {
            3 => labels += 1,
            4 => {
                metrics += 1;
                let mut inner = field.message("a metric")?;
                let mut own = 0;
                while let Some(field) = inner.read()? {
                    own += usize::from(field.number == 2);
                }
                check_count("labels of a metric", own, LABELS_MAX * 2)?;
            }
            _ => {}
        }
        check_count("metrics", metrics, METRICS_MAX)?;
        check_count("labels", labels, LABELS_MAX)?;
    }
    EmitRequest::decode(bytes).map_err(|error| WireError::Invalid { what: WHAT, why: error.to_string() })
}

/// What a batch holds. A metric that can't be stored is refused on its own and the rest is taken; the whole batch
/// is refused when it can't be told from another one, or when its own labels are wrong.
pub fn batch(request: &EmitRequest) -> Result<Emitted, WireError> {
    let invalid = |why: String| WireError::Invalid { what: WHAT, why };
    if request.source.is_empty() {
        return Err(invalid("`source` is empty; draw a random id when the process starts".into()));
    }
    if request.source.len() > SOURCE_BYTES_MAX {
        return Err(invalid(format!("`source` is longer than {SOURCE_BYTES_MAX} bytes")));
    }
    if request.sequence == 0 {
        return Err(invalid("`sequence` is 0; the first batch of a source is 1".into()));
    }
    check_count("metrics", request.metrics.len(), METRICS_MAX)?;
    check_labels(&request.labels).map_err(invalid)?;
    let mut emitted = Emitted {
        source: request.source.clone(),
        sequence: request.sequence,
        rows: Vec::with_capacity(request.metrics.len()),
        refused: Vec::new(),
        dropped: request.dropped,
    };
    for (index, metric) in request.metrics.iter().enumerate() {
        match row(metric, &request.labels) {
            Ok(row) => emitted.rows.push(row),
            Err(why) => emitted.refused.push(Refusal { index: index as u32, why }),
        }
    }
    Ok(emitted)
}

fn row(metric: &Metric, shared: &[Label]) -> Result<Row, String> {
    check_name(&metric.name)?;
    check_labels(&metric.labels)?;
    check_tally(metric)?;
    let name = std::iter::once((METRIC_NAME, metric.name.as_str()));
    let pairs = shared.iter().chain(&metric.labels).map(|label| (label.name.as_str(), label.value.as_str()));
    let labels = Labels::new(pairs.chain(name));
    if labels.len() > LABELS_MAX {
        let count = labels.len();
        return Err(format!("`{}` has {count} labels, at most {LABELS_MAX} are taken", metric.name));
    }
    let tally =
        Tally { sum: metric.sum, count: metric.count, min: metric.min, max: metric.max, last: metric.last };
    Ok(Row { labels, time: metric.time_unix_ms, tally })
}

fn check_name(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("the metric has no name".into()),
        length if length > LABEL_VALUE_BYTES_MAX => {
            Err(format!("the metric's name is longer than {LABEL_VALUE_BYTES_MAX} bytes: `{}`", start(name)))
        }
        _ => Ok(()),
    }
}

fn check_labels(labels: &[Label]) -> Result<(), String> {
    for (at, label) in labels.iter().enumerate() {
        let name = label.name.as_str();
        if name.is_empty() {
            return Err(format!("the label with the value `{}` has no name", start(&label.value)));
        }
        if name == METRIC_NAME {
            return Err(format!("`{METRIC_NAME}` is no label of its own; put it into `name`"));
        }
        if name.len() > LABEL_NAME_BYTES_MAX {
            let start = start(name);
            return Err(format!(
                "the name of the label `{start}` is longer than {LABEL_NAME_BYTES_MAX} bytes"
            ));
        }
        if label.value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(format!(
                "the value of the label `{name}` is longer than {LABEL_VALUE_BYTES_MAX} bytes"
            ));
        }
        // Short lists, and only those of honest senders get this far.
        if labels.iter().take(at.min(LABELS_MAX)).any(|before| before.name == name) {
            return Err(format!("the label `{name}` is given twice"));
        }
        if at >= LABELS_MAX {
            return Err(format!("there are {} labels, at most {LABELS_MAX} are taken", labels.len()));
        }
    }
    Ok(())
}

/// NaN compares with nothing and passes: a program may well have emitted it.
fn check_tally(metric: &Metric) -> Result<(), String> {
    let Metric { name, min, max, last, .. } = metric;
    if metric.count == 0 {
        return Err(format!("`{name}` has the count 0; leave out what was not emitted"));
    }
    if min > max {
        return Err(format!("`{name}` has the min {min}, above its max {max}"));
    }
    if last < min || last > max {
        return Err(format!("`{name}` has the last value {last}, outside of its min {min} and max {max}"));
    }
    if metric.time_unix_ms <= 0 {
        return Err(format!("`{name}` has no time; it is in milliseconds since 1970"));
    }
    Ok(())
}

fn check_size(bytes: &[u8]) -> Result<(), WireError> {
    if bytes.len() > REQUEST_BYTES_MAX {
        let (size, limit) = (bytes.len() as u64, REQUEST_BYTES_MAX as u64);
        return Err(WireError::TooLarge { what: WHAT, size, limit });
    }
    Ok(())
}

fn check_count(of: &'static str, count: usize, limit: usize) -> Result<(), WireError> {
    if count > limit {
        return Err(WireError::TooMany { what: WHAT, of, limit: limit as u64 });
    }
    Ok(())
}

/// The first 40 characters.
fn start(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests;
