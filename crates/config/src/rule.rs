//! One alert rule, from a file or over the API: the same checks for both, which is why they stand here and not in a
//! reader of YAML. [`parse_rule`] says everything that is wrong, each with its field and place.

use std::collections::BTreeMap;

use hmsops_model::{HealAction, Millis, OnNoData, RuleGroup, RuleName, RuleSpec, ServiceName};
use hmsops_promql::ast::{Expr, Type};
use hmsops_promql::reading::{Reading, readings as both_readings};

use crate::diagnostic::{TextError, shown};
use crate::heal::parse_heal;
use crate::nearest::nearest;
use crate::scalar::receiver_error;
use crate::tower::days;

/// A rule that heals is looked at so often when nothing else is said: a heal should start within seconds.
pub const HEAL_INTERVAL_DEFAULT: Millis = Millis::from_secs(5);

/// Any other rule.
pub const INTERVAL_DEFAULT: Millis = Millis::from_secs(15);

/// The shortest and the longest time between two evaluations.
pub(crate) const INTERVAL_BOUNDS: (Millis, Millis) = (Millis::from_secs(1), days(1));

/// The longest `for` and `keep_firing_for`: what nobody has looked at for a year is no alert.
pub(crate) const HOLD_MAX: Millis = days(365);

/// All texts of a rule in bytes. A rule is one line of the ledger, which ends at 64 KiB, and JSON may need two
/// bytes for one.
const RULE_BYTES_MAX: usize = 24 * 1024;

/// Labels, annotations and receivers of one rule, each.
const ITEMS_MAX: usize = 64;

/// The longest name of a label or an annotation, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Annotations that we read; each is also a key of the rule, without its prefix.
pub(crate) const ANNOTATIONS: [&str; 5] =
    ["hmsops_on_fire", "hmsops_on_nodata", "hmsops_reading", "hmsops_notify", "hmsops_service"];

/// A rule as somebody wrote it: nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRule {
    /// Its name.
    pub name: String,
    /// PromQL.
    pub expr: String,
    /// `for`
    pub hold: Millis,
    /// How long it goes on firing.
    pub keep_firing_for: Millis,
    /// Between two evaluations; `None`: 5 s with a heal, else 15 s.
    pub interval: Option<Millis>,
    /// A heal: `rollback dmv-photo --to=prev`.
    pub on_fire: Option<String>,
    /// `keep`, `ok` or `alert`.
    pub on_nodata: Option<String>,
    /// `per-second`
    pub reading: Option<String>,
    /// Mail addresses and names of webhooks; each text may hold several, with commas.
    pub notify: Vec<String>,
    /// The service it speaks of.
    pub service: Option<String>,
    /// What a person is to read: becomes the annotation `runbook_url`.
    pub runbook: Option<String>,
    /// Put on each alert.
    pub labels: BTreeMap<String, String>,
    /// For people; `hmsops_on_fire`, `hmsops_on_nodata`, `hmsops_reading`, `hmsops_notify` and `hmsops_service`
    /// say what the fields of those names say.
    pub annotations: BTreeMap<String, String>,
}

/// What is wrong with one field of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Mistake {
    /// Which: `name`, `expr`, `for`, `keep_firing_for`, `interval`, `on_fire`, `on_nodata`, `reading`, `notify.0`,
    /// `service`, `runbook`, `labels.NAME`, `annotations.NAME`, or `rule` for all of it.
    pub field: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The first character of the field's text that is meant, from 0.
    pub offset: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
    /// The line within the field's text, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// Checks a rule; says everything that is wrong with it.
pub fn parse_rule(new: NewRule) -> Result<RuleSpec, Vec<Mistake>> {
    let mut check = Check::default();
    let spec = check.rule(new);
    match spec {
        Some(spec) if check.mistakes.is_empty() => Ok(spec),
        _ => Err(check.mistakes),
    }
}

/// Both readings of a rule's expression as text for people, the share first; empty when there is only one, or the
/// expression does not parse.
pub fn readings(expr: &str) -> Vec<String> {
    let Ok(expr) = hmsops_promql::parse(expr) else { return Vec::new() };
    let readings = both_readings(&expr);
    if !readings.is_ambiguous() {
        return Vec::new();
    }
    vec![readings.text(Reading::Share), readings.text(Reading::PerSecond)]
}

/// An alert's expression; it gives series, or a number.
pub(crate) fn parse_expr(text: &str) -> Result<Expr, TextError> {
    const EXAMPLE: &str = "write PromQL: `rate(photo.upload.ok[1m]) < 0.7`";
    let expr = hmsops_promql::parse(text).map_err(|error| {
        let before = text.get(..error.span.start).unwrap_or(text).chars().count();
        let meant = text.get(error.span.start..error.span.end).unwrap_or("").chars().count();
        let message = format!("the expression does not parse: {}", error.message);
        TextError { message, hint: EXAMPLE.to_owned(), offset: before, width: meant.max(1) }
    })?;
    match expr.value_type() {
        Type::Vector | Type::Scalar => Ok(expr),
        other => Err(TextError {
            message: format!("the expression gives a {}, an alert needs series", other.name()),
            hint: EXAMPLE.to_owned(),
            offset: 0,
            width: text.chars().count().max(1),
        }),
    }
}

