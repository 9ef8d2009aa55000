//! Names and label sets, shared by both formats.

use std::borrow::Cow;

use hmsops_model::Labels;
use hmsops_model::labels::METRIC_NAME;
use hmsops_model::limits::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX};

use super::cursor::Cursor;
use super::number::canonical;
use super::{ExpositionError, Kind};

/// A label: name and value.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// How much a format lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blanks {
    /// Between any two parts, and a comma after the last label.
    Anywhere,
    /// Nowhere in a label set, and no comma too many.
    Nowhere,
}

/// Reads `name{label="value",…}` or `{"name",label="value",…}` into `pairs`, sorted, and answers with the name,
/// which is not among them.
pub(super) fn read<'a>(
    cursor: &mut Cursor<'a>,
    blanks: Blanks,
    pairs: &mut Vec<Pair<'a>>,
) -> Result<Cow<'a, str>, ExpositionError> {
    pairs.clear();
    let start = cursor.at();
    let bare = bare_name(cursor, true);
    let mut name = (!bare.is_empty()).then_some(Cow::Borrowed(bare));
    if blanks == Blanks::Anywhere && name.is_some() {
        cursor.skip_blanks();
    }
    if cursor.eat(b'{') {
        label_set(cursor, blanks, &mut name, pairs)?;
    } else if name.is_none() {
        return Err(cursor.expected("a metric's name"));
    }
    let Some(name) = name else {
        return Err(cursor.wrong_at(start, "expected a metric's name before or within the braces".into()));
    };
    if name.len() > LABEL_VALUE_BYTES_MAX {
        let why = format!("the metric's name is longer than {LABEL_VALUE_BYTES_MAX} bytes");
        return Err(cursor.wrong_at(start, why));
    }
    Ok(name)
}

/// Reads the labels of an exemplar, whose opening brace is next.
pub(super) fn read_exemplar<'a>(
    cursor: &mut Cursor<'a>,
    pairs: &mut Vec<Pair<'a>>,
) -> Result<(), ExpositionError> {
    pairs.clear();
    if !cursor.eat(b'{') {
        return Err(cursor.expected("`{` and the labels of an exemplar"));
    }
    let mut name = Some(Cow::Borrowed(""));
    label_set(cursor, Blanks::Nowhere, &mut name, pairs)
}

/// What comes after an opening brace, with the closing one. A text in quotes without a value is the metric's name.
fn label_set<'a>(
    cursor: &mut Cursor<'a>,
    blanks: Blanks,
    metric: &mut Option<Cow<'a, str>>,
    pairs: &mut Vec<Pair<'a>>,
) -> Result<(), ExpositionError> {
    let skip = |cursor: &mut Cursor<'a>| blanks == Blanks::Anywhere && cursor.skip_blanks();
    let open = cursor.at();
    skip(cursor);
    let mut is_first = true;
    while !(is_first && cursor.eat(b'}')) {
        is_first = false;
        let start = cursor.at();
        let is_quoted = cursor.eat(b'"');
        let name = if is_quoted { quoted(cursor)? } else { Cow::Borrowed(bare_name(cursor, false)) };
        if name.is_empty() {
            return Err(if is_quoted {
                cursor.wrong_at(start, "expected a name, found empty quotes".into())
            } else {
                cursor.expected("a label's name or `}`")
            });
        }
        skip(cursor);
        if is_quoted && metric.is_none() && cursor.peek() != Some(b'=') {
            *metric = Some(name);
        } else {
            pairs.push((name, value(cursor, skip)?));
            check(cursor, start, pairs)?;
        }
        skip(cursor);
        if cursor.eat(b'}') {
            break;
        }
        if !cursor.eat(b',') {
            return Err(cursor.expected("`,` or `}`"));
        }
        skip(cursor);
        if blanks == Blanks::Anywhere && cursor.eat(b'}') {
            break;
        }
    }
    if pairs.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        pairs.sort_unstable();
    }
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(cursor.wrong_at(open, format!("the label `{}` is given twice", pair[0].0)));
    }
    Ok(())
}

