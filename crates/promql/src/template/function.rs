//! What a template can call.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::net::IpAddr;

use regex::Regex;

use super::value::{self, Val};
use super::{Context, human, printf};
use crate::{duration, pattern};

/// All of them; `and` and `or` are done where templates run.
const KNOWN: [&str; 43] = [
    "and",
    "args",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "now",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "slice",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "value",
];

/// Go's own, beside Prometheus'.
const ALSO: [&str; 2] = ["urlquery", "urlQueryEscape"];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || ALSO.contains(&name)
}

type Answer = Result<Val, String>;

/// Calls a function.
pub(super) fn call(name: &str, args: Vec<Val>, context: &Context<'_>) -> Answer {
    match (name, args.as_slice()) {
        ("query", [Val::Text(query)]) => {
            let points = (context.lookup)(query)?;
            Ok(Val::List(points.iter().map(value::of_point).collect()))
        }
        ("now", []) => Ok(Val::Float(context.at as f64 / 1000.0)),
        ("externalURL", []) => Ok(Val::Text(context.external_url.to_owned())),
        ("pathPrefix", []) => Ok(Val::Text(path_of(context.external_url).to_owned())),
        ("print", args) => Ok(Val::Text(print(args))),
        ("println", args) => {
            let texts: Vec<String> = args.iter().map(Val::print).collect();
            Ok(Val::Text(texts.join(" ") + "\n"))
        }
        ("printf", [Val::Text(format), rest @ ..]) => Ok(Val::Text(printf::printf(format, rest))),
        ("eq" | "ne" | "lt" | "le" | "gt" | "ge", args) => compare(name, args),
        ("not", [one]) => Ok(Val::Bool(!one.truth())),
        ("args", _) => {
            let named = args.into_iter().enumerate().map(|(at, value)| (format!("arg{at}"), value));
            Ok(Val::Map(named.collect()))
        }
        ("len" | "index" | "slice" | "first" | "value" | "label" | "strvalue" | "sortByLabel", args) => {
            collection(name, args)
        }
        (
            "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" | "humanizeTimestamp"
            | "toTime" | "toDuration",
            [one],
        ) => number(name, one.number()?),
        (_, args) => text(name, args),
    }
}

/// Numbers that people read.
fn number(name: &str, value: f64) -> Answer {
    Ok(Val::Text(match name {
        "humanize" => human::humanize(value),
        "humanize1024" => human::humanize1024(value),
        "humanizeDuration" => human::duration(value),
        "humanizePercentage" => human::percentage(value),
        "humanizeTimestamp" => human::timestamp(value)?,
        "toTime" => return human::moment(value).map(Val::Time),
        _ => return Ok(Val::Span((value * 1e9) as i64)),
    }))
}

fn wrong(name: &str, args: &[Val]) -> String {
    let kinds: Vec<&str> = args.iter().map(Val::kind).collect();
    format!("wrong number or type of args for {name}: {}", kinds.join(", "))
}

fn compare(name: &str, args: &[Val]) -> Answer {
    let [first, rest @ ..] = args else { return Err(wrong(name, args)) };
    if rest.is_empty() || (name != "eq" && rest.len() > 1) {
        return Err(wrong(name, args));
    }
    let order = |wanted: &[Ordering]| -> Answer {
        Ok(Val::Bool(first.compare(&rest[0])?.is_some_and(|order| wanted.contains(&order))))
    };
    match name {
        "eq" => {
            for other in rest {
                if first.equals(other)? {
                    return Ok(Val::Bool(true));
                }
            }
            Ok(Val::Bool(false))
        }
        "ne" => first.equals(&rest[0]).map(|is| Val::Bool(!is)),
        "lt" => order(&[Ordering::Less]),
        "le" => order(&[Ordering::Less, Ordering::Equal]),
        "gt" => order(&[Ordering::Greater]),
        _ => order(&[Ordering::Greater, Ordering::Equal]),
    }
}

/// Go's `Sprint`: a blank between two that are no texts.
fn print(args: &[Val]) -> String {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        let is_text = |value: &Val| matches!(value, Val::Text(_));
        if at > 0 && !is_text(arg) && !is_text(&args[at - 1]) {
            out.push(' ');
        }
        out.push_str(&arg.print());
    }
    out
}

