//! One `eval` with what it expects.

use crate::ast::Expr;
use crate::{duration, number, parse, quote};

use super::notation::{Described, Item, describe};

/// What is evaluated and what should come of it. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct Case {
    /// The query as written.
    pub query: String,
    /// The query.
    pub expr: Expr,
    /// From when; the only moment of an instant query.
    pub from: i64,
    /// To when.
    pub to: i64,
    /// In steps of, for a range query.
    pub step: Option<i64>,
    /// What should come of it.
    pub expected: Expected,
    /// Under which conditions.
    pub expectations: Vec<Expectation>,
    /// Whether the order counts.
    pub is_ordered: bool,
}

/// The value that should come of it.
#[derive(Debug, Clone)]
pub enum Expected {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// These series, nothing else.
    Series(Vec<(Described, Vec<Item>)>),
    /// These series, with values at these times; `from` and `step` in milliseconds.
    Matrix {
        /// Of the first value.
        from: i64,
        /// Between values.
        step: i64,
        /// Which.
        series: Vec<(Described, Vec<Item>)>,
    },
}

/// What an expectation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Fail,
    Warn,
    NoWarn,
    Info,
    NoInfo,
}

/// What the message must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wording {
    /// Anything.
    Any,
    /// Exactly this.
    Message(String),
    /// Something that this expression finds.
    Pattern(String),
}

/// An `expect` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// About what.
    pub about: About,
    /// In which words.
    pub wording: Wording,
}

impl Case {
    /// Reads a block that begins with `eval`.
    pub fn parse(block: &[&str]) -> Result<Self, String> {
        let (command, rest) = block[0].split_once(char::is_whitespace).ok_or("an eval without a query")?;
        let (kind, rest) =
            rest.trim_start().split_once(char::is_whitespace).ok_or("an eval without a query")?;
        let mut is_ordered = false;
        let mut expectations = Vec::new();
        let mut expect = |about| expectations.push(Expectation { about, wording: Wording::Any });
        match command {
            "eval" => {}
            "eval_fail" => expect(About::Fail),
            "eval_warn" => expect(About::Warn),
            "eval_info" => expect(About::Info),
            "eval_ordered" => is_ordered = true,
            _ => return Err(format!("`{command}` is no command")),
        }
        let (from, to, step, query) = match kind {
            "instant" => instant(rest.trim_start())?,
            "range" => range(rest.trim_start())?,
            _ => return Err(format!("`{kind}` is neither instant nor range")),
        };
        let expr = parse(query).map_err(|error| error.to_string())?;
        let expected = Expected::Series(Vec::new());
        let mut case =
            Self { query: query.to_owned(), expr, from, to, step, expected, expectations, is_ordered };
        for line in &block[1..] {
            if case.expect_line(line)? {
                break;
            }
        }
        Ok(case)
    }

    /// Reads one line of expectations; whether it is the last one.
    fn expect_line(&mut self, line: &str) -> Result<bool, String> {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            self.word(About::Fail, Wording::Message(text.trim().to_owned()));
            return Ok(true);
        }
        if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            self.word(About::Fail, Wording::Pattern(text.trim().to_owned()));
            return Ok(true);
        }
        if line.split(char::is_whitespace).next() == Some("expect") {
            self.expect_word(line["expect".len()..].trim())?;
            return Ok(false);
        }
        if let Some(value) = number::parse(line) {
            self.expected = Expected::Scalar(value);
            return Ok(true);
        }
        let described = describe(line)?;
        let values = described.values()?;
        let is_instant = self.step.is_none();
        match &mut self.expected {
            Expected::Series(series) if is_instant && values.len() != 1 => {
                let _ = series;
                return Err(format!("`{line}`: an instant query has one value per series"));
            }
            Expected::Series(series) | Expected::Matrix { series, .. } => series.push((described, values)),
            _ => return Err(format!("`{line}` stands after another expected value")),
        }
        Ok(false)
    }

    fn word(&mut self, about: About, wording: Wording) {
        match self
            .expectations
            .iter_mut()
            .find(|expectation| expectation.about == about && expectation.wording == Wording::Any)
        {
            Some(expectation) => expectation.wording = wording,
            None => self.expectations.push(Expectation { about, wording }),
        }
    }

    fn expect_word(&mut self, text: &str) -> Result<(), String> {
        if let Some(times) = text.strip_prefix("range vector ") {
            let (from, to, step, rest) = range(times.trim())?;
            if !rest.is_empty() || self.step.is_some() {
                return Err(format!("`expect {text}` is not understood"));
            }
            self.from = to;
            self.to = to;
            let step = step.ok_or("a range vector without a step")?;
            self.expected = Expected::Matrix { from, step, series: Vec::new() };
            return Ok(());
        }
        if let Some(quoted) = text.strip_prefix("string ") {
            self.expected = Expected::Text(quote::unquote(quoted.trim())?);
            return Ok(());
        }
        let (word, rest) = text.split_once([' ', '\t', ':']).unwrap_or((text, ""));
        let about = match word {
            "ordered" => {
                self.is_ordered = true;
                return Ok(());
            }
            "fail" => About::Fail,
            "warn" => About::Warn,
            "no_warn" => About::NoWarn,
            "info" => About::Info,
            "no_info" => About::NoInfo,
            _ => return Err(format!("`expect {text}` is not understood")),
        };
        let rest = rest.trim();
        let wording = match (rest.strip_prefix("msg:"), rest.strip_prefix("regex:")) {
            (Some(message), _) => Wording::Message(message.trim().to_owned()),
            (_, Some(pattern)) => Wording::Pattern(pattern.trim().to_owned()),
            _ if rest.is_empty() => Wording::Any,
            _ => return Err(format!("`expect {text}` is not understood")),
        };
        self.expectations.push(Expectation { about, wording });
        let both =
            |a, b| [a, b].iter().all(|about| self.expectations.iter().any(|found| found.about == *about));
        let fails = self.expectations.iter().filter(|found| found.about == About::Fail).count();
        if both(About::Info, About::NoInfo) || both(About::Warn, About::NoWarn) || fails > 1 {
            return Err(format!("`expect {text}` contradicts another line"));
        }
        Ok(())
    }
}

type Times<'a> = (i64, i64, Option<i64>, &'a str);

fn time(word: &str) -> Result<i64, String> {
    let (sign, body) = word.strip_prefix('-').map_or((1, word), |body| (-1, body));
    duration::parse(body).map(|millis| sign * millis).ok_or_else(|| format!("`{word}` is not a time"))
}

fn next(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn instant(text: &str) -> Result<Times<'_>, String> {
    match next(text) {
        ("at", rest) => {
            let (word, query) = next(rest);
            let at = time(word)?;
            Ok((at, at, None, query))
        }
        _ => Ok((0, 0, None, text)),
    }
}

fn range(text: &str) -> Result<Times<'_>, String> {
    let mut rest = text;
    let mut values = [0; 3];
    for (keyword, value) in ["from", "to", "step"].iter().zip(&mut values) {
        let (word, after) = next(rest);
        if word != *keyword {
            return Err(format!("expected `{keyword}`, found `{word}`"));
        }
        let (word, after) = next(after);
        *value = time(word)?;
        rest = after;
    }
    if values[0] > values[1] {
        return Err("a range that ends before it starts".into());
    }
    Ok((values[0], values[1], Some(values[2]), rest))
}
