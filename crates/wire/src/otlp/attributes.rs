//! Attributes as labels.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmsops_model::Labels;
use hmsops_model::labels::METRIC_NAME;

use super::ATTRIBUTES_MAX;
use super::message::{Any, AnyValue, KeyValue};

/// What stands for the resource on each of its series, and what more is known of it.
pub(super) struct Origin {
    /// `job`, `instance` and `service`, as far as they are known.
    pub(super) own: BTreeMap<String, String>,
    /// All other attributes: labels of `target_info`.
    pub(super) info: BTreeMap<String, String>,
}

impl Origin {
    /// Of a resource's attributes. `service.name` with `service.namespace` before it is the job, `service.instance.id` the
    /// instance, and the name alone is the service, as our own SDK says it.
    pub(super) fn of(attributes: &[KeyValue]) -> Result<Self, String> {
        let mut info = texts(attributes)?;
        let (name, namespace) = (info.remove("service.name"), info.remove("service.namespace"));
        let instance = info.remove("service.instance.id");
        let mut own = BTreeMap::new();
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let job = namespace.map_or(name.clone(), |space| format!("{space}/{name}"));
            own.insert("job".to_owned(), job);
            own.insert("service".to_owned(), name);
        }
        own.extend(instance.map(|instance| ("instance".to_owned(), instance)));
        Ok(Self { own, info })
    }
}

/// The labels of a series: those of the data point, under those of where it comes from.
pub(super) fn labels(
    name: &str,
    origin: &BTreeMap<String, String>,
    attributes: &BTreeMap<String, String>,
    more: Option<(&str, &str)>,
) -> Labels {
    let mut all: BTreeMap<&str, &str> = BTreeMap::new();
    // A data point may name another service, for which whoever brings it needs the right; the rest is its origin's.
    all.extend(attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    for (name, value) in origin {
        if name != "service" || !all.contains_key("service") {
            all.insert(name, value);
        }
    }
    all.extend(more);
    all.insert(METRIC_NAME, name);
    let pairs: Vec<(&str, &str)> = all.into_iter().collect();
    Labels::from_sorted(&pairs)
}

/// Attributes as texts. The last of several of one name counts.
pub(super) fn texts(attributes: &[KeyValue]) -> Result<BTreeMap<String, String>, String> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(format!("{} attributes are more than {ATTRIBUTES_MAX}", attributes.len()));
    }
    let mut texts = BTreeMap::new();
    for KeyValue { key, value } in attributes {
        if key.is_empty() || key == METRIC_NAME {
            return Err(format!("`{key}` can't be the name of an attribute"));
        }
        texts.insert(key.clone(), value.as_ref().map(text).unwrap_or_default());
    }
    Ok(texts)
}

/// A value as text: lists, maps and bytes as JSON (opentelemetry.io/docs/specs/otel/common/#anyvalue-representation).
fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Any::Text(text)) => text.clone(),
        Some(Any::Bytes(bytes)) => base64(bytes),
        Some(Any::Bool(value)) => value.to_string(),
        Some(Any::Int(value)) => value.to_string(),
        Some(Any::Double(value)) => float_text(*value),
        Some(Any::Array(_) | Any::Map(_)) => json(value).to_string(),
        None => String::new(),
    }
}

fn json(value: &AnyValue) -> serde_json::Value {
    match &value.value {
        Some(Any::Array(list)) => list.values.iter().map(json).collect(),
        Some(Any::Map(map)) => {
            let pairs = map
                .values
                .iter()
                .map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(serde_json::Value::Null, json)));
            serde_json::Value::Object(pairs.collect())
        }
        Some(Any::Bool(value)) => (*value).into(),
        Some(Any::Int(value)) => (*value).into(),
        Some(Any::Double(value)) if value.is_finite() => (*value).into(),
        None => serde_json::Value::Null,
        Some(_) => text(value).into(),
    }
}

/// A number as Prometheus writes it in labels: all of its digits, no exponent.
pub(super) fn float_text(value: f64) -> String {
    if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        value.to_string()
    }
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63] as char;
            // Writing to a String cannot fail.
            let _ = write!(text, "{}", if at <= three.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_rfc_4648_has_it() {
        for (plain, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), expected);
        }
    }
}
