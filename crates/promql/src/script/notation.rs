//! How series are written: a name with labels, then values: `1 2 _ 3+1x5 {{schema:0 sum:1}}`.

use hmsops_model::labels::{Labels, METRIC_NAME};
use hmsops_model::sample::{Histogram, ResetHint, Value, stale_nan};

use crate::duration;
use crate::histogram;
use crate::lexer::{Token, tokens};
use crate::number;

/// The most values that one item may stand for.
const REPEAT_MAX: usize = 1_000_000;

/// One line of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// What it is called.
    pub labels: Labels,
    /// What its items say.
    pub items: Vec<String>,
    /// Whether it gives start timestamps for the next line.
    pub is_starts: bool,
}

/// One value, and of a histogram whether its reset hint was written; `None` for a gap.
pub(crate) type Item = Option<(Value, bool)>;

/// Reads a line.
pub fn describe(line: &str) -> Result<Described, String> {
    let (head, rest) = split_head(line)?;
    let (head, is_starts) = head.strip_suffix("@st").map_or((head, false), |head| (head, true));
    Ok(Described { labels: labels(head)?, items: items(rest)?, is_starts })
}

/// The name with its labels, and what follows.
fn split_head(line: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    let mut depth = 0;
    let mut is_escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            (None, c) if c.is_whitespace() && depth == 0 => {
                // Blanks may stand between a name and its braces.
                let rest = line[at..].trim_start();
                let is_bare = !line[..at].contains('{');
                if !(is_bare && rest.starts_with('{') && !rest.starts_with("{{")) {
                    return Ok((&line[..at], rest));
                }
            }
            _ => {}
        }
    }
    if depth == 0 && quote.is_none() { Ok((line, "")) } else { Err(format!("`{line}` does not end")) }
}

fn labels(text: &str) -> Result<Labels, String> {
    let bad = || format!("`{text}` is not a series");
    let mut tokens =
        tokens(text).map_err(|error| error.locate(text).to_string())?.into_iter().map(|(token, _)| token);
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut token = tokens.next();
    if let Some(Token::Word(name)) = token {
        pairs.push((METRIC_NAME.into(), name));
        token = tokens.next();
    }
    if token == Some(Token::End) {
        return if pairs.is_empty() { Err(bad()) } else { Ok(Labels::new(pairs)) };
    }
    if token != Some(Token::Sign("{")) {
        return Err(bad());
    }
    loop {
        let (name, is_quoted) = match tokens.next() {
            Some(Token::Sign("}")) => break,
            Some(Token::Word(name)) => (name, false),
            Some(Token::Text(name)) => (name, true),
            _ => return Err(bad()),
        };
        let after = match tokens.next() {
            Some(Token::Sign("=")) => {
                let Some(Token::Text(value)) = tokens.next() else { return Err(bad()) };
                pairs.push((name, value));
                tokens.next()
            }
            after if is_quoted => {
                pairs.push((METRIC_NAME.into(), name));
                after
            }
            _ => return Err(bad()),
        };
        match after {
            Some(Token::Sign(",")) => {}
            Some(Token::Sign("}")) => break,
            _ => return Err(bad()),
        }
    }
    if tokens.next() == Some(Token::End) { Ok(Labels::new(pairs)) } else { Err(bad()) }
}

/// Items are separated by blanks outside of double braces.
fn items(text: &str) -> Result<Vec<String>, String> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut end = 0;
        while end < rest.len() && !rest[end..].starts_with(char::is_whitespace) {
            if rest[end..].starts_with("{{") {
                end += rest[end..].find("}}").ok_or_else(|| format!("`{rest}` has no `}}}}`"))? + 2;
            } else {
                end += rest[end..].chars().next().map_or(1, char::len_utf8);
            }
        }
        items.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    Ok(items)
}

