//! Answers in frames: `prometheus.ChunkedReadResponse`, each behind its length and its checksum.

use hmsops_model::series::Values;
use hmsops_model::{Series, Value};

use super::samples::labels;
use super::xor::XorChunk;
use crate::protobuf::{Message, put_varint};

/// Samples of a chunk, as Prometheus cuts them.
const CHUNK_SAMPLES: usize = 120;

/// Bytes of chunks after which a frame ends: Prometheus' own limit (`--storage.remote.read-max-bytes-in-frame`).
const FRAME_BYTES: usize = 1 << 20;

/// `Encoding.XOR`.
const XOR: u64 = 1;

/// The results of all questions, series after series. `None` when there is a histogram, which no XOR chunk holds. A
/// tally is shown as its last value.
pub fn stream(results: &[Vec<Series>]) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    for (query, result) in (0..).zip(results) {
        for series in result {
            let mut chunks = chunks(series)?.into_iter().peekable();
            while chunks.peek().is_some() {
                let mut message = Message::default();
                labels(&mut message, &series.labels);
                let mut bytes = 0;
                while let Some(chunk) = chunks.next_if(|_| bytes < FRAME_BYTES) {
                    bytes += chunk.len();
                    message.message(2, &chunk);
                }
                let mut frame = Message::default();
                frame.message(1, &message);
                frame.varint(2, query);
                put_frame(&mut answer, &frame.into_bytes());
            }
        }
    }
    Some(answer)
}

fn chunks(series: &Series) -> Option<Vec<Message>> {
    let samples = &series.samples;
    let float = |index: usize| match samples.values() {
        Values::Floats(floats) => Some(floats[index]),
        Values::Mixed(values) => match &values[index] {
            Value::Float(value) => Some(*value),
            Value::Tally(tally) => Some(tally.last),
            Value::Histogram(_) => None,
        },
    };
    let mut chunks = Vec::with_capacity(samples.len().div_ceil(CHUNK_SAMPLES));
    for (nth, times) in samples.times().chunks(CHUNK_SAMPLES).enumerate() {
        let mut chunk = XorChunk::default();
        for (index, time) in (nth * CHUNK_SAMPLES..).zip(times) {
            chunk.push(*time, float(index)?);
        }
        let mut message = Message::default();
        message.varint(1, times.first().copied().unwrap_or_default() as u64);
        message.varint(2, times.last().copied().unwrap_or_default() as u64);
        message.varint(3, XOR);
        message.bytes(4, &chunk.into_bytes());
        chunks.push(message);
    }
    Some(chunks)
}

/// Length as a varint, CRC-32C of the frame as four bytes, the highest first, and the frame (`storage/remote/chunked.go`).
fn put_frame(answer: &mut Vec<u8>, frame: &[u8]) {
    put_varint(answer, frame.len() as u64);
    answer.extend(crc32c(frame).to_be_bytes());
    answer.extend_from_slice(frame);
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), by a table of bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut n) = ([0; 256], 0);
        while n < 256 {
            let (mut rest, mut bit) = (n as u32, 0);
            while bit < 8 {
                rest = if rest & 1 == 1 { rest >> 1 ^ 0x82f6_3b78 } else { rest >> 1 };
                bit += 1;
            }
            table[n] = rest;
            n += 1;
        }
        table
    };
    let fold = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !bytes.iter().fold(u32::MAX, fold)
}