fn collection(name: &str, args: &[Val]) -> Answer {
    match (name, args) {
        ("len", [Val::Text(text)]) => Ok(Val::Int(text.len() as i64)),
        ("len", [Val::List(list)]) => Ok(Val::Int(list.len() as i64)),
        ("len", [Val::Map(map)]) => Ok(Val::Int(map.len() as i64)),
        ("index", [of, keys @ ..]) => keys.iter().try_fold(of.clone(), index),
        ("slice", [Val::Text(text), bounds @ ..]) if bounds.len() <= 2 => {
            let bound = |at: usize, default: usize| match bounds.get(at) {
                None => Ok(default),
                Some(Val::Int(bound)) => usize::try_from(*bound).map_err(|_| wrong(name, args)),
                Some(_) => Err(wrong(name, args)),
            };
            let (from, to) = (bound(0, 0)?, bound(1, text.len())?);
            let part = text.get(from..to).ok_or_else(|| format!("index out of range: {to}"))?;
            Ok(Val::Text(part.to_owned()))
        }
        ("first", [Val::List(list)]) => {
            list.first().cloned().ok_or_else(|| "first() called on vector with no elements".into())
        }
        ("value", [Val::Record(_)]) => index_record(&args[0], "Value"),
        ("label", [Val::Text(name), sample @ Val::Record(_)]) => label(sample, name),
        ("strvalue", [sample @ Val::Record(_)]) => label(sample, "__value__"),
        ("sortByLabel", [Val::Text(by), Val::List(list)]) => {
            let mut list = list.clone();
            let key = |sample: &Val| label(sample, by).map(|value| value.print()).unwrap_or_default();
            list.sort_by_cached_key(key);
            Ok(Val::List(list))
        }
        _ => Err(wrong(name, args)),
    }
}

fn index(of: Val, key: &Val) -> Answer {
    match (of, key) {
        (Val::Map(mut map), Val::Text(key)) => {
            Ok(map.remove(key).unwrap_or_else(|| Val::Text(String::new())))
        }
        (Val::List(list), Val::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| list.into_iter().nth(at));
            found.ok_or_else(|| format!("error calling index: index out of range: {at}"))
        }
        (of, key) => Err(format!("can't index item of type {} with {}", of.kind(), key.kind())),
    }
}

fn index_record(sample: &Val, field: &str) -> Answer {
    let Val::Record(fields) = sample else { return Err(format!("{} has no field {field}", sample.kind())) };
    let found = fields.iter().find(|(name, _)| *name == field);
    found.map(|(_, value)| value.clone()).ok_or_else(|| format!("can't evaluate field {field}"))
}

fn label(sample: &Val, name: &str) -> Answer {
    index(index_record(sample, "Labels")?, &Val::Text(name.to_owned()))
}

fn regex(text: &str) -> Result<Regex, String> {
    // The bounds of patterns hold here, too.
    pattern::Pattern::new(text).map_err(|error| error.to_string())?;
    Regex::new(text).map_err(|error| error.to_string())
}

fn text(name: &str, args: &[Val]) -> Answer {
    let texts: Option<Vec<&str>> =
        args.iter().map(|arg| if let Val::Text(text) = arg { Some(text.as_str()) } else { None }).collect();
    let answer = match (name, texts.unwrap_or_default().as_slice()) {
        ("reReplaceAll", [pattern, with, text]) => regex(pattern)?.replace_all(text, *with).into_owned(),
        ("match", [pattern, text]) => return Ok(Val::Bool(regex(pattern)?.is_match(text))),
        ("title", [text]) => title(text),
        ("toUpper", [text]) => text.to_uppercase(),
        ("toLower", [text]) => text.to_lowercase(),
        ("safeHtml", [text]) => (*text).to_owned(),
        ("graphLink", [expr]) => format!("/graph?g0.expr={}&g0.tab=0", query_escape(expr)),
        ("tableLink", [expr]) => format!("/graph?g0.expr={}&g0.tab=1", query_escape(expr)),
        ("stripPort", [host]) => split_port(host).map_or(*host, |(host, _)| host).to_owned(),
        ("stripDomain", [host]) => strip_domain(host),
        ("parseDuration", [text]) => {
            let (sign, size) = text.strip_prefix('-').map_or((1.0, *text), |size| (-1.0, size));
            let millis =
                duration::parse(size).ok_or_else(|| format!("not a valid duration string: {text:?}"))?;
            return Ok(Val::Float(sign * millis as f64 / 1000.0));
        }
        ("urlquery" | "urlQueryEscape", [text]) => query_escape(text),
        _ => return Err(wrong(name, args)),
    };
    Ok(Val::Text(answer))
}

/// Each word begins with a capital.
fn title(text: &str) -> String {
    let mut is_start = true;
    let mut out = String::new();
    for c in text.chars() {
        if is_start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        is_start = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
    }
    out
}

/// Host and port, as Go's `net.SplitHostPort` finds them.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once("]:")?;
        return Some((host, port));
    }
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains([':', '[', ']'])).then_some((host, port))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let short = host.split('.').next().unwrap_or_default();
    if port.is_empty() { short.to_owned() } else { format!("{short}:{port}") }
}

/// The path of an address.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.split(['?', '#']).next().unwrap_or_default()
}

/// Percent-encoding of a query's value, blanks as `+` (WHATWG URL, section 5.2, but as Go does it).
fn query_escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
