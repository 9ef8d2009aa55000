//! What has to hold of an answer, and why it doesn't.

use hmsops_model::condition::{Aspect, Condition, Literal, Op, Step, Subject, parse_condition};
use hmsops_model::probe::{Ask, Probe, Tls};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::seen::{Seen, quoted};

/// A compiled expression; every text that is searched has at most 64 KiB.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// The conditions of one check, read.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    conditions: Vec<Rule>,
    defaults: Vec<Default>,
}

#[derive(Debug, Clone)]
struct Rule {
    text: String,
    condition: Condition,
    regex: Option<Regex>,
}

/// What holds of a kind's answers unless a condition speaks of the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Default {
    Success,
    Serving,
    Records(String),
    Days(u32),
    ExitZero,
}

impl Judge {
    /// Reads a check's conditions; the error says which is none and why.
    pub(super) fn of(probe: &Probe) -> Result<Self, String> {
        let encrypted =
            matches!(&probe.ask, Ask::Http { tls, .. } | Ask::Grpc { tls, .. } if *tls != Tls::Plain);
        let known = Subject::of_kind(probe.ask.kind(), encrypted);
        let mut conditions = Vec::new();
        for text in &probe.conditions {
            let wrong = |why: &dyn std::fmt::Display| {
                format!("its condition `{}` cannot be read: {why}", quoted(text))
            };
            let condition = parse_condition(text, known).map_err(|error| wrong(&error))?;
            let regex = match (condition.op, condition.values.as_slice()) {
                (Op::Matches, [Literal::Text(pattern)]) => {
                    let mut builder = RegexBuilder::new(pattern);
                    let regex = builder.size_limit(REGEX_BYTES_MAX).build();
                    Some(regex.map_err(|_| wrong(&"not a regular expression"))?)
                }
                _ => None,
            };
            conditions.push(Rule { text: text.clone(), condition, regex });
        }
        let mut judge = Self { conditions, defaults: Vec::new() };
        let default = match &probe.ask {
            Ask::Http { .. } => (!judge.speaks_of(Subject::Status)).then_some(Default::Success),
            Ask::Grpc { .. } => (!judge.speaks_of(Subject::Health)).then_some(Default::Serving),
            Ask::Dns { record, .. } => (!judge.speaks_of(Subject::Rcode)
                && !judge.speaks_of(Subject::Answer))
            .then(|| Default::Records(record.name().to_owned())),
            Ask::Tls { days, .. } => Some(Default::Days(*days)),
            Ask::Exec { .. } => (!judge.speaks_of(Subject::Exit)).then_some(Default::ExitZero),
            Ask::Tcp { .. } => None,
        };
        judge.defaults.extend(default);
        Ok(judge)
    }

    /// Whether a condition is about this.
    pub(super) fn speaks_of(&self, subject: Subject) -> bool {
        self.conditions.iter().any(|rule| rule.condition.subject == subject)
    }

    /// Why the answer is not as it has to be; `None`: it is.
    pub(super) fn objection(&self, seen: &Seen) -> Option<String> {
        let default = self.defaults.iter().find_map(|default| default.objection(seen));
        default.or_else(|| self.conditions.iter().find_map(|rule| rule.objection(seen)))
    }
}

impl Default {
    fn objection(&self, seen: &Seen) -> Option<String> {
        match self {
            Self::Success => {
                let status = seen.status.unwrap_or(0);
                (!(200..300).contains(&status)).then(|| format!("answered {status}"))
            }
            Self::Serving => seen.health.clone().filter(|health| health != "SERVING"),
            Self::Records(record) => match seen.rcode.as_deref() {
                Some("NOERROR") => seen.answers.is_empty().then(|| format!("has no {record} record")),
                rcode => Some(rcode.unwrap_or("no answer").to_owned()),
            },
            Self::Days(days) => seen.certificate.as_ref().and_then(|certificate| certificate.short(*days)),
            Self::ExitZero => seen.exit.filter(|code| *code != 0).map(|code| exited(code, seen)),
        }
    }
}

/// With the first line of what it said.
fn exited(code: i32, seen: &Seen) -> String {
    let said = seen.output.as_deref().and_then(|output| output.lines().find(|line| !line.trim().is_empty()));
    said.map_or_else(|| format!("exited with {code}"), |said| format!("exited with {code}: {}", quoted(said)))
}

/// What a condition looks at.
enum Found<'s> {
    Number(f64),
    Text(String),
    Texts(&'s [String]),
    Json(Value),
    Absent(String),
}

