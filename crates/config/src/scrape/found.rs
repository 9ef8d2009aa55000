//! Files of targets in YAML, as `file_sd_configs` names them.

use std::collections::BTreeMap;

use crate::diagnostic::{Checked, Findings};
use crate::fields::Fields;
use crate::rule_file::texts;
use crate::scalar;
use crate::yaml::{self, Node, Value};

use super::shape::STATIC;

/// Addresses, and the labels that they share.
pub type TargetSet = (Vec<String>, BTreeMap<String, String>);

/// Reads a list of sets of targets; an empty file has none.
pub fn parse_targets(text: &str) -> Checked<Vec<TargetSet>> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, false, "write `- targets: [\"10.0.0.4:9100\"]`", &mut out);
    let sets = root.and_then(|root| {
        if let Value::List(nodes) = &root.value {
            return scalar::each(nodes, |node| set(node, &mut out));
        }
        out.error(root.at, "this is no list of targets", "write `- targets: [\"10.0.0.4:9100\"]`");
        None
    });
    out.finish(sets)
}

fn set(node: &Node, out: &mut Findings) -> Option<TargetSet> {
    let fields = Fields::open(node, node.at, &STATIC, out)?;
    let labels = match fields.get("labels") {
        Some(entry) => {
            let pairs = texts(entry, "labels: {rack: b7}", out)?;
            pairs.into_iter().map(|(name, value, _)| (name.to_owned(), value.to_owned())).collect()
        }
        None => BTreeMap::new(),
    };
    let entry = fields.get("targets")?;
    if matches!(&entry.value.value, Value::List(nodes) if nodes.is_empty()) {
        return Some((Vec::new(), labels));
    }
    let nodes = scalar::list(entry, "targets: [\"10.0.0.4:9100\"]", out)?;
    let targets =
        scalar::each(nodes, |node| scalar::text(node, "a target", "10.0.0.4:9100", out).map(str::to_owned));
    Some((targets?, labels))
}