/// `="value"`.
fn value<'a>(
    cursor: &mut Cursor<'a>,
    skip: impl Fn(&mut Cursor<'a>) -> bool,
) -> Result<Cow<'a, str>, ExpositionError> {
    if !cursor.eat(b'=') {
        return Err(cursor.expected("`=` after the label's name"));
    }
    skip(cursor);
    if !cursor.eat(b'"') {
        return Err(cursor.expected("the label's value in double quotes"));
    }
    quoted(cursor)
}

fn check(cursor: &Cursor<'_>, at: usize, pairs: &[Pair<'_>]) -> Result<(), ExpositionError> {
    let Some((name, value)) = pairs.last() else { return Ok(()) };
    let why = if name == METRIC_NAME {
        format!("`{METRIC_NAME}` is no label of its own; write the name before the braces")
    } else if name.len() > LABEL_NAME_BYTES_MAX {
        format!("the label's name is longer than {LABEL_NAME_BYTES_MAX} bytes")
    } else if value.len() > LABEL_VALUE_BYTES_MAX {
        format!("the value of the label `{name}` is longer than {LABEL_VALUE_BYTES_MAX} bytes")
    } else if pairs.len() >= LABELS_MAX {
        format!("the series has more than {LABELS_MAX} labels")
    } else {
        return Ok(());
    };
    Err(cursor.wrong_at(at, why))
}

/// The metric's name of a line of metadata, in quotes or not.
pub(super) fn metadata_name<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, ExpositionError> {
    let name = if cursor.eat(b'"') { quoted(cursor)? } else { Cow::Borrowed(bare_name(cursor, true)) };
    if name.is_empty() { Err(cursor.expected("a metric's name")) } else { Ok(name) }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, with colons in metrics' names; empty if there is none here.
fn bare_name<'a>(cursor: &mut Cursor<'a>, has_colons: bool) -> &'a str {
    if cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        return "";
    }
    cursor.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || (has_colons && byte == b':'))
}

/// What comes after an opening quote, with the closing one. `\\`, `\"` and `\n` are escapes, any other backslash
/// stands for itself.
fn quoted<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, ExpositionError> {
    let open = cursor.at() - 1;
    let mut text = Cow::Borrowed(cursor.take_while(|byte| !matches!(byte, b'"' | b'\\' | b'\n')));
    loop {
        if cursor.eat(b'"') {
            return Ok(text);
        }
        if !cursor.eat(b'\\') {
            return Err(cursor.wrong_at(open, "expected a closing quote in this line".into()));
        }
        let written = text.to_mut();
        if cursor.eat(b'n') {
            written.push('\n');
        } else if cursor.eat(b'"') {
            written.push('"');
        } else {
            cursor.eat(b'\\');
            written.push('\\');
        }
        written.push_str(cursor.take_while(|byte| !matches!(byte, b'"' | b'\\' | b'\n')));
    }
}

/// `\\` and `\n`, and `\"` where `has_quotes`.
pub(super) fn unescape_help(text: &str, has_quotes: bool) -> String {
    let mut parts = text.split('\\');
    let mut written = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        match part.as_bytes().first() {
            // Two backslashes: the part between them is empty, the next one is plain text.
            None => {
                written.push('\\');
                written.push_str(parts.next().unwrap_or_default());
            }
            Some(b'n') => {
                written.push('\n');
                written.push_str(&part[1..]);
            }
            Some(b'"') if has_quotes => written.push_str(part),
            Some(_) => {
                written.push('\\');
                written.push_str(part);
            }
        }
    }
    written
}

/// The label set of a sample: its name and its sorted pairs, which are left unsorted. Bounds of buckets and
/// quantiles are written as floats if they are such by `kind`.
pub(super) fn labels<'a>(kind: Kind, name: Cow<'a, str>, pairs: &mut Vec<Pair<'a>>) -> Labels {
    let bound = match kind {
        Kind::Histogram | Kind::GaugeHistogram => "le",
        Kind::Summary => "quantile",
        _ => "",
    };
    if let Some((_, value)) = pairs.iter_mut().find(|(name, _)| name == bound) {
        *value = canonical(std::mem::take(value));
    }
    let at = pairs.partition_point(|(name, _)| **name < *METRIC_NAME);
    pairs.insert(at, (Cow::Borrowed(METRIC_NAME), name));
    Labels::from_sorted(pairs)
}