/// What is wrong with a label's name and value; `of_rule`: the rule sets some labels itself.
pub(crate) fn label_error(name: &str, value: &str, of_rule: bool) -> Option<(String, &'static str)> {
    let unfit =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '{' | '}' | '=' | ',');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(unfit) {
        let message = format!("`{}` is not a label's name", shown(name));
        return Some((message, "use letters, digits and `_`, at most 128 bytes: `severity: page`"));
    }
    if name.starts_with("__") {
        let message = format!("the label `{}` belongs to the inside", shown(name));
        return Some((message, "names that start with `__` never come out: choose another"));
    }
    if of_rule && name == "alertname" {
        return Some(("`alertname` is the rule's own name".to_owned(), "take it out"));
    }
    value_error(name, value)
}

fn value_error(name: &str, value: &str) -> Option<(String, &'static str)> {
    let unfit = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    value.chars().any(unfit).then(|| {
        (format!("`{}` holds a control character", shown(name)), "use text, tabs and line breaks only")
    })
}

#[derive(Default)]
struct Check {
    mistakes: Vec<Mistake>,
}

impl Check {
    fn rule(&mut self, new: NewRule) -> Option<RuleSpec> {
        let name = RuleName::new(new.name.clone());
        if let Err(error) = &name {
            let message = format!("`{}` is not a rule's name", shown(&new.name));
            self.whole("name", &new.name, message, format!("use {}", error.expected));
        }
        if let Err(error) = parse_expr(&new.expr) {
            self.part("expr", &new.expr, error);
        }
        self.spans(&new);
        self.sizes(&new);
        self.labels(&new);
        let heal = self.heal(&new);
        let is_literal = self.reading(&new);
        let on_nodata = self.on_nodata(&new);
        let service = self.service(&new);
        let notify = self.notify(&new);
        let interval = new.interval.unwrap_or(match heal {
            Some(_) => HEAL_INTERVAL_DEFAULT,
            None => INTERVAL_DEFAULT,
        });
        let mut annotations = new.annotations;
        if let Some(runbook) = new.runbook {
            let before = annotations.insert("runbook_url".to_owned(), runbook.clone());
            if before.is_some_and(|before| before != runbook) {
                let message = "`runbook` and the annotation `runbook_url` say two things";
                self.whole("runbook", &runbook, message, "keep one");
            }
        }
        Some(RuleSpec {
            name: name.ok()?,
            service,
            expr: new.expr,
            is_literal,
            hold: new.hold,
            keep_firing_for: new.keep_firing_for,
            interval,
            labels: new.labels,
            annotations,
            heal,
            on_nodata,
            notify,
            expected: None,
            group: RuleGroup::default(),
        })
    }

    fn spans(&mut self, new: &NewRule) {
        for (field, span) in [("for", new.hold), ("keep_firing_for", new.keep_firing_for)] {
            if span > HOLD_MAX {
                self.whole(field, "", format!("`{field}` of {span} is longer than {HOLD_MAX}"), "use less");
            }
        }
        let (least, most) = INTERVAL_BOUNDS;
        if let Some(interval) = new.interval.filter(|interval| !(least..=most).contains(interval)) {
            let message = format!("`interval` of {interval} is not between {least} and {most}");
            self.whole("interval", "", message, format!("use {least} to {most}"));
        }
    }

    fn sizes(&mut self, new: &NewRule) {
        let pairs = new.labels.iter().chain(&new.annotations);
        let texts = [&new.on_fire, &new.on_nodata, &new.reading, &new.service, &new.runbook];
        let bytes = new.name.len()
            + new.expr.len()
            + pairs.map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + new.notify.iter().map(String::len).sum::<usize>()
            + texts.into_iter().flatten().map(String::len).sum::<usize>();
        if bytes > RULE_BYTES_MAX {
            let message = format!("a rule with {bytes} bytes of text is longer than {RULE_BYTES_MAX}");
            self.whole("rule", "", message, "put what is long into a runbook, and link it");
        }
        for (what, count) in [("labels", new.labels.len()), ("annotations", new.annotations.len())] {
            if count > ITEMS_MAX {
                self.whole("rule", "", format!("{count} {what} are more than {ITEMS_MAX}"), "leave some out");
            }
        }
    }

    fn labels(&mut self, new: &NewRule) {
        for (name, value) in &new.labels {
            if let Some((message, hint)) = label_error(name, value, true) {
                self.whole(&format!("labels.{name}"), value, message, hint);
            }
        }
        for (name, value) in &new.annotations {
            if let Some((message, hint)) = annotation_error(name, value) {
                self.whole(&format!("annotations.{name}"), value, message, hint);
            }
        }
    }

