//! Prometheus remote write, 1.0 and 2.0: a `prometheus.WriteRequest` or an `io.prometheus.write.v2.Request` in a
//! snappy block.
//!
//! The labels of a series stay the bytes they came as, or are put into the same form: a store looks known series up
//! by them, and only for a new one are they read ([`labels_of`]). That everything is there is checked before
//! anything is handed out, so that a broken request is refused whole; of what makes no sense (a histogram, a series
//! of version 2.0 whose references lead nowhere) the rest of the request is handed out without it.
//!
//! Source: the specifications at prometheus.io/docs/specs/prw/remote_write_spec and remote_write_spec_2_0, and
//! `prompb/types.proto` and `prompb/io/prometheus/write/v2/types.proto`.

pub(crate) mod histogram;
mod labels;
mod metadata;
mod v1;
mod v2;

use std::ops::Range;

use hmsops_model::{Histogram, Labels};

pub use labels::labels_of;
pub use metadata::Metadata;
pub use v1::decode;
pub use v2::decode_v2;

use crate::WireError;
use crate::protobuf::Field;

/// The longest request in bytes when unpacked: some 300 000 samples with eight labels each. Senders send 2 000 to
/// 10 000 at once.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Series of a request; bounds what empty ones would take in memory to 20 MB.
pub const SERIES_MAX: usize = 500_000;

/// Samples of a request, histograms included; bounds them to 48 MB.
pub const SAMPLES_MAX: usize = 2_000_000;

/// Buckets, spans and bounds of all histograms of a request; bounds them to 32 MB.
pub const BUCKETS_MAX: usize = 2_000_000;

/// Symbols of a request of version 2.0; bounds the table to 32 MB.
pub const SYMBOLS_MAX: usize = 2_000_000;

/// Bytes that the labels of all series of a request of version 2.0 make when their references are followed: 500 000
/// series with a quarter of a kilobyte each, which symbols of some kilobytes could make terabytes.
pub const LABEL_BYTES_MAX: usize = 128 << 20;

/// Exemplars of a request; bounds them to 20 MB.
pub const EXEMPLARS_MAX: usize = 100_000;

/// The tag of a label: field 1, bytes.
const LABEL_TAG: u8 = 0x0a;

/// What errors call a request.
const WHAT: &str = "the remote write request";

/// Unpacks the snappy block that a request comes in. The length that it announces is looked at first.
pub fn unpack(body: &[u8]) -> Result<Vec<u8>, WireError> {
    let malformed = |error: snap::Error| WireError::Malformed {
        what: WHAT,
        at: 0,
        why: format!("it is no snappy block: {error}"),
    };
    let size = snap::raw::decompress_len(body).map_err(malformed)?;
    if size > REQUEST_BYTES_MAX {
        let (size, limit) = (size as u64, REQUEST_BYTES_MAX as u64);
        return Err(WireError::TooLarge { what: WHAT, size, limit });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(malformed)
}

/// What a request holds.
#[derive(Debug, Clone, Default)]
pub struct WriteRequest<'a> {
    blocks: Vec<Block<'a>>,
    /// Labels that did not come in one piece.
    joined: Vec<u8>,
    samples: Vec<Sample>,
    histograms: Vec<NativeSample>,
    exemplars: Vec<Exemplar>,
    metadata: Vec<Metadata<'a>>,
    skipped: Skipped,
    buckets_left: usize,
}

/// What was left out of a request because it makes no sense.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Histograms whose parts contradict each other.
    pub histograms: u64,
    /// Samples and histograms of series that cannot be told, and series without any.
    pub of_series: u64,
    /// Exemplars that are no exemplars.
    pub exemplars: u64,
    /// What is wrong with the first histogram or series.
    pub why: Option<String>,
}

/// A series before it is known where the lists stay.
#[derive(Debug, Clone)]
struct Block<'a> {
    labels: Place<'a>,
    samples: Range<u32>,
    histograms: Range<u32>,
}

/// Where the labels of a series are.
#[derive(Debug, Clone)]
enum Place<'a> {
    /// In the request, in one piece.
    Sent(&'a [u8]),
    /// In [`WriteRequest::joined`].
    Joined(Range<u32>),
}

/// One series of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Series<'a> {
    /// The label fields as version 1.0 has them, tags and lengths included, without anything between: what
    /// [`labels_of`] reads. Senders sort labels, so the same series has the same bytes from the same sender.
    pub labels: &'a [u8],
    /// Its floats, in the order of the request.
    pub samples: &'a [Sample],
    /// Its native histograms, in the order of the request.
    pub histograms: &'a [NativeSample],
}