impl Rule {
    fn objection(&self, seen: &Seen) -> Option<String> {
        let Condition { subject, steps, aspect, .. } = &self.condition;
        let found = find(seen, *subject, steps);
        let found = if *aspect == Aspect::Length { length(found) } else { found };
        let holds = match &found {
            Found::Absent(_) => false,
            Found::Number(number) => self.holds_of_number(*number),
            Found::Text(text) => self.holds_of_text(text),
            // Of several records one is enough; that none is, is for `!=`.
            Found::Texts(texts) if self.condition.op == Op::Ne => {
                texts.iter().all(|text| self.holds_of_text(text))
            }
            Found::Texts(texts) => texts.iter().any(|text| self.holds_of_text(text)),
            Found::Json(value) => self.holds_of_json(value),
        };
        (!holds).then(|| self.why(seen, &found))
    }

    fn why(&self, seen: &Seen, found: &Found<'_>) -> String {
        let it = match (self.condition.subject, self.condition.aspect, found) {
            (_, _, Found::Absent(why)) => why.clone(),
            (Subject::Status, Aspect::Value, Found::Number(status)) => return format!("answered {status}"),
            (Subject::Exit, Aspect::Value, Found::Number(code)) => return exited(*code as i32, seen),
            (Subject::Time, Aspect::Value, Found::Number(millis)) => {
                return format!("took {} ms, and `{}`", millis.round(), quoted(&self.text));
            }
            (Subject::CertificateDays, ..) => {
                if let Some(why) = seen.certificate.as_ref().and_then(super::Certificate::invalid) {
                    return why;
                }
                match found {
                    Found::Number(days) => format!("it is {days}"),
                    _ => "it is not known".into(),
                }
            }
            (Subject::Health | Subject::Rcode, Aspect::Value, Found::Text(word)) => return word.clone(),
            (_, _, Found::Number(number)) => format!("it is {number}"),
            (_, _, Found::Text(text)) => format!("it is `{}`", quoted(text)),
            (_, _, Found::Texts([])) => "there is none".into(),
            (_, _, Found::Texts(texts)) => format!("it is `{}`", quoted(&texts.join(", "))),
            (_, _, Found::Json(value)) => format!("it is {}", quoted(&value.to_string())),
        };
        format!("`{}` does not hold: {it}", quoted(&self.text))
    }

    fn holds_of_number(&self, number: f64) -> bool {
        let same = |value: &Literal| match value {
            Literal::Number(wanted) => (number - wanted).abs() < f64::EPSILON * wanted.abs().max(1.0),
            Literal::Range(least, most) => (*least..=*most).contains(&number),
            _ => false,
        };
        let first = self.condition.values.first();
        let bound = match first {
            Some(Literal::Number(bound)) => *bound,
            _ => f64::NAN,
        };
        match self.condition.op {
            Op::Eq => first.is_some_and(same),
            Op::Ne => !first.is_some_and(same),
            Op::In => self.condition.values.iter().any(same),
            Op::Lt => number < bound,
            Op::Le => number <= bound,
            Op::Gt => number > bound,
            Op::Ge => number >= bound,
            Op::Exists => true,
            Op::Contains | Op::Matches => self.holds_of_text(&number.to_string()),
        }
    }

    fn holds_of_text(&self, text: &str) -> bool {
        let same = |value: &Literal| matches!(value, Literal::Text(wanted) if wanted == text);
        let first = self.condition.values.first();
        match self.condition.op {
            Op::Eq => first.is_some_and(same),
            Op::Ne => !first.is_some_and(same),
            Op::In => self.condition.values.iter().any(same),
            Op::Contains => matches!(first, Some(Literal::Text(part)) if text.contains(part.as_str())),
            Op::Matches => self.regex.as_ref().is_some_and(|regex| regex.is_match(text)),
            Op::Exists => true,
            // A text that is a number compares as one.
            Op::Lt | Op::Le | Op::Gt | Op::Ge => {
                text.trim().parse().is_ok_and(|number| self.holds_of_number(number))
            }
        }
    }