/// What stands before an `x` and how often.
fn repeated(item: &str) -> Result<(&str, Option<usize>), String> {
    let Some((body, times)) = item.rsplit_once('x') else { return Ok((item, None)) };
    match times.parse::<usize>() {
        Ok(times) if times <= REPEAT_MAX && !body.is_empty() => Ok((body, Some(times))),
        _ => Err(format!("`{item}` is not a value")),
    }
}

impl Described {
    /// All values.
    pub(crate) fn values(&self) -> Result<Vec<Item>, String> {
        let mut values = Vec::new();
        for item in &self.items {
            expand(item, &mut values)?;
        }
        Ok(values)
    }
}

fn expand(item: &str, values: &mut Vec<Item>) -> Result<(), String> {
    if item.starts_with("{{") {
        return expand_histogram(item, values);
    }
    let bad = || format!("`{item}` is not a value");
    if let Some(value) = plain(item) {
        values.push(Some((Value::Float(value), false)));
        return Ok(());
    }
    let (body, times) = repeated(item)?;
    if body == "_" {
        values.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
        return Ok(());
    }
    // The step begins at the last sign that is not the first character nor an exponent's.
    let step_at = body
        .char_indices()
        .skip(1)
        .filter(|(at, c)| matches!(c, '+' | '-') && !body[..*at].ends_with(['e', 'E']))
        .map(|(at, _)| at)
        .last();
    let (start, step) = match step_at {
        Some(at) => (plain(&body[..at]).ok_or_else(bad)?, plain(&body[at..]).ok_or_else(bad)?),
        None => (plain(body).ok_or_else(bad)?, 0.0),
    };
    let times = times.ok_or_else(bad)?;
    let mut value = start;
    for _ in 0..=times {
        values.push(Some((Value::Float(value), false)));
        value += step;
    }
    Ok(())
}

/// A number. No hexadecimal ones: `0x5` is six zeroes here.
fn plain(text: &str) -> Option<f64> {
    match text {
        "stale" => Some(stale_nan()),
        text if text.contains('x') => None,
        text => number::parse(text),
    }
}

fn expand_histogram(item: &str, values: &mut Vec<Item>) -> Result<(), String> {
    let end = item.find("}}").ok_or_else(|| format!("`{item}` has no `}}}}`"))? + 2;
    let (first, is_hinted) = parse_histogram(&item[2..end - 2])?;
    let mut push = |histogram: &Histogram| {
        values.push(Some((Value::Histogram(histogram.clone().into()), is_hinted)));
    };
    let rest = &item[end..];
    let bad = || format!("`{item}` is not a histogram");
    if rest.is_empty() {
        push(&first);
        return Ok(());
    }
    let times_of = |text: &str| {
        let times = text.strip_prefix('x').and_then(|times| times.parse::<usize>().ok());
        times.filter(|times| *times <= REPEAT_MAX).ok_or_else(bad)
    };
    if rest.starts_with('x') {
        (0..=times_of(rest)?).for_each(|_| push(&first));
        return Ok(());
    }
    let (is_minus, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix('+').ok_or_else(bad)?),
    };
    let close = rest.find("}}").filter(|_| rest.starts_with("{{")).ok_or_else(bad)? + 2;
    let (step, _) = parse_histogram(&rest[2..close - 2])?;
    let mut current = first;
    for round in 0..=times_of(&rest[close..])? {
        if round > 0 {
            let joined = histogram::join(&current, &step, is_minus).ok_or_else(bad)?;
            let reset = if is_minus { current.reset } else { joined.histogram.reset };
            current = Histogram { reset, ..joined.histogram };
        }
        push(&current);
    }
    Ok(())
}

