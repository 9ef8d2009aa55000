//! Version 2.0: a table of symbols, and series whose labels are references into it.

use std::collections::HashSet;

use hmsops_model::Labels;
use hmsops_model::labels::METRIC_NAME;
use hmsops_model::limits::LABELS_MAX;

use super::metadata::{self, Metadata};
use super::{Block, Exemplar, LABEL_BYTES_MAX, LABEL_TAG, Place, SYMBOLS_MAX, WHAT, WriteRequest};
use super::{check_size, too_many};
use crate::WireError;
use crate::protobuf::{Field, Fields, put_varint};

/// References of one set of labels that are looked at: a pair for each label it may have, and one too many.
const REFERENCES_MAX: usize = 2 * LABELS_MAX + 2;

/// Bytes of the labels of one series: several times what a store takes.
const SET_BYTES_MAX: usize = 64 << 10;

/// Bytes of the labels of an exemplar: 128 characters, each with all that may be around it.
const EXEMPLAR_BYTES_MAX: usize = 2 << 10;

/// Reads an unpacked request of version 2.0. What is said of metrics is handed out once for each of them.
pub fn decode_v2(bytes: &[u8]) -> Result<WriteRequest<'_>, WireError> {
    check_size(bytes)?;
    let mut symbols = Vec::new();
    let mut fields = Fields::new(WHAT, bytes);
    while let Some(field) = fields.read()? {
        if field.number == 4 {
            if symbols.len() >= SYMBOLS_MAX {
                return Err(too_many("symbols", SYMBOLS_MAX));
            }
            let symbol = field.bytes("a symbol")?;
            if symbols.is_empty() && !symbol.is_empty() {
                return Err(field.wrong("the first symbol is not empty".to_owned()));
            }
            symbols.push(symbol);
        }
    }
    let mut reader =
        Reader { request: WriteRequest::new(), symbols, said: HashSet::new(), refs: Vec::new(), copied: 0 };
    let mut fields = Fields::new(WHAT, bytes);
    while let Some(field) = fields.read()? {
        if field.number == 5 {
            reader.take_series(&field)?;
        }
    }
    Ok(reader.request)
}

/// A request while it is read.
struct Reader<'a> {
    request: WriteRequest<'a>,
    symbols: Vec<&'a [u8]>,
    /// Metadata that was handed out already: name, type, help, unit.
    said: HashSet<[u64; 4]>,
    /// References of the series at hand; kept for its memory.
    refs: Vec<u64>,
    /// Bytes of labels that were copied, also those that turned out to be of no use.
    copied: usize,
}

/// Metadata of a series as it stands in it.
#[derive(Default)]
struct Said {
    kind: u64,
    help: u64,
    unit: u64,
}

impl<'a> Reader<'a> {
    fn take_series(&mut self, field: &Field<'a>) -> Result<(), WireError> {
        self.request.check_series()?;
        let (samples, histograms) = self.request.ends();
        let (exemplars, skipped) = (self.request.exemplars.len(), self.request.skipped.histograms);
        let (mut said, mut fields) = (Said::default(), field.message("a series")?);
        self.refs.clear();
        while let Some(field) = fields.read()? {
            match field.number {
                1 => references(&field, &mut self.refs)?,
                2 => self.request.take_sample(&field)?,
                3 => self.request.take_histogram(&field)?,
                4 => self.take_exemplar(&field)?,
                5 => said = Said::decode(&field)?,
                _ => {}
            }
        }
        let (samples_end, histograms_end) = self.request.ends();
        let count = u64::from(samples_end - samples) + u64::from(histograms_end - histograms);
        let start = self.request.joined.len();
        let joined = join(&self.symbols, &self.refs, SET_BYTES_MAX, &mut self.request.joined);
        self.count(self.request.joined.len() - start)?;
        let fault = joined.err().or_else(|| {
            let is_empty = count == 0 && skipped == self.request.skipped.histograms;
            is_empty.then(|| "a series has neither samples nor histograms".to_owned())
        });
        if let Some(why) = fault {
            let request = &mut self.request;
            request.joined.truncate(start);
            request.samples.truncate(samples as usize);
            request.histograms.truncate(histograms as usize);
            request.skipped.exemplars += (request.exemplars.len() - exemplars) as u64;
            request.exemplars.truncate(exemplars);
            request.skipped.of_series += count.max(1);
            request.skipped.why.get_or_insert(why);
            return Ok(());
        }
        self.take_said(&said);
        self.request.blocks.push(Block {
            labels: Place::Joined(start as u32..self.request.joined.len() as u32),
            samples: samples..samples_end,
            histograms: histograms..histograms_end,
        });
        Ok(())
    }

