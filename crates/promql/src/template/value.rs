//! What a template computes with.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmsops_model::Value as SampleValue;

use super::human;
use crate::eval::Point;
use crate::histogram;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Val {
    /// Nothing: what a missing argument is.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// From texts to values; what is not there is an empty text.
    Map(BTreeMap<String, Val>),
    /// With known fields; another one is a mistake.
    Record(Vec<(&'static str, Val)>),
    List(Vec<Val>),
    /// Nanoseconds since 1970.
    Time(i128),
    /// Nanoseconds.
    Span(i64),
    /// As Prometheus writes it.
    Histogram(String),
}

pub(super) fn of_sample(value: &SampleValue) -> Val {
    match value {
        SampleValue::Float(value) => Val::Float(*value),
        SampleValue::Histogram(histogram) => Val::Histogram(histogram::show(histogram)),
        SampleValue::Tally(tally) => Val::Float(tally.last),
    }
}

/// An element of a query's answer.
pub(super) fn of_point(point: &Point) -> Val {
    let labels = point.labels.iter().map(|(name, value)| (name.to_owned(), Val::Text(value.to_owned())));
    Val::Record(vec![("Labels", Val::Map(labels.collect())), ("Value", of_sample(&point.value))])
}

impl Val {
    /// Whether it counts as true.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(is) => *is,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Span(span) => *span != 0,
            Self::Record(_) | Self::Time(_) | Self::Histogram(_) => true,
        }
    }

    /// Its type as Go calls it.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Map(_) => "map[string]string",
            Self::Record(_) => "*template.sample",
            Self::List(_) => "template.queryResult",
            Self::Time(_) => "*time.Time",
            Self::Span(_) => "*time.Duration",
            Self::Histogram(_) => "*histogram.FloatHistogram",
        }
    }

    /// As `%v` prints it.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Nil => "<no value>".into(),
            Self::Bool(is) => is.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => human::general(*number, None),
            Self::Text(text) | Self::Histogram(text) => text.clone(),
            Self::Map(map) => {
                let mut text = String::from("map[");
                for (at, (name, value)) in map.iter().enumerate() {
                    let blank = if at == 0 { "" } else { " " };
                    let _ = write!(text, "{blank}{name}:{}", value.print());
                }
                text + "]"
            }
            Self::Record(fields) => {
                let fields: Vec<String> = fields.iter().map(|(_, value)| value.print()).collect();
                format!("{{{}}}", fields.join(" "))
            }
            Self::List(list) => {
                let items: Vec<String> = list.iter().map(Self::print).collect();
                format!("[{}]", items.join(" "))
            }
            Self::Time(nanos) => human::time(*nanos),
            Self::Span(nanos) => human::span(*nanos),
        }
    }

    /// As a number, as `humanize` and its kin take it.
    pub(super) fn number(&self) -> Result<f64, String> {
        match self {
            Self::Float(number) => Ok(*number),
            Self::Int(number) => Ok(*number as f64),
            Self::Span(nanos) => Ok(*nanos as f64 / 1e9),
            Self::Text(text) => crate::number::parse(text).ok_or_else(|| {
                format!("strconv.ParseFloat: parsing {}: invalid syntax", crate::quote::quote(text))
            }),
            other => Err(format!("can't convert {} to float", other.kind())),
        }
    }

    /// Which of two comes first; an error when they cannot be compared. An integer is no float, as in Go.
    pub(super) fn compare(&self, other: &Self) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) | (Self::Span(a), Self::Span(b)) => Ok(Some(a.cmp(b))),
            (Self::Float(a), Self::Float(b)) => Ok(a.partial_cmp(b)),
            (Self::Text(a), Self::Text(b)) => Ok(Some(a.cmp(b))),
            (Self::Bool(_) | Self::Map(_) | Self::List(_) | Self::Record(_) | Self::Nil, _) => {
                Err("invalid type for comparison".into())
            }
            _ => Err(format!("incompatible types for comparison: {} and {}", self.kind(), other.kind())),
        }
    }

    /// Whether two are equal; an error when they cannot be compared.
    pub(super) fn equals(&self, other: &Self) -> Result<bool, String> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(a == b),
            (Self::Nil, other) | (other, Self::Nil) => Ok(*other == Self::Nil),
            _ => Ok(self.compare(other)? == Some(Ordering::Equal)),
        }
    }
}
