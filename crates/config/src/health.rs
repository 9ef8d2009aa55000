//! Health checks: a list of `path` and `threshold: 3 fails/60 s`, or of the kinds that `probe.rs` reads.

use hmsops_model::Millis;
use hmsops_model::limits::{HEALTH_CHECKS_MAX, PROBE_INTERVAL};
use hmsops_model::release::{HealthCheck, Threshold};

use crate::diagnostic::{Findings, shown};
use crate::duration::parse_duration;
use crate::fields::{Fields, Key, Shape};
use crate::probe;
use crate::scalar;
use crate::yaml::{Entry, Node};

pub(crate) static HEALTH_CHECK: Shape = Shape {
    what: "a health check",
    keys: &[
        Key::needed("path", "path: /api/v1/health", "a check says what it asks for"),
        Key::needed("threshold", "threshold: 3 fails/60 s", "a check says how many failures are too many"),
        Key::optional("conditions", "conditions: [\"status == 200\"]"),
        Key::optional("every", "every: 10 s"),
        Key::optional("timeout", "timeout: 2 s"),
    ],
};

const EXAMPLE: &str = "write it like `threshold: 3 fails/60 s`";

const FAILS_MAX: u32 = 1000;

/// Reads a list of checks, at least one, each name once.
pub(crate) fn checks(entry: &Entry, out: &mut Findings) -> Option<Vec<HealthCheck>> {
    let example = format!("{}: [{{path: /health, threshold: 3 fails/60 s}}]", entry.key);
    let nodes = scalar::list(entry, &example, out)?;
    if nodes.len() > HEALTH_CHECKS_MAX {
        let message = format!("{} health checks are more than {HEALTH_CHECKS_MAX}", nodes.len());
        out.error(entry.at, message, "each is a request a second to each version; leave some out");
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    scalar::each(nodes, |node| {
        let check = check(node, out)?;
        if names.contains(&check.path) {
            let (message, hint) = if check.path.starts_with('/') {
                let message = format!("the path `{}` is checked twice", shown(&check.path));
                (message, "one check per path: keep the stricter one")
            } else {
                (format!("there are two checks `{}`", shown(&check.path)), "give one of them a `name:`")
            };
            out.error(node.at, message, hint);
            return None;
        }
        names.push(check.path.clone());
        Some(check)
    })
}

fn check(node: &Node, out: &mut Findings) -> Option<HealthCheck> {
    if probe::is_one(node) {
        let fields = Fields::open(node, node.at, &probe::CHECK, out)?;
        let read = probe::read(&fields, out);
        let every = read.as_ref().map_or(PROBE_INTERVAL, |(_, probe)| probe.every);
        let threshold = match fields.get("threshold") {
            Some(entry) => threshold(entry, every, out),
            None => Some(usual_threshold(every)),
        };
        let (path, probe) = read?;
        return Some(HealthCheck { path, threshold: threshold?, probe: Some(Box::new(probe)) });
    }
    let fields = Fields::open(node, node.at, &HEALTH_CHECK, out)?;
    let path = fields.get("path").and_then(|entry| path(entry, out));
    let probe = probe::beside_path(&fields, path.as_deref().unwrap_or("/"), out);
    let every = probe.as_ref().ok().and_then(Option::as_ref).map_or(PROBE_INTERVAL, |probe| probe.every);
    let threshold = fields.get("threshold").and_then(|entry| threshold(entry, every, out));
    let probe = probe.ok()?.map(Box::new);
    Some(HealthCheck { path: path?, threshold: threshold?, probe })
}

/// Three failures within a minute, or, of checks that are made seldom, of the last four looks.
fn usual_threshold(every: Millis) -> Threshold {
    let usual = Threshold::default();
    Threshold { window: usual.window.max(Millis(every.0 * 4)), ..usual }
}

/// A path of HTTP: starts with `/`, nothing that a request line cannot carry.
pub(crate) fn path(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written =
        scalar::text(&entry.value, &format!("`{}`", entry.key), &format!("{}: /health", entry.key), out)?;
    let fits = written.starts_with('/')
        && written.len() <= 1024
        && written.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\'));
    if !fits {
        let hint = match written
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)))
        {
            Some(path) => format!("each version is asked itself; write the path only: `{}`", shown(path)),
            None => "a path starts with `/` and has at most 1024 characters, none of them blank".to_owned(),
        };
        out.error(entry.value.at, format!("`{}` is not a path", shown(written)), hint);
        return None;
    }
    Some(written.to_owned())
}

/// `3 fails/60 s`.
fn threshold(entry: &Entry, every: Millis, out: &mut Findings) -> Option<Threshold> {
    let written = scalar::text(&entry.value, "`threshold`", "threshold: 3 fails/60 s", out)?;
    let chars = |text: &str| text.chars().count();
    let Some((left, right)) = written.split_once('/') else {
        out.error(
            entry.value.at,
            format!("the threshold `{}` has no time after a `/`", shown(written)),
            EXAMPLE,
        );
        return None;
    };
    let number_end = left.find(|c: char| !c.is_ascii_digit()).unwrap_or(left.len());
    let (number, tail) = left.split_at(number_end);
    if number.is_empty() {
        let at = entry.value.part(0, chars(left.trim_end()), out);
        out.error(at, format!("`{}` is not a number of failures", shown(left.trim())), EXAMPLE);
        return None;
    }
    let word = tail.trim();
    if !matches!(word, "fails" | "fail") {
        let gap = tail.chars().take_while(|c| c.is_whitespace()).count();
        let (at, message) = match word {
            "" => (
                entry.value.part(0, chars(number), out),
                format!("`{}` is not followed by `fails`", shown(number)),
            ),
            word => {
                let at = entry.value.part(chars(number) + gap, chars(word), out);
                (at, format!("`{}` is not `fails`", shown(word)))
            }
        };
        out.error(at, message, EXAMPLE);
        return None;
    }
    let window = match parse_duration(right) {
        Ok(window) => window,
        Err(error) => {
            let at = entry.value.part(chars(left) + 1 + error.offset, error.width, out);
            out.error(at, error.message, error.hint);
            return None;
        }
    };
    bounded(entry, number, window, every, out)
}

fn bounded(
    entry: &Entry,
    number: &str,
    window: Millis,
    every: Millis,
    out: &mut Findings,
) -> Option<Threshold> {
    let fails: u32 = number.parse().unwrap_or(u32::MAX);
    let message = if fails == 0 {
        "a threshold of 0 fails would halt every release".to_owned()
    } else if fails > FAILS_MAX {
        format!("a threshold of {} fails is more than {FAILS_MAX}", shown(number))
    } else if window == Millis::ZERO {
        "a threshold within 0 s can never be reached".to_owned()
    } else if window > Millis::from_mins(24 * 60) {
        format!("a threshold within {window} is longer than a day")
    } else {
        let probes = window.0 / every.0.max(1) + 1;
        if u64::from(fails) > probes {
            let message =
                format!("{fails} failures within {window} cannot happen: a probe goes out every {every}");
            out.warning(entry.value.at, message, format!("allow at most {probes} fails, or a longer time"));
        }
        return Some(Threshold { fails, window });
    };
    out.error(entry.value.at, message, "use 1 to 1000 fails within up to a day: `3 fails/60 s`");
    None
}
