//! Answers of the query API, and whether two of them are the same.

use std::collections::BTreeMap;

use crate::http;
use crate::json::Json;

/// Numbers that differ by less than this share of themselves are the same.
pub(super) const TOLERANCE: f64 = 1e-9;

/// And such that differ by less than this: values are eighths, and what is left of sums that cancel out is not.
const NOTHING: f64 = 1e-12;

/// A series' points by their moment, as written.
type Points = BTreeMap<String, f64>;

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// Not at all: the status and what the error is called.
    Failed(u16, String),
    /// Points of each series, by its labels; a number has none.
    Found(String, BTreeMap<String, Points>),
}

impl Answer {
    /// Reads one.
    pub(super) fn read(answer: &http::Answer) -> Result<Self, String> {
        let json = Json::parse(&answer.text())?;
        if json.text_at("status") != "success" {
            return Ok(Self::Failed(answer.status, json.text_at("errorType").to_owned()));
        }
        let kind = json.text_at("data.resultType").to_owned();
        let result = json.at("data.result");
        let items = result.map(Json::items).unwrap_or_default();
        let mut found = BTreeMap::new();
        if kind == "scalar" {
            found.insert(String::new(), points([items])?);
        } else {
            for item in items {
                let value = item.at("value").map(Json::items);
                let values = item.at("values").map(Json::items).unwrap_or_default();
                let points = match value {
                    Some(value) => points([value])?,
                    None => points(values.iter().map(Json::items))?,
                };
                if found.insert(labels(item), points).is_some() {
                    return Err("a series comes twice".into());
                }
            }
        }
        Ok(Self::Found(kind, found))
    }

    /// In a few words.
    fn word(&self) -> String {
        match self {
            Self::Failed(status, kind) => format!("{status} {kind}"),
            Self::Found(kind, found) => format!("a {kind} of {} series", found.len()),
        }
    }

    /// Whether anything was found.
    pub(super) fn is_something(&self) -> bool {
        matches!(self, Self::Found(_, found) if !found.is_empty())
    }

    /// The first difference, for people; `None`: they say the same.
    pub(super) fn differs(&self, other: &Self) -> Option<String> {
        let (Self::Found(kind, ours), Self::Found(their_kind, theirs)) = (self, other) else {
            return (self != other).then(|| format!("{} here, {} there", self.word(), other.word()));
        };
        if kind != their_kind {
            return Some(format!("a {kind} here, a {their_kind} there"));
        }
        let missing = theirs.keys().find(|labels| !ours.contains_key(*labels));
        if let Some(labels) = missing {
            return Some(format!("{labels} is missing here ({} series, there {})", ours.len(), theirs.len()));
        }
        for (labels, points) in ours {
            let Some(their_points) = theirs.get(labels) else {
                return Some(format!(
                    "{labels} is here alone ({} series, there {})",
                    ours.len(),
                    theirs.len()
                ));
            };
            for (time, value) in points {
                match their_points.get(time) {
                    None => return Some(format!("{labels} has {value} at {time}, and nothing there")),
                    Some(their) if !is_same(*value, *their) => {
                        return Some(format!("{labels} has {value} at {time}, and {their} there"));
                    }
                    Some(_) => {}
                }
            }
            if let Some(time) = their_points.keys().find(|time| !points.contains_key(*time)) {
                return Some(format!("{labels} has nothing at {time}, and {} there", their_points[time]));
            }
        }
        None
    }
}

fn is_same(a: f64, b: f64) -> bool {
    let is_equal = a.total_cmp(&b).is_eq() || (a.is_nan() && b.is_nan()) || a.abs().max(b.abs()) <= 0.0;
    is_equal || (a - b).abs() <= NOTHING.max(TOLERANCE * a.abs().max(b.abs()))
}

fn labels(item: &Json) -> String {
    let Some(Json::Object(pairs)) = item.at("metric") else { return "{}".into() };
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={:?}", value.as_text().unwrap_or_default()))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn points<'a>(pairs: impl IntoIterator<Item = &'a [Json]>) -> Result<Points, String> {
    let mut points = Points::new();
    for pair in pairs {
        let [time, value] = pair else { return Err(format!("a point of {} parts", pair.len())) };
        let time = time.as_number().ok_or("a point without a moment")?;
        let value = value.as_text().and_then(number).ok_or_else(|| format!("{value:?} is no number"))?;
        points.insert(format!("{time:.3}"), value);
    }
    Ok(points)
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str, f64)]) -> Answer {
        let mut all: BTreeMap<String, Points> = BTreeMap::new();
        for (labels, time, value) in pairs {
            all.entry((*labels).into()).or_default().insert((*time).into(), *value);
        }
        Answer::Found("vector".into(), all)
    }

    #[test]
    fn every_difference_is_found() {
        let one = found(&[("{a}", "1", 2.0), ("{b}", "1", f64::NAN)]);
        assert_eq!(one.differs(&one), None);
        assert_eq!(one.differs(&found(&[("{a}", "1", 2.0 + 1e-10), ("{b}", "1", f64::NAN)])), None);
        for other in [
            found(&[("{a}", "1", 2.0)]),
            found(&[("{a}", "1", 2.0), ("{b}", "1", f64::NAN), ("{c}", "1", 1.0)]),
            found(&[("{a}", "1", 2.0 + 1e-8), ("{b}", "1", f64::NAN)]),
            found(&[("{a}", "1", 2.0), ("{b}", "1", 1.0)]),
            found(&[("{a}", "2", 2.0), ("{b}", "1", f64::NAN)]),
            found(&[("{a}", "1", 2.0), ("{a}", "2", 2.0), ("{b}", "1", f64::NAN)]),
            Answer::Failed(422, "execution".into()),
            Answer::Found("matrix".into(), BTreeMap::new()),
        ] {
            assert!(one.differs(&other).is_some(), "{other:?}");
        }
    }
}
