//! `ops/policies/rollback.yaml` → [`PolicySpec`].

use hmsops_model::Millis;
use hmsops_model::release::{PolicyAction, PolicySpec};

use crate::diagnostic::{Checked, Findings, shown};
use crate::fields::{Fields, Key, Shape};
use crate::nearest::nearest;
use crate::scalar;
use crate::when::read_when;
use crate::yaml::{self, Entry, Node, Value};

pub(crate) static POLICY: Shape = Shape {
    what: "a policy",
    keys: &[
        Key::needed(
            "detect",
            "detect: {metric: auth_fail_rate, when: \"> 5 % for 2 min\"}",
            "a policy says what it watches",
        ),
        Key::needed("action", "action: rollback", "a policy says what to do"),
        Key::optional("notify", "notify: oncall@csac.gov"),
        Key::optional("service", "service: csac-portal"),
    ],
};

pub(crate) static DETECT: Shape = Shape {
    what: "what a policy detects",
    keys: &[
        Key::needed("metric", "metric: auth_fail_rate", "a policy watches a metric"),
        Key::needed("when", "when: > 5 % for 2 min", "a policy says when it acts"),
        Key::optional("of", "of: auth_total"),
    ],
};

/// Receivers that one policy may tell.
const NOTIFY_MAX: usize = 32;

/// The chapters promise a rollback within this; a policy that holds longer cannot keep it.
const PROMPT: Millis = Millis::from_secs(30);

/// Reads a rollback policy, also when its `when:` is written as chapter 14 does.
pub fn parse_policy(text: &str) -> Checked<PolicySpec> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, true, "a policy has `detect`, `action` and `notify`", &mut out);
    let spec = root.and_then(|root| policy(&root, &mut out));
    out.finish(spec)
}

fn policy(root: &Node, out: &mut Findings) -> Option<PolicySpec> {
    let fields = Fields::open(root, root.at, &POLICY, out)?;
    let action = fields.get("action").and_then(|entry| action(entry, out));
    let detect = fields.get("detect").and_then(|entry| {
        let fields = Fields::open(&entry.value, entry.at, &DETECT, out)?;
        let named = |name: &str, out: &mut Findings| fields.get(name).map(|entry| metric(entry, out));
        let metric = named("metric", out).flatten();
        let of = named("of", out);
        if let (Some(Some(of)), Some(metric)) = (&of, &metric)
            && of == metric
            && let Some(entry) = fields.get("of")
        {
            let hint = "name what `metric` is a part of: `of: auth_total`";
            out.error(entry.value.at, format!("`{metric}` divided by itself is always 1"), hint);
        }
        let when = fields.get("when").and_then(|entry| when(entry, action, out));
        Some((metric?, of.map_or(Some(None), |of| of.map(Some))?, when?))
    });
    let notify = if let Some(entry) = fields.get("notify") {
        notify(entry, out)
    } else {
        if !fields.disturbed {
            untold(root, action, out);
        }
        Some(Vec::new())
    };
    let service = match fields.get("service") {
        Some(entry) => scalar::service(&entry.value, out).map(Some),
        None => Some(None),
    };
    let (metric, of, (above, hold)) = detect?;
    Some(PolicySpec { service: service?, metric, of, above, hold, action: action?, notify: notify? })
}

fn when(
    entry: &Entry,
    action: Option<PolicyAction>,
    out: &mut Findings,
) -> Option<(hmsops_model::release::Comparison, Millis)> {
    scalar::text(&entry.value, "`when`", "when: > 5 % for 2 min", out)?;
    let (above, hold) = read_when(&entry.value, out)?;
    if action == Some(PolicyAction::Rollback) && hold > PROMPT {
        let hint =
            "declare `bad:` in services.yaml so that the gateway sees failures by itself, within seconds";
        out.warning(entry.value.at, format!("this policy cannot act before {hold}"), hint);
    }
    Some((above, hold))
}

fn metric(entry: &Entry, out: &mut Findings) -> Option<String> {
    let what = format!("`{}`", entry.key);
    let written = scalar::text(&entry.value, &what, "metric: auth_fail_rate", out)?;
    let fits = written.len() <= 255
        && written.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':'))
        && written.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.'))
        && hmsops_promql::parse_selector(written).is_ok();
    if !fits {
        let hint = "use letters, digits, `_`, `.` and `:`, not starting with a digit; expressions go into alert rules";
        out.error(entry.value.at, format!("`{}` is not a metric's name", shown(written)), hint);
        return None;
    }
    Some(written.to_owned())
}

fn action(entry: &Entry, out: &mut Findings) -> Option<PolicyAction> {
    match scalar::text(&entry.value, "`action`", "action: rollback", out)? {
        "rollback" => Some(PolicyAction::Rollback),
        "hold" => Some(PolicyAction::Hold),
        "notify" => Some(PolicyAction::Notify),
        other => {
            let hint = match nearest(other, ["rollback", "hold", "notify"]) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "use `rollback`, `hold` or `notify`".to_owned(),
            };
            out.error(entry.value.at, format!("`{}` is not an action", shown(other)), hint);
            None
        }
    }
}

/// One receiver or a list of them.
pub(crate) fn notify(entry: &Entry, out: &mut Findings) -> Option<Vec<String>> {
    if !matches!(entry.value.value, Value::List(_)) {
        return scalar::receiver(&entry.value, out).map(|receiver| vec![receiver]);
    }
    let nodes = scalar::list(entry, "notify: oncall@csac.gov", out)?;
    if nodes.len() > NOTIFY_MAX {
        out.error(
            entry.at,
            format!("{} receivers are more than {NOTIFY_MAX}", nodes.len()),
            "tell a mailing list",
        );
        return None;
    }
    scalar::each(nodes, |node| scalar::receiver(node, out))
}

fn untold(root: &Node, action: Option<PolicyAction>, out: &mut Findings) {
    let hint = "add `notify: oncall@csac.gov`";
    match action {
        Some(PolicyAction::Notify) => {
            out.error(root.at, "`notify` is missing: this policy only tells, and nobody would be told", hint);
        }
        Some(_) => out.warning(root.at, "`notify` is missing: nobody would be told", hint),
        None => {}
    }
}