    /// What a field or its annotation says, with the field to blame.
    fn either<'r>(
        &mut self,
        field: &str,
        given: Option<&'r String>,
        new: &'r NewRule,
    ) -> Option<(String, &'r str)> {
        let annotation = format!("hmsops_{field}");
        match (given, new.annotations.get(&annotation)) {
            (None, None) => None,
            (Some(text), None) => Some((field.to_owned(), text)),
            (None, Some(text)) => Some((format!("annotations.{annotation}"), text)),
            (Some(text), Some(again)) => {
                let message = format!("`{field}` and the annotation `{annotation}` say the same thing");
                self.whole(&format!("annotations.{annotation}"), again, message, "keep one");
                Some((field.to_owned(), text))
            }
        }
    }

    fn heal(&mut self, new: &NewRule) -> Option<HealAction> {
        let (field, text) = self.either("on_fire", new.on_fire.as_ref(), new)?;
        parse_heal(text).map_err(|error| self.part(&field, text, error)).ok()
    }

    fn reading(&mut self, new: &NewRule) -> bool {
        let Some((field, text)) = self.either("reading", new.reading.as_ref(), new) else { return false };
        if text != "per-second" {
            let hint = match nearest(text, ["per-second"]) {
                Some(_) => "did you mean `per-second`?",
                None => {
                    "use `per-second`, or leave it out: a rate of values that are all 0 or 1 is read as a share"
                }
            };
            self.whole(&field, text, format!("`{}` is not a reading", shown(text)), hint);
        }
        true
    }

    fn on_nodata(&mut self, new: &NewRule) -> OnNoData {
        let Some((field, text)) = self.either("on_nodata", new.on_nodata.as_ref(), new) else {
            return OnNoData::default();
        };
        match text {
            "keep" => OnNoData::Keep,
            "ok" => OnNoData::Ok,
            "alert" => OnNoData::Alert,
            other => {
                let hint = match nearest(other, ["keep", "ok", "alert"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "use `keep`, `ok` or `alert`".to_owned(),
                };
                let message = format!("`{}` does not say what no data means", shown(other));
                self.whole(&field, text, message, hint);
                OnNoData::default()
            }
        }
    }

    fn service(&mut self, new: &NewRule) -> Option<ServiceName> {
        let (field, text) = self.either("service", new.service.as_ref(), new)?;
        ServiceName::new(text)
            .map_err(|error| {
                let message = format!("`{}` is not a {}", shown(text), error.what);
                self.whole(&field, text, message, format!("use {}", error.expected));
            })
            .ok()
    }

    fn notify(&mut self, new: &NewRule) -> Vec<String> {
        let given = (!new.notify.is_empty()).then(|| &new.notify[0]);
        let texts: Vec<(String, &str)> = match self.either("notify", given, new) {
            None => Vec::new(),
            Some((field, text)) if field.starts_with("annotations.") => vec![(field, text)],
            Some(_) => new
                .notify
                .iter()
                .enumerate()
                .map(|(at, text)| (format!("notify.{at}"), text.as_str()))
                .collect(),
        };
        let mut receivers: Vec<String> = Vec::new();
        for (field, text) in texts {
            let mut offset = 0;
            for part in text.split(',') {
                let receiver = part.trim();
                let start = offset + part.chars().take_while(|c| c.is_whitespace()).count();
                offset += part.chars().count() + 1;
                if let Some((message, hint)) = receiver_error(receiver) {
                    let width = receiver.chars().count().max(1);
                    let error = TextError { message, hint: hint.to_owned(), offset: start, width };
                    self.part(&field, text, error);
                } else if !receivers.iter().any(|known| known == receiver) {
                    receivers.push(receiver.to_owned());
                }
            }
        }
        if receivers.len() > ITEMS_MAX {
            let message = format!("{} receivers are more than {ITEMS_MAX}", receivers.len());
            self.whole("rule", "", message, "tell a mailing list");
        }
        receivers
    }

    fn whole(&mut self, field: &str, text: &str, message: impl Into<String>, hint: impl Into<String>) {
        let width = text.chars().count().max(1);
        self.part(field, text, TextError { message: message.into(), hint: hint.into(), offset: 0, width });
    }

    fn part(&mut self, field: &str, text: &str, error: TextError) {
        let (mut line, mut column) = (1, 1);
        for c in text.chars().take(error.offset) {
            column += 1;
            if c == '\n' {
                (line, column) = (line + 1, 1);
            }
        }
        let TextError { message, hint, offset, width } = error;
        self.mistakes.push(Mistake { field: field.to_owned(), message, hint, offset, width, line, column });
    }
}

/// What is wrong with an annotation. One that begins like ours and is none would be a heal that never runs.
fn annotation_error(name: &str, value: &str) -> Option<(String, String)> {
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        let message = format!("`{}` is not an annotation's name", shown(name));
        return Some((message, "use letters, digits and `_`, at most 128 bytes: `summary: …`".to_owned()));
    }
    if name.starts_with("hmsops_") && !ANNOTATIONS.contains(&name) {
        let known: Vec<String> = ANNOTATIONS.iter().map(|known| format!("`{known}`")).collect();
        let hint = match nearest(name, ANNOTATIONS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        return Some((format!("unknown annotation `{}`", shown(name)), hint));
    }
    value_error(name, value).map(|(message, hint)| (message, hint.to_owned()))
}