/// A float at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, in Unix milliseconds.
    pub time: i64,
    /// When its counter began, in Unix milliseconds; 0 when unknown.
    pub start: i64,
    /// Bit-exact: a NaN may be the stale marker.
    pub value: f64,
}

/// A native histogram at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeSample {
    /// When, in Unix milliseconds.
    pub time: i64,
    /// When it began to count, in Unix milliseconds; 0 when unknown.
    pub start: i64,
    /// What.
    pub value: Histogram,
}

/// An example of what a series counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// The place of its series in [`WriteRequest::series`].
    pub series: usize,
    /// Where it is from, as `trace_id`; may be empty.
    pub labels: Labels,
    /// When, in Unix milliseconds.
    pub time: i64,
    /// What was counted.
    pub value: f64,
}

impl<'a> WriteRequest<'a> {
    fn new() -> Self {
        Self { buckets_left: BUCKETS_MAX, ..Self::default() }
    }

    /// Its series, in order.
    pub fn series(&self) -> impl ExactSizeIterator<Item = Series<'_>> {
        let part = |range: &Range<u32>| range.start as usize..range.end as usize;
        self.blocks.iter().map(move |block| Series {
            labels: match &block.labels {
                Place::Sent(labels) => labels,
                Place::Joined(range) => &self.joined[part(range)],
            },
            samples: &self.samples[part(&block.samples)],
            histograms: &self.histograms[part(&block.histograms)],
        })
    }

    /// How many floats there are in all, without those that were skipped.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// How many histograms there are in all, without those that were skipped.
    pub fn histograms(&self) -> usize {
        self.histograms.len()
    }

    /// Its exemplars, in order, without those that were skipped.
    pub fn exemplars(&self) -> &[Exemplar] {
        &self.exemplars
    }

    /// What it says of metrics beside their values.
    pub fn metadata(&self) -> &[Metadata<'a>] {
        &self.metadata
    }

    /// What was left out.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Where the lists end now, for the next series.
    fn ends(&self) -> (u32, u32) {
        (self.samples.len() as u32, self.histograms.len() as u32)
    }

    fn check_series(&self) -> Result<(), WireError> {
        if self.blocks.len() >= SERIES_MAX {
            return Err(too_many("series", SERIES_MAX));
        }
        Ok(())
    }

    fn take_sample(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        self.check_samples()?;
        self.samples.push(sample(field)?);
        Ok(())
    }

    fn take_histogram(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        self.check_samples()?;
        match histogram::decode(field, &mut self.buckets_left)? {
            Ok(histogram) => self.histograms.push(histogram),
            Err(why) => {
                self.skipped.histograms += 1;
                self.skipped.why.get_or_insert(why);
            }
        }
        Ok(())
    }

    fn take_exemplar(&mut self, exemplar: Option<Exemplar>) -> Result<(), WireError> {
        match exemplar {
            Some(_) if self.exemplars.len() >= EXEMPLARS_MAX => {
                return Err(too_many("exemplars", EXEMPLARS_MAX));
            }
            Some(exemplar) => self.exemplars.push(exemplar),
            None => self.skipped.exemplars += 1,
        }
        Ok(())
    }

    fn check_samples(&self) -> Result<(), WireError> {
        if self.samples.len() + self.histograms.len() >= SAMPLES_MAX {
            return Err(too_many("samples", SAMPLES_MAX));
        }
        Ok(())
    }
}

fn check_size(bytes: &[u8]) -> Result<(), WireError> {
    if bytes.len() > REQUEST_BYTES_MAX {
        let (size, limit) = (bytes.len() as u64, REQUEST_BYTES_MAX as u64);
        return Err(WireError::TooLarge { what: WHAT, size, limit });
    }
    Ok(())
}

fn too_many(of: &'static str, limit: usize) -> WireError {
    WireError::TooMany { what: WHAT, of, limit: limit as u64 }
}

fn sample(field: &Field<'_>) -> Result<Sample, WireError> {
    let mut sample = Sample { time: 0, start: 0, value: 0.0 };
    let mut fields = field.message("a sample")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => sample.value = field.double("the value of a sample")?,
            2 => sample.time = field.varint("the time of a sample")? as i64,
            3 => sample.start = field.varint("the start of a sample")? as i64,
            _ => {}
        }
    }
    sample.start = begun(sample.start, sample.time);
    Ok(sample)
}

/// A start that is not before its sample says nothing.
const fn begun(start: i64, time: i64) -> i64 {
    if start < time { start } else { 0 }
}

#[cfg(test)]
mod tests;
