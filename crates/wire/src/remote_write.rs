//! Prometheus remote write 1.0: a `prometheus.WriteRequest` in a snappy block.
//!
//! The labels of a series stay the bytes they came as: a store looks known series up by them, and only for a new
//! one are they read ([`labels_of`]). Everything else is checked before anything is handed out, so that a broken
//! request is refused whole. Exemplars and metadata are passed over.
//!
//! Source: the specification at prometheus.io/docs/specs/prw/remote_write_spec, and `prompb/types.proto`.

pub(crate) mod histogram;
mod labels;

use std::borrow::Cow;
use std::ops::Range;

use hmsops_model::Histogram;

pub use labels::labels_of;

use crate::WireError;
use crate::protobuf::{Field, Fields};

/// The longest request in bytes when unpacked: some 300 000 samples with eight labels each. Senders send 2 000 to
/// 10 000 at once.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Series of a request; bounds what empty ones would take in memory to 20 MB.
pub const SERIES_MAX: usize = 500_000;

/// Samples of a request, histograms included; bounds them to 32 MB.
pub const SAMPLES_MAX: usize = 2_000_000;

/// Buckets, spans and bounds of all histograms of a request; bounds them to 32 MB.
pub const BUCKETS_MAX: usize = 2_000_000;

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

/// Reads an unpacked request.
pub fn decode(bytes: &[u8]) -> Result<WriteRequest<'_>, WireError> {
    if bytes.len() > REQUEST_BYTES_MAX {
        let (size, limit) = (bytes.len() as u64, REQUEST_BYTES_MAX as u64);
        return Err(WireError::TooLarge { what: WHAT, size, limit });
    }
    let mut request = WriteRequest { buckets_left: BUCKETS_MAX, ..WriteRequest::default() };
    let mut fields = Fields::new(WHAT, bytes);
    while let Some(field) = fields.read()? {
        if field.number == 1 {
            request.take_series(&field)?;
        }
    }
    Ok(request)
}

/// What a request holds.
#[derive(Debug, Clone, Default)]
pub struct WriteRequest<'a> {
    blocks: Vec<Block<'a>>,
    samples: Vec<Sample>,
    histograms: Vec<(i64, Histogram)>,
    skipped: u64,
    skipped_why: Option<String>,
    buckets_left: usize,
}

/// A series before it is known where the lists stay.
#[derive(Debug, Clone)]
struct Block<'a> {
    labels: Cow<'a, [u8]>,
    samples: Range<u32>,
    histograms: Range<u32>,
}

/// One series of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Series<'a> {
    /// The label fields as they came, tags and lengths included, without anything between: what [`labels_of`]
    /// reads. Senders sort labels, so the same series has the same bytes from the same sender.
    pub labels: &'a [u8],
    /// Its floats, in the order of the request.
    pub samples: &'a [Sample],
    /// Its native histograms, with their times in Unix milliseconds, in the order of the request.
    pub histograms: &'a [(i64, Histogram)],
}

/// A float at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, in Unix milliseconds.
    pub time: i64,
    /// Bit-exact: a NaN may be the stale marker.
    pub value: f64,
}

impl<'a> WriteRequest<'a> {
    /// Its series, in order.
    pub fn series(&self) -> impl ExactSizeIterator<Item = Series<'_>> {
        let part = |range: &Range<u32>| range.start as usize..range.end as usize;
        self.blocks.iter().map(move |block| Series {
            labels: &block.labels,
            samples: &self.samples[part(&block.samples)],
            histograms: &self.histograms[part(&block.histograms)],
        })
    }

    /// How many floats there are in all.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// How many histograms there are in all, without those that were skipped.
    pub fn histograms(&self) -> usize {
        self.histograms.len()
    }

    /// How many histograms were left out because they make no sense, and why the first one was.
    pub fn skipped(&self) -> (u64, Option<&str>) {
        (self.skipped, self.skipped_why.as_deref())
    }

    fn take_series(&mut self, field: &Field<'a>) -> Result<(), WireError> {
        if self.blocks.len() >= SERIES_MAX {
            return Err(too_many("series", SERIES_MAX));
        }
        let bytes = field.bytes("a series")?;
        let mut fields = field.message("a series")?;
        let (samples, histograms) = (self.samples.len() as u32, self.histograms.len() as u32);
        let mut labels = fields.skip_short(LABEL_TAG);
        let mut scattered: Option<Vec<u8>> = None;
        while let Some(field) = fields.read()? {
            match field.number {
                1 => {
                    field.bytes("a label")?;
                    let span = field.start..fields.position();
                    if let Some(scattered) = &mut scattered {
                        scattered.extend_from_slice(&bytes[span]);
                    } else if labels.is_empty() {
                        labels = span;
                    } else if labels.end == span.start {
                        labels.end = span.end;
                    } else {
                        scattered = Some([&bytes[labels.clone()], &bytes[span]].concat());
                    }
                }
                2 => {
                    self.check_samples()?;
                    self.samples.push(sample(&field)?);
                }
                4 => {
                    self.check_samples()?;
                    self.take_histogram(&field)?;
                }
                _ => {}
            }
        }
        self.blocks.push(Block {
            labels: scattered.map_or(Cow::Borrowed(&bytes[labels]), Cow::Owned),
            samples: samples..self.samples.len() as u32,
            histograms: histograms..self.histograms.len() as u32,
        });
        Ok(())
    }

    fn take_histogram(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        match histogram::decode(field, &mut self.buckets_left)? {
            Ok(histogram) => self.histograms.push(histogram),
            Err(why) => {
                self.skipped += 1;
                self.skipped_why.get_or_insert(why);
            }
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

fn too_many(of: &'static str, limit: usize) -> WireError {
    WireError::TooMany { what: WHAT, of, limit: limit as u64 }
}

fn sample(field: &Field<'_>) -> Result<Sample, WireError> {
    let mut sample = Sample { time: 0, value: 0.0 };
    let mut fields = field.message("a sample")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => sample.value = field.double("the value of a sample")?,
            2 => sample.time = field.varint("the time of a sample")? as i64,
            _ => {}
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests;
