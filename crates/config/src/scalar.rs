//! Single values: texts, flags, spans of time, lists of texts.

use hmsops_model::ids::IdError;
use hmsops_model::{Millis, ServiceName, Version};

use crate::address::is_label;
use crate::diagnostic::{Findings, shown};
use crate::duration::parse_duration;
use crate::yaml::{Entry, Node, Value};

/// The text of a scalar. `what` names it in the error, `example` is what it could be.
pub(crate) fn text<'n>(node: &'n Node, what: &str, example: &str, out: &mut Findings) -> Option<&'n str> {
    match &node.value {
        Value::Refused => None,
        Value::Scalar { text, .. } if !text.is_empty() && !node.is_null() => Some(text),
        Value::Scalar { .. } => {
            out.error(node.at, format!("{what} is empty"), format!("write `{example}`"));
            None
        }
        _ => {
            let message = format!("{what} is {}, one value was expected", node.form());
            out.error(node.at, message, format!("write `{example}`"));
            None
        }
    }
}

/// `true` or `false`, the only two words YAML 1.2 has for it.
pub(crate) fn flag(entry: &Entry, out: &mut Findings) -> Option<bool> {
    let what = format!("`{}`", entry.key);
    match text(&entry.value, &what, &format!("{}: true", entry.key), out)? {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        other => {
            let message = format!("`{}` is neither `true` nor `false`", shown(other));
            out.error(entry.value.at, message, format!("write `{0}: true` or `{0}: false`", entry.key));
            None
        }
    }
}

/// A span of time between two bounds, both allowed.
pub(crate) fn span(entry: &Entry, least: Millis, most: Millis, out: &mut Findings) -> Option<Millis> {
    let written = text(&entry.value, &format!("`{}`", entry.key), &format!("{}: 5 min", entry.key), out)?;
    let span = match parse_duration(written) {
        Ok(span) => span,
        Err(error) => {
            out.error(entry.value.part(error.offset, error.width, out), error.message, error.hint);
            return None;
        }
    };
    if span < least || span > most {
        let side = if span < least { "shorter" } else { "longer" };
        let bound = if span < least { least } else { most };
        let message = format!("`{}` of {span} is {side} than {bound}", entry.key);
        out.error(entry.value.at, message, format!("use {least} to {most}"));
        return None;
    }
    Some(span)
}

/// A whole number between two bounds, both allowed.
pub(crate) fn count(entry: &Entry, least: u64, most: u64, out: &mut Findings) -> Option<u64> {
    let written = text(&entry.value, &format!("`{}`", entry.key), &format!("{}: {most}", entry.key), out)?;
    let digits = written.bytes().all(|b| b.is_ascii_digit());
    let number = Some(written).filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
    if let Some(number) = number.filter(|number| (least..=most).contains(number)) {
        return Some(number);
    }
    let message = if digits {
        format!("`{}` of {} is out of bounds", entry.key, shown(written))
    } else {
        format!("`{}` is not a whole number", shown(written))
    };
    out.error(entry.value.at, message, format!("use {least} to {most}"));
    None
}

/// The nodes of a list.
pub(crate) fn list<'n>(entry: &'n Entry, example: &str, out: &mut Findings) -> Option<&'n [Node]> {
    match &entry.value.value {
        Value::List(nodes) if !nodes.is_empty() => Some(nodes),
        Value::Refused => None,
        Value::List(_) => {
            out.error(
                entry.value.at,
                format!("`{}` is an empty list", entry.key),
                format!("write `{example}`"),
            );
            None
        }
        Value::Map(_) => {
            let hint = format!("start each element with `- `, or write `{example}`");
            out.error(entry.value.at, format!("`{}` is a map, a list was expected", entry.key), hint);
            None
        }
        Value::Scalar { .. } => {
            let message = format!("`{}` is one value, a list was expected", entry.key);
            out.error(entry.value.at, message, format!("write `{example}`"));
            None
        }
    }
}

/// Every element of a list through one reader; `None` when any was refused.
pub(crate) fn each<'n, T>(nodes: &'n [Node], mut read: impl FnMut(&'n Node) -> Option<T>) -> Option<Vec<T>> {
    // All are read before any is missed: each has its own mistakes.
    let read: Vec<Option<T>> = nodes.iter().map(&mut read).collect();
    read.into_iter().collect()
}

/// A service's name.
pub(crate) fn service(node: &Node, out: &mut Findings) -> Option<ServiceName> {
    let written = text(node, "a service's name", "service: csac-portal", out)?;
    ServiceName::new(written).map_err(|error| wrong_id(node, &error, out)).ok()
}

/// A version.
pub(crate) fn version(node: &Node, out: &mut Findings) -> Option<Version> {
    let written = text(node, "a version", "\"1.7.3\"", out)?;
    Version::new(written).map_err(|error| wrong_id(node, &error, out)).ok()
}

fn wrong_id(node: &Node, error: &IdError, out: &mut Findings) {
    out.error(
        node.at,
        format!("`{}` is not a {}", shown(&error.found), error.what),
        format!("use {}", error.expected),
    );
}

/// A mail address, as far as it can be told without writing to it.
pub(crate) fn mail(node: &Node, out: &mut Findings) -> Option<String> {
    let written = text(node, "an address", "oncall@csac.gov", out)?;
    if !is_mail(written) {
        let message = format!("`{}` is not a mail address", shown(written));
        out.error(node.at, message, "write it like `oncall@csac.gov`");
        return None;
    }
    Some(written.to_owned())
}

/// A mail address, or a webhook's name of hmsops.yaml.
pub(crate) fn receiver(node: &Node, out: &mut Findings) -> Option<String> {
    let written = text(node, "a receiver", "oncall@csac.gov", out)?;
    if let Some((message, hint)) = receiver_error(written) {
        out.error(node.at, message, hint);
        return None;
    }
    Some(written.to_owned())
}

/// Why nobody can be told under this name.
pub(crate) fn receiver_error(written: &str) -> Option<(String, &'static str)> {
    if is_mail(written) || is_label(written) {
        return None;
    }
    let message = format!("`{}` is neither a mail address nor a webhook's name", shown(written));
    Some((message, "write `oncall@csac.gov`, or a name below `notify: {webhooks: …}` in hmsops.yaml"))
}

fn is_mail(written: &str) -> bool {
    written.len() <= 254
        && !written.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ',' | ';' | '<' | '>'))
        && written.split_once('@').is_some_and(|(who, host)| {
            !who.is_empty()
                && !host.is_empty()
                && !host.contains('@')
                && !host.starts_with('.')
                && !host.ends_with('.')
        })
}
