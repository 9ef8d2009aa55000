//! What programs say of their metrics beside the values: type, help and unit.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use hmsops_wire::exposition;

/// Metrics that are remembered: ten times what a large program exposes.
const METRICS_MAX: usize = 20_000;

/// Different things said of one metric; programs rarely disagree.
const SAID_MAX: usize = 4;

/// Bytes of a help text that are kept.
const HELP_BYTES_MAX: usize = 1024;

/// What was said of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Family {
    /// `counter`, `gauge`, `histogram`, `summary`, `unknown`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// In words.
    pub help: String,
    /// `seconds`, `bytes`, …; may be empty.
    pub unit: String,
}

/// What was said of all metrics. Whoever scrapes notes it; the query API shows it.
#[derive(Debug, Default)]
pub struct Families(RwLock<BTreeMap<String, Vec<Family>>>);

impl Families {
    /// Remembers what a page says of its metrics.
    pub fn note_all(&self, families: &[exposition::Family]) {
        for said in families {
            let (help, unit) = (said.help.clone().unwrap_or_default(), said.unit.clone().unwrap_or_default());
            self.note(&said.name, Family { kind: said.kind.name().into(), help, unit });
        }
    }

    /// Remembers what was said of a metric, unless there is no room for more.
    pub fn note(&self, metric: &str, mut family: Family) {
        let cut = family.help.floor_char_boundary(HELP_BYTES_MAX);
        family.help.truncate(cut);
        let known = |said: Option<&Vec<Family>>| said.is_some_and(|said| said.contains(&family));
        if known(self.0.read().unwrap_or_else(PoisonError::into_inner).get(metric)) {
            return;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= METRICS_MAX && !all.contains_key(metric) {
            return;
        }
        let said = all.entry(metric.to_owned()).or_default();
        if said.len() >= SAID_MAX {
            // The newest counts most: a program that was renewed says it anew.
            said.remove(0);
        }
        said.push(family);
    }

    /// What was said of one metric or all; at most so many metrics, and so many different things of each.
    pub fn said(&self, metric: Option<&str>, metrics: usize, each: usize) -> BTreeMap<String, Vec<Family>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = all.iter().filter(|(name, _)| metric.is_none_or(|metric| metric == *name));
        let shown = |said: &Vec<Family>| said.iter().rev().take(each).cloned().collect();
        wanted.take(metrics).map(|(name, said)| (name.clone(), shown(said))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_remembered_once_and_the_newest_stays() {
        let families = Families::default();
        let of = |help: &str| Family { kind: "counter".into(), help: help.into(), unit: String::new() };
        for help in ["a", "a", "b", "c", "d", "e"] {
            families.note("x_total", of(help));
        }
        families.note("y", of(&"é".repeat(HELP_BYTES_MAX)));
        let said = families.said(Some("x_total"), 10, 10);
        assert_eq!(said["x_total"], [of("e"), of("d"), of("c"), of("b")]);
        let all = families.said(None, 10, 1);
        assert_eq!((all.len(), all["x_total"].len(), all["y"][0].help.len()), (2, 1, HELP_BYTES_MAX));
        assert_eq!(families.said(None, 1, 1).len(), 1);
    }
}
