//! `relabel_configs` and `metric_relabel_configs`.

use hmsops_model::{Relabel, RelabelAction};
use hmsops_promql::Pattern;

use super::shape::RELABEL;
use crate::diagnostic::{Findings, shown};
use crate::fields::Fields;
use crate::nearest::nearest;
use crate::scalar;
use crate::yaml::{Entry, Node, Value};

/// Rules of one list.
const RULES_MAX: usize = 200;

/// Labels that one rule joins.
const SOURCES_MAX: usize = 64;

/// The longest text of a rule in bytes, its regex apart.
const TEXT_BYTES_MAX: usize = 4096;

/// The longest regex in bytes.
const REGEX_BYTES_MAX: usize = 64 * 1024;

/// The rules of a list; an empty list is none.
pub(super) fn relabel(entry: &Entry, out: &mut Findings) -> Option<Vec<Relabel>> {
    if matches!(&entry.value.value, Value::List(nodes) if nodes.is_empty()) {
        return Some(Vec::new());
    }
    let nodes = scalar::list(entry, &format!("{}: [{{action: labeldrop, regex: uid}}]", entry.key), out)?;
    if nodes.len() > RULES_MAX {
        out.error(entry.at, format!("{} rules are more than {RULES_MAX}", nodes.len()), "join some of them");
        return None;
    }
    scalar::each(nodes, |node| rule(node, out))
}

fn rule(node: &Node, out: &mut Findings) -> Option<Relabel> {
    let fields = Fields::open(node, node.at, &RELABEL, out)?;
    let usual = Relabel::default();
    let action = fields.get("action").map_or(Some(usual.action), |entry| action(entry, out));
    let sources = fields.get("source_labels").map_or(Some(Vec::new()), |entry| sources(entry, out));
    let regex = fields.get("regex").map_or(Some(usual.regex), |entry| regex(entry, out));
    let text = |key: &str, usual: String, out: &mut Findings| match fields.get(key) {
        Some(entry) => short(entry, out),
        None => Some(usual),
    };
    let separator = text("separator", usual.separator, out);
    let replacement = text("replacement", usual.replacement, out);
    let target_label = text("target_label", usual.target_label, out);
    let modulus = match fields.get("modulus") {
        Some(entry) => scalar::count(entry, 1, u64::MAX, out),
        None => Some(0),
    };
    let rule = Relabel {
        source_labels: sources?,
        separator: separator?,
        regex: regex?,
        modulus: modulus?,
        target_label: target_label?,
        replacement: replacement?,
        action: action?,
    };
    if let Some((key, message, hint)) = contradiction(&rule, &fields) {
        let at = key.and_then(|key| fields.get(key)).map_or(node.at, |entry| entry.at);
        out.error(at, message, hint);
        return None;
    }
    Some(rule)
}

/// What an action lacks, and what it does not know (relabel.Config.Validate of Prometheus). With the key to blame; none
/// is the whole rule.
fn contradiction(
    rule: &Relabel,
    fields: &Fields<'_>,
) -> Option<(Option<&'static str>, String, &'static str)> {
    let name = rule.action.name();
    if rule.action.has_target() && rule.target_label.is_empty() {
        let message = format!("the action `{name}` has no `target_label`");
        return Some((None, message, "write `target_label: instance`"));
    }
    if rule.action == RelabelAction::HashMod && rule.modulus == 0 {
        let message = "the action `hashmod` has no `modulus`".to_owned();
        return Some((None, message, "write `modulus: 4`, the number of parts"));
    }
    let unknown: &[&'static str] = match rule.action {
        RelabelAction::LabelDrop | RelabelAction::LabelKeep => {
            &["source_labels", "separator", "modulus", "target_label", "replacement"]
        }
        RelabelAction::KeepEqual | RelabelAction::DropEqual => {
            &["regex", "separator", "modulus", "replacement"]
        }
        RelabelAction::Lowercase | RelabelAction::Uppercase => &["replacement"],
        _ => &[],
    };
    let key = unknown.iter().copied().find(|key| fields.get(key).is_some())?;
    Some((Some(key), format!("the action `{name}` does not look at `{key}`"), "take it out"))
}

fn action(entry: &Entry, out: &mut Findings) -> Option<RelabelAction> {
    let written = scalar::text(&entry.value, "`action`", "action: replace", out)?;
    // Prometheus reads them in any case.
    let known = RelabelAction::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(written));
    if known.is_none() {
        let names = RelabelAction::ALL.map(RelabelAction::name);
        let hint = match nearest(written, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", names.join(", ")),
        };
        out.error(entry.value.at, format!("`{}` is not an action", shown(written)), hint);
    }
    known
}

fn sources(entry: &Entry, out: &mut Findings) -> Option<Vec<String>> {
    let nodes = scalar::list(entry, "source_labels: [__address__]", out)?;
    if nodes.len() > SOURCES_MAX {
        let message = format!("{} labels are more than {SOURCES_MAX}", nodes.len());
        out.error(entry.at, message, "join them in two rules");
        return None;
    }
    scalar::each(nodes, |node| {
        let name = scalar::text(node, "a label's name", "__address__", out)?;
        if name.len() > TEXT_BYTES_MAX || name.chars().any(char::is_control) {
            out.error(node.at, format!("`{}` is not a label's name", shown(name)), "use text of one line");
            return None;
        }
        Some(name.to_owned())
    })
}

fn regex(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = may_be_empty(entry, out)?;
    let compiled = match written.len() {
        0..=REGEX_BYTES_MAX => Pattern::new(written).map_err(|error| error.to_string()),
        _ => Err(format!("longer than {REGEX_BYTES_MAX} bytes")),
    };
    match compiled {
        Ok(_) => Some(written.to_owned()),
        Err(why) => {
            out.error(
                entry.value.at,
                format!("`{}` cannot be used: {why}", shown(written)),
                "see RE2's syntax",
            );
            None
        }
    }
}

fn short(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = may_be_empty(entry, out)?;
    if written.len() > TEXT_BYTES_MAX {
        let message = format!("`{}` is longer than {TEXT_BYTES_MAX} bytes", entry.key);
        out.error(entry.value.at, message, "shorten it");
        return None;
    }
    Some(written.to_owned())
}

/// The text of a scalar, which may be written as an empty one in quotes.
fn may_be_empty<'n>(entry: &'n Entry, out: &mut Findings) -> Option<&'n str> {
    match &entry.value.value {
        Value::Scalar { text, plain: false } => Some(text),
        _ => scalar::text(&entry.value, &format!("`{}`", entry.key), &format!("{}: \"\"", entry.key), out),
    }
}