    fn take_exemplar(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        let series = self.request.blocks.len();
        let mut exemplar = Exemplar { series, labels: Labels::empty(), time: 0, value: 0.0 };
        let (mut refs, mut fields) = (Vec::new(), field.message("an exemplar")?);
        while let Some(field) = fields.read()? {
            match field.number {
                1 => references(&field, &mut refs)?,
                2 => exemplar.value = field.double("the value of an exemplar")?,
                3 => exemplar.time = field.varint("the time of an exemplar")? as i64,
                _ => {}
            }
        }
        let mut labels = Vec::new();
        let joined = join(&self.symbols, &refs, EXEMPLAR_BYTES_MAX, &mut labels);
        self.count(labels.len())?;
        self.request.take_exemplar(joined.ok().and_then(|()| exemplar.with(&labels)))
    }

    fn count(&mut self, copied: usize) -> Result<(), WireError> {
        self.copied += copied;
        if self.copied > LABEL_BYTES_MAX {
            return Err(too_many("bytes of labels", LABEL_BYTES_MAX));
        }
        Ok(())
    }

    /// Notes what is said of the series at hand, if it is new and can be read.
    fn take_said(&mut self, said: &Said) {
        if said.kind == 0 && said.help == 0 && said.unit == 0 {
            return;
        }
        let pairs = self.refs.chunks_exact(2);
        let mut names = pairs.filter(|pair| self.symbol(pair[0]) == Some(METRIC_NAME)).map(|pair| pair[1]);
        let Some(name) = names.next() else { return };
        if !self.said.insert([name, said.kind, said.help, said.unit]) {
            return;
        }
        let texts = (self.symbol(name), self.symbol(said.help), self.symbol(said.unit));
        if let (Some(name), Some(help), Some(unit)) = texts {
            let kind = metadata::kind(said.kind);
            let family = metadata::family(name, kind);
            self.request.take_metadata(Metadata { family, kind, help, unit });
        }
    }

    fn symbol(&self, reference: u64) -> Option<&'a str> {
        let symbol = self.symbols.get(usize::try_from(reference).ok()?)?;
        std::str::from_utf8(symbol).ok()
    }
}

impl Said {
    fn decode(field: &Field<'_>) -> Result<Self, WireError> {
        let (mut said, mut fields) = (Self::default(), field.message("metadata")?);
        while let Some(field) = fields.read()? {
            match field.number {
                1 => said.kind = field.varint("the type of a metric")?,
                3 => said.help = field.varint("the help of a metric")?,
                4 => said.unit = field.varint("the unit of a metric")?,
                _ => {}
            }
        }
        Ok(said)
    }
}

/// Adds references, packed or not; those beyond any that are followed are left out.
fn references(field: &Field<'_>, refs: &mut Vec<u64>) -> Result<(), WireError> {
    field.each_varint("a reference", |reference| {
        if refs.len() < REFERENCES_MAX {
            refs.push(reference);
        }
    })
}

/// Adds the labels behind references as fields of version 1.0. The error says what is wrong with the series.
fn join(symbols: &[&[u8]], refs: &[u64], bytes_max: usize, joined: &mut Vec<u8>) -> Result<(), String> {
    let start = joined.len();
    if refs.len() >= REFERENCES_MAX {
        return Err(format!("a series has more than {LABELS_MAX} labels"));
    }
    if refs.len() % 2 == 1 {
        return Err(format!("a series has {} references for its labels, expected pairs", refs.len()));
    }
    let symbol = |reference: u64| {
        let found = usize::try_from(reference).ok().and_then(|reference| symbols.get(reference));
        found.copied().ok_or_else(|| {
            format!("a series refers to the symbol {reference}, and there are {}", symbols.len())
        })
    };
    for pair in refs.chunks_exact(2) {
        let (name, value) = (symbol(pair[0])?, symbol(pair[1])?);
        let inner = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
        if joined.len() - start + inner > bytes_max {
            return Err(format!("the labels of a series have more than {bytes_max} bytes"));
        }
        joined.push(LABEL_TAG);
        put_varint(joined, inner as u64);
        for (tag, text) in [(0x0a, name), (0x12, value)] {
            joined.push(tag);
            put_varint(joined, text.len() as u64);
            joined.extend_from_slice(text);
        }
    }
    Ok(())
}

const fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    if bits == 0 { 1 } else { bits.div_ceil(7) as usize }
}