    fn holds_of_json(&self, value: &Value) -> bool {
        let same = |wanted: &Literal| match (wanted, value) {
            (Literal::Bool(wanted), Value::Bool(found)) => wanted == found,
            (Literal::Null, Value::Null) => true,
            _ => false,
        };
        match (self.condition.op, value) {
            (Op::Exists, _) => true,
            (_, Value::Number(number)) => self.holds_of_number(number.as_f64().unwrap_or(f64::NAN)),
            (_, Value::String(text)) => self.holds_of_text(text),
            (Op::Eq, _) => self.condition.values.first().is_some_and(same),
            (Op::Ne, _) => !self.condition.values.first().is_some_and(same),
            (Op::In, _) => self.condition.values.iter().any(same),
            // Of a list one element is enough.
            (Op::Contains, Value::Array(elements)) => elements.iter().any(|element| {
                matches!((element, self.condition.values.first()), (Value::String(text), Some(Literal::Text(wanted))) if text == wanted)
            }),
            (Op::Contains | Op::Matches, _) => self.holds_of_text(&value.to_string()),
            _ => false,
        }
    }
}

fn find<'s>(seen: &'s Seen, subject: Subject, steps: &[Step]) -> Found<'s> {
    let number =
        |number: Option<f64>| number.map_or_else(|| Found::Absent("it was not seen".into()), Found::Number);
    let text = |text: &Option<String>| {
        text.clone().map_or_else(|| Found::Absent("it was not seen".into()), Found::Text)
    };
    match subject {
        Subject::Status => number(seen.status.map(f64::from)),
        Subject::Time => Found::Number(seen.took.as_secs_f64() * 1000.0),
        Subject::CertificateDays => number(seen.certificate.as_ref().map(|found| found.days() as f64)),
        Subject::Exit => number(seen.exit.map(f64::from)),
        Subject::Health => text(&seen.health),
        Subject::Rcode => text(&seen.rcode),
        Subject::Output => text(&seen.output),
        Subject::Answer => Found::Texts(&seen.answers),
        Subject::Header => header(seen, steps),
        Subject::Body => body(seen, steps),
    }
}

fn header<'s>(seen: &Seen, steps: &[Step]) -> Found<'s> {
    let [Step::Key(wanted)] = steps else { return Found::Absent("it names no header".into()) };
    let found = seen.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map_or_else(
        || Found::Absent(format!("the answer has no header `{wanted}`")),
        |(_, value)| Found::Text(value.clone()),
    )
}