/// What stands between double braces, and whether a reset hint was among it.
fn parse_histogram(text: &str) -> Result<(Histogram, bool), String> {
    let bad = || format!("`{{{{{text}}}}}` is not a histogram");
    let mut histogram = Histogram::default();
    let (mut offsets, mut buckets) = ([0; 2], [Vec::new(), Vec::new()]);
    let mut is_hinted = false;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(bad)?;
        let after = after.trim_start();
        let (value, next) = if let Some(list) = after.strip_prefix('[') {
            list.split_once(']').ok_or_else(bad)?
        } else {
            after.split_once(char::is_whitespace).unwrap_or((after, ""))
        };
        let number = || number::parse(value).ok_or_else(bad);
        let whole = || value.parse::<i32>().map_err(|_| bad());
        let list = || {
            value
                .split_whitespace()
                .map(|n| number::parse(n).ok_or_else(bad))
                .collect::<Result<Vec<f64>, _>>()
        };
        match key.trim() {
            "schema" => histogram.schema = whole()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "offset" => offsets[0] = whole()?,
            "n_offset" => offsets[1] = whole()?,
            "buckets" => buckets[0] = list()?,
            "n_buckets" => buckets[1] = list()?,
            "custom_values" => histogram.custom = list()?.into(),
            "counter_reset_hint" => {
                is_hinted = true;
                histogram.reset = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(bad()),
                };
            }
            _ => return Err(bad()),
        }
        rest = next.trim_start();
    }
    let placed = |offset: i32, counts: &[f64]| {
        counts
            .iter()
            .enumerate()
            .map(|(index, count)| (offset.saturating_add(index as i32), *count))
            .collect()
    };
    histogram.positive = placed(offsets[0], &buckets[0]);
    histogram.negative = placed(offsets[1], &buckets[1]);
    Ok((histogram, is_hinted))
}

/// Offsets of start timestamps from their samples, in milliseconds.
pub(super) fn starts(items: &[String]) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for item in items {
        let bad = || format!("`{item}` is not a start timestamp");
        let (body, times) = repeated(item)?;
        if body == "_" {
            offsets.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            continue;
        }
        let step_at = body.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at);
        let (start, step) = match step_at {
            Some(at) => (signed(&body[..at]).ok_or_else(bad)?, signed(&body[at..]).ok_or_else(bad)?),
            None => (signed(body).ok_or_else(bad)?, 0),
        };
        for round in 0..=times.unwrap_or(0) {
            offsets.push(Some(start.saturating_add(step.saturating_mul(round as i64))));
        }
    }
    Ok(offsets)
}

fn signed(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(rest) => duration::parse(rest).map(|millis| -millis),
        None => duration::parse(text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(line: &str) -> Vec<Option<f64>> {
        let values = describe(line).unwrap().values().unwrap();
        values
            .into_iter()
            .map(|item| {
                item.map(|(value, _)| match value {
                    Value::Float(value) => value,
                    other => panic!("{other:?}"),
                })
            })
            .collect()
    }

    #[test]
    fn series_are_read() {
        assert_eq!(
            floats("x{a=\"b c\"} 1 _ 2+1x2 _x2 -1-2x1 5x1"),
            [
                Some(1.0),
                None,
                Some(2.0),
                Some(3.0),
                Some(4.0),
                None,
                None,
                Some(-1.0),
                Some(-3.0),
                Some(5.0),
                Some(5.0)
            ]
        );
        assert_eq!(floats("x 0x3"), [Some(0.0); 4]);
        assert_eq!(
            describe("{\"a.b\", c=\"d\"} 1").unwrap().labels,
            Labels::new([("__name__", "a.b"), ("c", "d")])
        );
        assert_eq!(describe("a.b 1").unwrap().labels.name(), Some("a.b"));
        for line in ["x{a=} 1", "x{", "{}x 1", "x{a=\"b\"", "x {{sum:1"] {
            assert!(describe(line).is_err(), "{line}");
        }
        assert!(describe("x 1y").unwrap().values().is_err());
    }

    #[test]
    fn histograms_are_read_and_repeated() {
        let described =
            describe("x {{schema:1 sum:2 count:3 buckets:[1 2] offset:-1}}+{{schema:1 sum:1}}x2").unwrap();
        let values = described.values().unwrap();
        let Some((Value::Histogram(last), false)) = &values[2] else { panic!() };
        assert_eq!((values.len(), last.sum, &last.positive), (3, 4.0, &vec![(-1, 1.0), (0, 2.0)]));
    }
}
