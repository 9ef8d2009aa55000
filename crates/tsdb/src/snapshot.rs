//! What a checkpoint keeps of series in memory: what is neither in a file of chunks nor in the log after it.

use hmsops_model::sample::Value;

use crate::bytes::{Damaged, Reader, put_int, put_slice, put_uint};
use crate::chunk;
use crate::series::State;
use crate::value;

/// The first byte of a frame that says which batches were stored.
pub(crate) const ORIGINS: u8 = 1;

/// The first byte of a frame of series.
pub(crate) const SERIES: u8 = 2;

/// Appends what is in memory of a series. Sealed chunks are left out: the checkpoint writes them to their file.
pub(crate) fn encode(bytes: &mut Vec<u8>, id: u32, state: &State) {
    put_uint(bytes, u64::from(id));
    bytes.push(u8::from(state.newest.is_some()));
    if let Some((time, value)) = &state.newest {
        put_int(bytes, *time);
        value::encode(bytes, value);
    }
    put_slice(bytes, &state.open.as_ref().map(chunk::OpenChunk::encode).unwrap_or_default());
    put_uint(bytes, state.late.len() as u64);
    for (time, (start, value)) in &state.late {
        put_int(bytes, *time);
        put_int(bytes, *start);
        value::encode(bytes, value);
    }
}

/// What [`encode`] wrote.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    pub(crate) id: u32,
    newest: Option<(i64, Value)>,
    open: &'a [u8],
    late: Vec<(i64, i64, Value)>,
}

impl<'a> Kept<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Damaged> {
        let id = reader.small()?;
        let newest = match reader.byte()? {
            0 => None,
            _ => Some((reader.int()?, value::decode(reader)?)),
        };
        let open = reader.slice()?;
        let late: Result<Vec<_>, Damaged> =
            (0..reader.len()?).map(|_| Ok((reader.int()?, reader.int()?, value::decode(reader)?))).collect();
        Ok(Self { id, newest, open, late: late? })
    }

    /// Puts it into a series that holds nothing but chunks on disk. Answers how many samples it was.
    pub(crate) fn restore(self, state: &mut State) -> Result<usize, Damaged> {
        state.newest = self.newest;
        state.open = if self.open.is_empty() { None } else { chunk::reopen(self.open)? };
        let samples = self.late.len() + state.open.as_ref().map_or(0, |open| open.count() as usize);
        state.late.extend(self.late.into_iter().map(|(time, start, value)| (time, (start, value))));
        Ok(samples)
    }
}