fn body<'s>(seen: &Seen, steps: &[Step]) -> Found<'s> {
    let bytes = seen.body.as_deref().unwrap_or_default();
    if steps.is_empty() {
        return Found::Text(String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']).to_owned());
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return Found::Absent("its body is not JSON".into());
    };
    for step in steps {
        let (inner, name) = match step {
            Step::Key(key) => (value.get_mut(key.as_str()), format!("no `{key}`")),
            Step::Index(index) => (value.get_mut(*index), format!("no element {index}")),
        };
        match inner {
            Some(inner) => value = inner.take(),
            None => return Found::Absent(format!("its body has {name}")),
        }
    }
    Found::Json(value)
}

fn length<'s>(found: Found<'_>) -> Found<'s> {
    let count = match found {
        Found::Text(text) | Found::Json(Value::String(text)) => text.chars().count(),
        Found::Texts(texts) => texts.len(),
        Found::Json(Value::Array(elements)) => elements.len(),
        Found::Json(Value::Object(entries)) => entries.len(),
        Found::Json(_) | Found::Number(_) => return Found::Absent("it has no length".into()),
        Found::Absent(why) => return Found::Absent(why),
    };
    Found::Number(count as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hmsops_model::probe::RecordType;

    use super::*;

    fn said(conditions: &[&str], seen: &Seen) -> Option<String> {
        let conditions = conditions.iter().map(ToString::to_string).collect();
        let probe = Probe { conditions, ..Probe::of_path("/health") };
        Judge::of(&probe).unwrap().objection(seen)
    }

    fn seen() -> Seen {
        let body =
            br#"{"status":"down","items":[{"n":3},{"n":4}],"ready":true,"tags":["a","b"],"none":null}"#;
        Seen {
            status: Some(200),
            headers: vec![("content-type".into(), "application/json".into())],
            body: Some(body.to_vec()),
            took: Duration::from_millis(120),
            ..Seen::default()
        }
    }

    #[test]
    fn conditions_that_hold_say_nothing() {
        let all = [
            "status == 200",
            "status in [200-299, 304]",
            "status != 500",
            "time < 300 ms",
            "body.status == \"down\"",
            "body.status in [\"up\", \"down\"]",
            "body.items[1].n >= 4",
            "body.items[0].n == 3",
            "len(body.items) == 2",
            "len(body.status) > 3",
            "has(body.items[1])",
            "body.ready == true",
            "body.ready != false",
            "body.none == null",
            "body.tags contains \"a\"",
            "body contains '\"ready\":true'",
            "body matches 'sta[t]us'",
            "header.Content-Type contains json",
        ];
        for condition in all {
            assert_eq!(said(&[condition], &seen()), None, "{condition}");
        }
        assert_eq!(said(&all, &seen()), None);
    }

    #[test]
    fn conditions_that_do_not_hold_say_what_was_seen() {
        for (condition, expected) in [
            ("status == 204", "answered 200"),
            ("time < 100 ms", "took 120 ms, and `time < 100 ms`"),
            ("body.status == \"ok\"", "`body.status == \"ok\"` does not hold: it is \"down\""),
            ("body.items[0].n > 3", "`body.items[0].n > 3` does not hold: it is 3"),
            ("body.missing == 1", "`body.missing == 1` does not hold: its body has no `missing`"),
            ("body.items[7].n == 1", "`body.items[7].n == 1` does not hold: its body has no element 7"),
            ("has(body.status.deep)", "`has(body.status.deep)` does not hold: its body has no `deep`"),
            ("len(body.items) > 2", "`len(body.items) > 2` does not hold: it is 2"),
            ("body.ready == \"true\"", "`body.ready == \"true\"` does not hold: it is true"),
            ("body.tags contains \"c\"", "`body.tags contains \"c\"` does not hold: it is [\"a\",\"b\"]"),
            ("header.etag == \"x\"", "`header.etag == \"x\"` does not hold: the answer has no header `etag`"),
        ] {
            assert_eq!(said(&[condition], &seen()).as_deref(), Some(expected), "{condition}");
        }
        let text = Seen { body: Some(b"fine\n".to_vec()), ..seen() };
        assert_eq!(said(&["body == \"fine\""], &text), None);
        assert_eq!(
            said(&["body.status == 1"], &text).unwrap(),
            "`body.status == 1` does not hold: its body is not JSON"
        );
    }

    #[test]
    fn each_kind_has_a_default_that_a_condition_takes_the_place_of() {
        let not_found = Seen { status: Some(404), ..seen() };
        assert_eq!(said(&[], &not_found).unwrap(), "answered 404");
        assert_eq!(said(&["status == 404"], &not_found), None);
        let kind = |ask: Ask, conditions: &[&str], seen: &Seen| {
            let conditions = conditions.iter().map(ToString::to_string).collect();
            Judge::of(&Probe { conditions, ..Probe::of(ask) }).unwrap().objection(seen)
        };
        let dns = || Ask::Dns { name: "a".into(), record: RecordType::Aaaa, resolver: None };
        let gone = Seen { rcode: Some("NXDOMAIN".into()), ..Seen::default() };
        assert_eq!(kind(dns(), &[], &gone).unwrap(), "NXDOMAIN");
        assert_eq!(kind(dns(), &["rcode == NXDOMAIN"], &gone), None);
        let empty = Seen { rcode: Some("NOERROR".into()), ..Seen::default() };
        assert_eq!(kind(dns(), &[], &empty).unwrap(), "has no AAAA record");
        let two = Seen { answers: vec!["::1".into(), "::2".into()], ..empty };
        assert_eq!(kind(dns(), &["answer == \"::2\"", "len(answer) == 2"], &two), None);
        assert_eq!(
            kind(dns(), &["answer == \"::3\""], &two).unwrap(),
            "`answer == \"::3\"` does not hold: it is `::1, ::2`"
        );
        let exec = || Ask::Exec { argv: vec!["x".into()] };
        let bad = Seen { exit: Some(3), output: Some("\nno disk\nmore".into()), ..Seen::default() };
        assert_eq!(kind(exec(), &[], &bad).unwrap(), "exited with 3: no disk");
        assert_eq!(kind(exec(), &["exit in [0, 3]", "output contains disk"], &bad), None);
        let grpc = || Ask::Grpc { service: String::new(), tls: Tls::Plain };
        let not = Seen { health: Some("NOT_SERVING".into()), ..Seen::default() };
        assert_eq!(kind(grpc(), &[], &not).unwrap(), "NOT_SERVING");
    }

    #[test]
    fn a_condition_of_a_later_version_is_refused_in_words() {
        let probe = Probe { conditions: vec!["weather == fine".into()], ..Probe::of_path("/") };
        let why = Judge::of(&probe).unwrap_err();
        assert_eq!(
            why,
            "its condition `weather == fine` cannot be read: `weather` is nothing that a check sees"
        );
    }
}
