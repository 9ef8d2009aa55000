//! Prometheus remote read: a `prometheus.ReadRequest` in a snappy block, answered with whole samples, or with a stream
//! of compressed chunks.
//!
//! Source: `prompb/remote.proto`, `prompb/types.proto`, and prometheus.io/docs/prometheus/latest/querying/remote_read_api.

mod samples;
mod stream;
mod xor;

use hmsops_model::{MatchOp, Matcher};

pub use samples::{pack, samples};
pub use stream::stream;

use crate::WireError;
use crate::protobuf::{Field, Fields};

/// The longest request in bytes when unpacked: a selector of a person has some hundred bytes.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Questions of a request: senders ask one.
pub const QUERIES_MAX: usize = 100;

/// Matchers of a question.
pub const MATCHERS_MAX: usize = 1000;

/// What errors call a request.
const WHAT: &str = "the remote read request";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadRequest {
    /// The questions; the answer has as many results.
    pub queries: Vec<Query>,
    /// The forms in which an answer is taken, those that are preferred first. Never empty.
    pub forms: Vec<Form>,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// The earliest moment wanted, in Unix milliseconds, inclusive.
    pub from: i64,
    /// The latest moment wanted, in Unix milliseconds, inclusive.
    pub to: i64,
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
}

/// A form of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `SAMPLES`: all of them in one message.
    Samples,
    /// `STREAMED_XOR_CHUNKS`: series after series, in frames.
    Chunks,
}

/// Unpacks and reads a request. What the sender will do with the samples is passed over.
pub fn decode(body: &[u8]) -> Result<ReadRequest, WireError> {
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
    decode_unpacked(&snap::raw::Decoder::new().decompress_vec(body).map_err(malformed)?)
}

/// Reads a request that was unpacked.
pub fn decode_unpacked(bytes: &[u8]) -> Result<ReadRequest, WireError> {
    let (mut request, mut is_open) = (ReadRequest::default(), true);
    let mut fields = Fields::new(WHAT, bytes);
    while let Some(field) = fields.read()? {
        match field.number {
            1 if request.queries.len() >= QUERIES_MAX => return Err(too_many("queries", QUERIES_MAX)),
            1 => request.queries.push(query(&field)?),
            2 => field.each_varint("a form of answers", |form| {
                is_open = false;
                match form {
                    0 => request.take_form(Form::Samples),
                    1 => request.take_form(Form::Chunks),
                    _ => {}
                }
            })?,
            _ => {}
        }
    }
    if is_open {
        request.take_form(Form::Samples);
    }
    if request.forms.is_empty() {
        let why = "it takes no form of answers that is known".to_owned();
        return Err(WireError::Invalid { what: WHAT, why });
    }
    Ok(request)
}

impl ReadRequest {
    fn take_form(&mut self, form: Form) {
        if !self.forms.contains(&form) {
            self.forms.push(form);
        }
    }
}

fn query(field: &Field<'_>) -> Result<Query, WireError> {
    let (mut query, mut fields) = (Query::default(), field.message("a query")?);
    while let Some(field) = fields.read()? {
        match field.number {
            1 => query.from = field.varint("the start of a query")? as i64,
            2 => query.to = field.varint("the end of a query")? as i64,
            3 if query.matchers.len() >= MATCHERS_MAX => return Err(too_many("matchers", MATCHERS_MAX)),
            3 => query.matchers.push(matcher(&field)?),
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(field: &Field<'_>) -> Result<Matcher, WireError> {
    let (mut op, mut name, mut value) = (0, "", "");
    let mut fields = field.message("a matcher")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => op = field.varint("the type of a matcher")?,
            2 => name = field.text("the name of a label")?,
            3 => value = field.text("the value of a label")?,
            _ => {}
        }
    }
    let op = match op {
        0 => MatchOp::Eq,
        1 => MatchOp::Ne,
        2 => MatchOp::Re,
        3 => MatchOp::NotRe,
        _ => return Err(field.wrong(format!("a matcher has the unknown type {op}"))),
    };
    Ok(Matcher::new(name, op, value))
}

fn too_many(of: &'static str, limit: usize) -> WireError {
    WireError::TooMany { what: WHAT, of, limit: limit as u64 }
}

#[cfg(test)]
mod tests;
