//! The write-ahead log: one record a batch, in numbered files. A file is closed when a checkpoint begins and
//! removed when it has ended.

use std::sync::Arc;

use hmsops_disk::{Disk, GroupLog, Log};
use hmsops_model::UnixMillis;
use hmsops_model::labels::Labels;
use hmsops_model::sample::Value;

use crate::batch::Origin;
use crate::bytes::{Damaged, Reader, put_int, put_slice, put_uint};
use crate::error::StoreError;
use crate::options::BATCH_BYTES_MAX;
use crate::value;

const RECORD: u8 = 1;

/// Starts a new file of the log.
pub(crate) fn create(disk: &Arc<dyn Disk>, folder: &str, number: u64) -> Result<GroupLog, StoreError> {
    Ok(GroupLog::new(Log::open(Arc::clone(disk), &path(folder, number), BATCH_BYTES_MAX)?.log))
}

/// The path of a file of the log.
pub(crate) fn path(folder: &str, number: u64) -> String {
    format!("{folder}/wal-{number:08}")
}

/// A record under construction.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    definitions: Vec<u8>,
    rows: Vec<u8>,
    id: i64,
    time: i64,
}

impl RecordWriter {
    pub(crate) const fn new() -> Self {
        Self { definitions: Vec::new(), rows: Vec::new(), id: 0, time: 0 }
    }

    /// Says what an id stands for.
    pub(crate) fn define(&mut self, id: u32, labels: &Labels) {
        put_definition(&mut self.definitions, id, labels);
    }

    /// Adds a sample.
    pub(crate) fn push(&mut self, id: u32, time: i64, start: i64, value: &Value) {
        let (id_change, time_change) = (i64::from(id) - self.id, time.wrapping_sub(self.time));
        (self.id, self.time) = (i64::from(id), time);
        put_int(&mut self.rows, id_change);
        put_int(&mut self.rows, time_change);
        put_int(&mut self.rows, start);
        value::encode(&mut self.rows, value);
    }

    /// The record.
    pub(crate) fn finish(self, now: UnixMillis, origin: Option<Origin<'_>>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.definitions.len() + self.rows.len() + 64);
        bytes.push(RECORD);
        put_int(&mut bytes, now.0);
        bytes.push(u8::from(origin.is_some()));
        if let Some(origin) = origin {
            put_slice(&mut bytes, origin.source.as_bytes());
            put_uint(&mut bytes, origin.sequence);
        }
        put_slice(&mut bytes, &self.definitions);
        bytes.extend(self.rows);
        bytes
    }
}

/// Appends what an id stands for.
pub(crate) fn put_definition(bytes: &mut Vec<u8>, id: u32, labels: &Labels) {
    put_uint(bytes, u64::from(id));
    put_uint(bytes, labels.len() as u64);
    for (name, value) in labels.iter() {
        put_slice(bytes, name.as_bytes());
        put_slice(bytes, value.as_bytes());
    }
}

/// Reads what [`put_definition`] wrote.
pub(crate) fn definition(reader: &mut Reader<'_>) -> Result<(u32, Labels), Damaged> {
    let id = reader.small()?;
    let pairs: Result<Vec<(&str, &str)>, Damaged> =
        (0..reader.len()?).map(|_| Ok((reader.text()?, reader.text()?))).collect();
    Ok((id, Labels::new(pairs?)))
}

/// What a record says, in the order to be taken.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// When it was written.
    pub(crate) at: i64,
    pub(crate) origin: Option<Origin<'a>>,
    pub(crate) definitions: Vec<(u32, Labels)>,
    /// Id, time, start timestamp, value.
    pub(crate) rows: Vec<(u32, i64, i64, Value)>,
}

impl<'a> Record<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != RECORD {
            return Err(Damaged("a kind of record that does not exist"));
        }
        let at = reader.int()?;
        let origin = match reader.byte()? {
            0 => None,
            _ => Some(Origin { source: reader.text()?, sequence: reader.uint()? }),
        };
        let (mut definitions, mut rows) = (Vec::new(), Vec::new());
        let mut defining = Reader::new(reader.slice()?);
        while !defining.is_empty() {
            definitions.push(definition(&mut defining)?);
        }
        let (mut id, mut time) = (0_i64, 0_i64);
        while !reader.is_empty() {
            id = id.wrapping_add(reader.int()?);
            time = time.wrapping_add(reader.int()?);
            let start = reader.int()?;
            let id = u32::try_from(id).map_err(|_| Damaged("a series' number is too large"))?;
            rows.push((id, time, start, value::decode(&mut reader)?));
        }
        Ok(Self { at, origin, definitions, rows })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::tests::values;

    proptest! {
        #[test]
        fn records_round_trip(
            rows in prop::collection::vec((any::<u32>(), any::<i64>(), any::<i64>(), values()), 0..20),
            sequence: u64,
        ) {
            let labels = Labels::new([("__name__", "up"), ("é", "ü")]);
            let mut writer = RecordWriter::new();
            writer.define(7, &labels);
            for (id, time, start, value) in &rows {
                writer.push(*id, *time, *start, value);
            }
            let bytes = writer.finish(UnixMillis(-5), Some(Origin { source: "s", sequence }));
            let record = Record::decode(&bytes).unwrap();
            prop_assert_eq!((record.at, record.origin), (-5, Some(Origin { source: "s", sequence })));
            prop_assert_eq!(record.definitions, vec![(7, labels)]);
            prop_assert_eq!(record.rows.len(), rows.len());
            for (found, row) in record.rows.iter().zip(&rows) {
                prop_assert_eq!((found.0, found.1, found.2), (row.0, row.1, row.2));
                prop_assert!(value::is_same(&found.3, &row.3));
            }
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 16) {
                let _ = Record::decode(&bytes[..cut]);
            }
        }
    }
}
