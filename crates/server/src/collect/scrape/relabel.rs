//! Rules that change labels: what `relabel_configs` and `metric_relabel_configs` of Prometheus do.
//!
//! Source: Prometheus documentation, "Configuration", `relabel_config`.

use std::collections::BTreeMap;

use hmsops_model::{Relabel, RelabelAction};
use hmsops_promql::Pattern;
use md5::{Digest as _, Md5};

/// Rules ready to be used.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    is: Relabel,
    pattern: Pattern,
}

/// Labels by name; a label without a value is none.
pub(super) type LabelMap = BTreeMap<String, String>;

impl Rules {
    /// Compiles them. A regex that cannot be compiled matches nothing: the file that holds it was refused before.
    pub(super) fn new(rules: &[Relabel]) -> Self {
        let compile = |is: &Relabel| {
            let pattern = Pattern::new(&is.regex).or_else(|_| Pattern::new("[^\\s\\S]")).ok()?;
            Some(Rule { is: is.clone(), pattern })
        };
        Self(rules.iter().filter_map(compile).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes the labels, rule by rule. Whether what they belong to is kept.
    pub(super) fn apply(&self, labels: &mut LabelMap) -> bool {
        self.0.iter().all(|rule| rule.apply(labels))
    }
}

impl Rule {
    fn apply(&self, labels: &mut LabelMap) -> bool {
        let is = &self.is;
        match is.action {
            RelabelAction::Drop => return !self.pattern.is_match(&self.text(labels)),
            RelabelAction::Keep => return self.pattern.is_match(&self.text(labels)),
            RelabelAction::DropEqual => return self.text(labels) != value(labels, &is.target_label),
            RelabelAction::KeepEqual => return self.text(labels) == value(labels, &is.target_label),
            RelabelAction::Replace => self.replace(labels),
            RelabelAction::HashMod => {
                let part = hash(&self.text(labels)) % is.modulus.max(1);
                set(labels, &is.target_label, part.to_string());
            }
            RelabelAction::Lowercase => set(labels, &is.target_label, self.text(labels).to_lowercase()),
            RelabelAction::Uppercase => set(labels, &is.target_label, self.text(labels).to_uppercase()),
            RelabelAction::LabelMap => {
                let copies: Vec<_> = labels
                    .iter()
                    .filter_map(|(name, value)| {
                        Some((self.pattern.expand(name, &is.replacement)?, value.clone()))
                    })
                    .collect();
                for (name, value) in copies {
                    set(labels, &name, value);
                }
            }
            RelabelAction::LabelDrop => labels.retain(|name, _| !self.pattern.is_match(name)),
            RelabelAction::LabelKeep => labels.retain(|name, _| self.pattern.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut LabelMap) {
        let text = self.text(labels);
        let Some(target) = self.pattern.expand(&text, &self.is.target_label) else { return };
        let Some(written) = self.pattern.expand(&text, &self.is.replacement) else { return };
        set(labels, &target, written);
    }

    /// What the rule looks at.
    fn text(&self, labels: &LabelMap) -> String {
        let values: Vec<&str> = self.is.source_labels.iter().map(|name| value(labels, name)).collect();
        values.join(&self.is.separator)
    }
}

fn value<'l>(labels: &'l LabelMap, name: &str) -> &'l str {
    labels.get(name).map_or("", String::as_str)
}

/// An empty value takes the label away; nothing is called by an empty name.
fn set(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() || name.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

/// The last eight bytes of the MD5 of the text, as a number: others part their targets by the same.
fn hash(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest[8..].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: RelabelAction) -> Relabel {
        Relabel { action, ..Relabel::default() }
    }

    fn of(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// `a`, `b` and `c` with the values `foo`, `bar` and `baz`, after the rules; `None`: dropped.
    fn after(rules: &[Relabel]) -> Option<String> {
        let labels = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        let mut labels: LabelMap = labels.map(|(name, value)| (name.into(), value.into())).into();
        let kept = Rules::new(rules).apply(&mut labels);
        let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        kept.then(|| shown.join(" "))
    }

    #[test]
    fn a_replacement_takes_parts_of_the_match() {
        let base = Relabel {
            source_labels: of(&["a"]),
            regex: "f(.*)".into(),
            target_label: "d".into(),
            replacement: "ch${1}-ch${1}".into(),
            ..Relabel::default()
        };
        assert_eq!(after(std::slice::from_ref(&base)).unwrap(), "a=foo b=bar c=baz d=choo-choo");
        let joined = Relabel {
            source_labels: of(&["a", "b"]),
            regex: "f(.*);(.*)r".into(),
            target_label: "a".into(),
            replacement: "b${1}${2}m".into(),
            ..Relabel::default()
        };
        assert_eq!(after(&[joined]).unwrap(), "a=boobam b=bar c=baz");
        let missing = Relabel { regex: "x(.*)".into(), ..base.clone() };
        assert_eq!(after(&[missing]).unwrap(), "a=foo b=bar c=baz", "what does not match changes nothing");
        let named = Relabel { target_label: "${1}".into(), replacement: "x".into(), ..base.clone() };
        assert_eq!(after(&[named]).unwrap(), "a=foo b=bar c=baz oo=x");
        let emptied = Relabel { target_label: "b".into(), replacement: String::new(), ..base };
        assert_eq!(after(&[emptied]).unwrap(), "a=foo c=baz");
    }

    #[test]
    fn what_is_kept_and_what_is_dropped() {
        let with = |action, source: &str, regex: &str, target: &str| Relabel {
            source_labels: of(&[source]),
            regex: regex.into(),
            target_label: target.into(),
            ..rule(action)
        };
        let all = "a=foo b=bar c=baz";
        for (rule, kept) in [
            (with(RelabelAction::Drop, "a", "f.*", ""), false),
            (with(RelabelAction::Drop, "a", "f", ""), true),
            (with(RelabelAction::Keep, "a", "f.*", ""), true),
            (with(RelabelAction::Keep, "a", "oo", ""), false),
            (with(RelabelAction::Keep, "missing", "", ""), true),
            (with(RelabelAction::KeepEqual, "a", "(.*)", "a"), true),
            (with(RelabelAction::KeepEqual, "a", "(.*)", "b"), false),
            (with(RelabelAction::DropEqual, "a", "(.*)", "b"), true),
            (with(RelabelAction::DropEqual, "missing", "(.*)", "gone"), false),
        ] {
            assert_eq!(after(std::slice::from_ref(&rule)).as_deref(), kept.then_some(all), "{rule:?}");
        }
    }

    #[test]
    fn labels_are_hashed_mapped_dropped_and_recased() {
        let hash = Relabel {
            source_labels: of(&["c"]),
            target_label: "d".into(),
            modulus: 1000,
            ..rule(RelabelAction::HashMod)
        };
        // 73feffa4b7f6bb68e44cf984c85f6e88 is the MD5 of `baz`.
        assert_eq!(
            after(&[hash]).unwrap(),
            format!("a=foo b=bar c=baz d={}", 0xe44c_f984_c85f_6e88_u64 % 1000)
        );
        let map =
            Relabel { regex: "(a|b)".into(), replacement: "copy_$1".into(), ..rule(RelabelAction::LabelMap) };
        assert_eq!(after(&[map]).unwrap(), "a=foo b=bar c=baz copy_a=foo copy_b=bar");
        let drop = Relabel { regex: "a|b".into(), ..rule(RelabelAction::LabelDrop) };
        assert_eq!(after(&[drop]).unwrap(), "c=baz");
        let keep = Relabel { regex: "a|b".into(), ..rule(RelabelAction::LabelKeep) };
        assert_eq!(after(&[keep]).unwrap(), "a=foo b=bar");
        let upper =
            Relabel { source_labels: of(&["a"]), target_label: "a".into(), ..rule(RelabelAction::Uppercase) };
        let lower = Relabel { action: RelabelAction::Lowercase, target_label: "d".into(), ..upper.clone() };
        assert_eq!(after(&[upper, lower]).unwrap(), "a=FOO b=bar c=baz d=foo");
    }
}
