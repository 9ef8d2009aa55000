//! Version 1.0: labels as texts.

use std::ops::Range;

use hmsops_model::Labels;

use super::labels::pairs_of;
use super::metadata::Metadata;
use super::{Block, Exemplar, LABEL_TAG, Place, WHAT, WriteRequest, check_size};
use crate::WireError;
use crate::protobuf::{Field, Fields};

/// Reads an unpacked request of version 1.0.
pub fn decode(bytes: &[u8]) -> Result<WriteRequest<'_>, WireError> {
    check_size(bytes)?;
    let mut request = WriteRequest::new();
    let mut fields = Fields::new(WHAT, bytes);
    while let Some(field) = fields.read()? {
        match field.number {
            1 => request.take_series(&field)?,
            3 => request.take_metadata(Metadata::decode(&field)?),
            _ => {}
        }
    }
    Ok(request)
}

impl<'a> WriteRequest<'a> {
    fn take_series(&mut self, field: &Field<'a>) -> Result<(), WireError> {
        self.check_series()?;
        let bytes = field.bytes("a series")?;
        let mut fields = field.message("a series")?;
        let (samples, histograms) = self.ends();
        let mut labels = fields.skip_short(LABEL_TAG);
        let mut scattered: Option<Range<u32>> = None;
        while let Some(field) = fields.read()? {
            match field.number {
                1 => {
                    field.bytes("a label")?;
                    let span = field.start..fields.position();
                    if let Some(scattered) = &mut scattered {
                        self.joined.extend_from_slice(&bytes[span]);
                        scattered.end = self.joined.len() as u32;
                    } else if labels.is_empty() {
                        labels = span;
                    } else if labels.end == span.start {
                        labels.end = span.end;
                    } else {
                        let start = self.joined.len() as u32;
                        self.joined.extend_from_slice(&bytes[labels.clone()]);
                        self.joined.extend_from_slice(&bytes[span]);
                        scattered = Some(start..self.joined.len() as u32);
                    }
                }
                2 => self.take_sample(&field)?,
                3 => {
                    let exemplar = exemplar(&field, self.blocks.len())?;
                    self.take_exemplar(exemplar)?;
                }
                4 => self.take_histogram(&field)?,
                _ => {}
            }
        }
        let (samples_end, histograms_end) = self.ends();
        self.blocks.push(Block {
            labels: scattered.map_or(Place::Sent(&bytes[labels]), Place::Joined),
            samples: samples..samples_end,
            histograms: histograms..histograms_end,
        });
        Ok(())
    }
}

/// `None` when it is none.
fn exemplar(field: &Field<'_>, series: usize) -> Result<Option<Exemplar>, WireError> {
    let mut exemplar = Exemplar { series, labels: Labels::empty(), time: 0, value: 0.0 };
    let mut labels = Vec::new();
    let bytes = field.bytes("an exemplar")?;
    let mut fields = field.message("an exemplar")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => {
                field.bytes("a label")?;
                labels.extend_from_slice(&bytes[field.start..fields.position()]);
            }
            2 => exemplar.value = field.double("the value of an exemplar")?,
            3 => exemplar.time = field.varint("the time of an exemplar")? as i64,
            _ => {}
        }
    }
    Ok(exemplar.with(&labels))
}

impl Exemplar {
    /// With its labels, from their fields; `None` when they make no labels, or when it has no time.
    pub(super) fn with(self, labels: &[u8]) -> Option<Self> {
        /// Characters of all names and values (OpenMetrics 1.0, Exemplars).
        const CHARS_MAX: usize = 128;
        if self.time == 0 {
            return None;
        }
        let pairs = pairs_of(labels).ok()?;
        let chars = |text: &str| text.chars().count();
        let total: usize = pairs.iter().map(|(name, value)| chars(name) + chars(value)).sum();
        (total <= CHARS_MAX).then(|| Self { labels: Labels::from_sorted(&pairs), ..self })
    }
}
