//! The language of conditions: `status == 200`, `time < 300 ms`, `body.status == "ok"`.
//!
//! A condition is a subject, a comparison and a value. Its words are Gatus's placeholders (its README, “Conditions”)
//! without their brackets; values may be ranges, so that `status in [200-299, 304]` reads as it is meant.
//!
//! ```text
//! condition = subject compare value | subject "in" "[" element {"," element} "]" | "has(" subject ")"
//! subject   = name | "len(" name ")"
//! name      = word {"." key | "[" index "]"}
//! compare   = "==" | "!=" | "<" | "<=" | ">" | ">=" | "contains" | "matches"
//! value     = number [unit] | text in quotes | word
//! ```

use std::fmt;

/// A condition longer than this is a program.
const CHARS_MAX: usize = 500;
/// `body.a.b.c` may go so deep.
const STEPS_MAX: usize = 16;
/// Elements of a list after `in`.
const ELEMENTS_MAX: usize = 64;

/// What has to hold of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What is looked at.
    pub subject: Subject,
    /// The steps into it: `body.items[0]`; into headers: `header.content-type`.
    pub steps: Vec<Step>,
    /// What of it.
    pub aspect: Aspect,
    /// How it is compared.
    pub op: Op,
    /// With what: one value, of [`Op::In`] one to 64, of [`Op::Exists`] none.
    pub values: Vec<Literal>,
}

/// What conditions speak of. Which of them an answer has depends on what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// HTTP's status.
    Status,
    /// How long it took, in milliseconds.
    Time,
    /// HTTP's body, as text or JSON.
    Body,
    /// A header of HTTP, by its name.
    Header,
    /// Days until the certificate expires; below 0 it has.
    CertificateDays,
    /// What gRPC health says: `SERVING`.
    Health,
    /// What DNS says: `NOERROR`.
    Rcode,
    /// What came back: of DNS the records (any of them), of TCP the text.
    Answer,
    /// A program's exit code.
    Exit,
    /// What a program printed.
    Output,
}

impl Subject {
    const ALL: [(&'static str, Self); 10] = [
        ("status", Self::Status),
        ("time", Self::Time),
        ("body", Self::Body),
        ("header", Self::Header),
        ("certificate_days", Self::CertificateDays),
        ("health", Self::Health),
        ("rcode", Self::Rcode),
        ("answer", Self::Answer),
        ("exit", Self::Exit),
        ("output", Self::Output),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, subject)| *subject == self).map_or("", |(name, _)| name)
    }

    /// What answers to a kind of question have, see [`crate::probe::Ask::kind`].
    pub const fn of_kind(kind: &str, encrypted: bool) -> &'static [Self] {
        match (kind.as_bytes(), encrypted) {
            (b"http", false) => &[Self::Status, Self::Time, Self::Body, Self::Header],
            (b"http", true) => &[Self::Status, Self::Time, Self::Body, Self::Header, Self::CertificateDays],
            (b"tcp", _) => &[Self::Time, Self::Answer],
            (b"grpc", false) => &[Self::Health, Self::Time],
            (b"grpc", true) => &[Self::Health, Self::Time, Self::CertificateDays],
            (b"dns", _) => &[Self::Rcode, Self::Answer, Self::Time],
            (b"tls", _) => &[Self::CertificateDays, Self::Time],
            (b"exec", _) => &[Self::Exit, Self::Output, Self::Time],
            _ => &[],
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Status | Self::Time | Self::CertificateDays | Self::Exit)
    }
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Of an object.
    Key(String),
    /// Of a list, from 0.
    Index(usize),
}

/// What of a subject is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// Itself.
    Value,
    /// Its length: characters of a text, elements of a list or an object.
    Length,
}

/// How is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// Holds this text somewhere.
    Contains,
    /// A regular expression matches somewhere.
    Matches,
    /// Is one of these.
    In,
    /// `has(…)`: it is there.
    Exists,
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// A text.
    Text(String),
    /// A number; of times, milliseconds.
    Number(f64),
    /// Both ends belong to it.
    Range(f64, f64),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// Why a text is no condition, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionError {
    /// Characters before the wrong part.
    pub offset: usize,
    /// Characters of it.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: String,
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Reads a condition on what may be spoken of, at most 500 characters. A regular expression in it is not looked at.
pub fn parse_condition(text: &str, known: &[Subject]) -> Result<Condition, ConditionError> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, known };
    if reader.chars.len() > CHARS_MAX {
        return Err(reader.wrong(
            0,
            format!("a condition is longer than {CHARS_MAX} characters"),
            "split it",
        ));
    }
    let condition = reader.condition()?;
    reader.blanks();
    if reader.at < reader.chars.len() {
        let rest: String = reader.chars.iter().skip(reader.at).take(40).collect();
        let message = format!("`{}` follows a condition that is complete", rest.trim_end());
        return Err(reader.wrong(reader.at, message, "write each condition as an element of its own"));
    }
    Ok(condition)
}

struct Reader<'k> {
    chars: Vec<char>,
    at: usize,
    known: &'k [Subject],
}

const COMPARISONS: &str = "use `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `contains` or `matches`";

impl Reader<'_> {
    fn condition(&mut self) -> Result<Condition, ConditionError> {
        self.blanks();
        let begin = self.at;
        let word = self.word();
        self.blanks();
        if matches!(word.as_str(), "len" | "has") && self.take('(') {
            self.blanks();
            let (subject, steps) = self.subject()?;
            self.blanks();
            if !self.take(')') {
                return Err(self.wrong(
                    self.at,
                    "a `)` is missing".into(),
                    "write it like `len(body.items) > 0`",
                ));
            }
            if word == "has" {
                if steps.is_empty() {
                    let hint = format!("write it like `has({}.…)`", subject.name());
                    return Err(self.wrong(begin, format!("`{}` is always there", subject.name()), &hint));
                }
                let values = Vec::new();
                return Ok(Condition { subject, steps, aspect: Aspect::Value, op: Op::Exists, values });
            }
            return self.compared(subject, steps, Aspect::Length);
        }
        self.at = begin;
        let (subject, steps) = self.subject()?;
        self.compared(subject, steps, Aspect::Value)
    }

    fn subject(&mut self) -> Result<(Subject, Vec<Step>), ConditionError> {
        let begin = self.at;
        let word = self.word();
        let found = Subject::ALL.iter().find(|(name, _)| *name == word).map(|(_, subject)| *subject);
        let names: Vec<String> = self.known.iter().map(|subject| format!("`{}`", subject.name())).collect();
        let hint = format!("this check can speak of {}", names.join(", "));
        let Some(subject) = found.filter(|subject| self.known.contains(subject)) else {
            let message = match (word.as_str(), found) {
                ("", _) => "a condition begins with what it is about".to_owned(),
                (word, Some(_)) => format!("`{word}` is nothing that this kind of check sees"),
                (word, None) => format!("`{word}` is nothing that a check sees"),
            };
            return Err(self.wrong(begin, message, &hint));
        };
        let steps = self.steps(subject)?;
        Ok((subject, steps))
    }

    fn steps(&mut self, subject: Subject) -> Result<Vec<Step>, ConditionError> {
        let mut steps = Vec::new();
        loop {
            let begin = self.at;
            let step = if self.take('.') {
                let key = if subject == Subject::Header { self.token() } else { self.word() };
                if key.is_empty() {
                    return Err(self.wrong(begin, "a `.` is followed by a name".into(), "`body.status`"));
                }
                Step::Key(key)
            } else if self.take('[') {
                self.index(begin)?
            } else {
                break;
            };
            if !matches!(subject, Subject::Body | Subject::Header) {
                let message = format!("`{}` has no parts", subject.name());
                return Err(self.wrong(begin, message, "only `body` and `header` have"));
            }
            steps.push(step);
            if steps.len() > STEPS_MAX {
                let message = format!("more than {STEPS_MAX} steps into `{}`", subject.name());
                return Err(self.wrong(begin, message, "look at something less deep"));
            }
        }
        if subject == Subject::Header && !matches!(steps.as_slice(), [Step::Key(_)]) {
            let message = "`header` is followed by a header's name".into();
            return Err(self.wrong(
                self.at,
                message,
                "write it like `header.content-type contains \"json\"`",
            ));
        }
        Ok(steps)
    }

    /// After `[`.
    fn index(&mut self, begin: usize) -> Result<Step, ConditionError> {
        let step = if matches!(self.peek(), Some('"' | '\'')) {
            self.quoted().map(Step::Key)?
        } else {
            let digits: String = self.while_some(|c| c.is_ascii_digit());
            match digits.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => {
                    let message = "between `[` and `]` stands a number from 0, or a name in quotes".into();
                    return Err(self.wrong(begin, message, "write it like `body.items[0]`"));
                }
            }
        };
        if !self.take(']') {
            return Err(self.wrong(self.at, "a `]` is missing".into(), "write it like `body.items[0]`"));
        }
        Ok(step)
    }

    fn compared(
        &mut self,
        subject: Subject,
        steps: Vec<Step>,
        aspect: Aspect,
    ) -> Result<Condition, ConditionError> {
        self.blanks();
        let begin = self.at;
        let op = self.op()?;
        self.blanks();
        let number = subject.is_number() || aspect == Aspect::Length;
        if number && matches!(op, Op::Contains | Op::Matches) {
            let message = format!("`{}` is a number, which holds no text", subject.name());
            return Err(self.wrong(begin, message, "compare it with `==`, `<`, `>` or `in`"));
        }
        let value_at = self.at;
        let values = if op == Op::In { self.list(subject)? } else { vec![self.value(subject)?] };
        let fits = |value: &Literal| match op {
            Op::Lt | Op::Le | Op::Gt | Op::Ge => matches!(value, Literal::Number(_)),
            Op::Contains | Op::Matches => matches!(value, Literal::Text(_)),
            _ => !number || matches!(value, Literal::Number(_) | Literal::Range(..)),
        };
        if !values.iter().all(fits) {
            let (message, hint) = match op {
                Op::Contains | Op::Matches => {
                    ("a text in quotes is expected here", "write it like `body contains \"ok\"`")
                }
                _ => ("a number is expected here", "write it like `status == 200` or `time < 300 ms`"),
            };
            return Err(self.wrong(value_at, message.into(), hint));
        }
        Ok(Condition { subject, steps, aspect, op, values })
    }

    fn op(&mut self) -> Result<Op, ConditionError> {
        let begin = self.at;
        let mut sign: String = self.while_some(|c| matches!(c, '=' | '!' | '<' | '>' | '~'));
        if sign.is_empty() {
            sign = self.word();
        }
        Ok(match sign.as_str() {
            "==" => Op::Eq,
            "!=" => Op::Ne,
            "<" => Op::Lt,
            "<=" => Op::Le,
            ">" => Op::Gt,
            ">=" => Op::Ge,
            "contains" => Op::Contains,
            "matches" => Op::Matches,
            "in" => Op::In,
            "" => return Err(self.wrong(begin, "a condition compares".into(), COMPARISONS)),
            "=" => return Err(self.wrong(begin, "`=` is not a comparison".into(), "write `==`")),
            other => {
                return Err(self.wrong(begin, format!("`{other}` is not a comparison"), COMPARISONS));
            }
        })
    }

    fn list(&mut self, subject: Subject) -> Result<Vec<Literal>, ConditionError> {
        const HINT: &str = "write it like `status in [200-299, 304]`";
        let begin = self.at;
        if !self.take('[') {
            return Err(self.wrong(begin, "`in` is followed by a list".into(), HINT));
        }
        let mut values = Vec::new();
        loop {
            self.blanks();
            values.push(self.value(subject)?);
            self.blanks();
            if values.len() > ELEMENTS_MAX {
                let message = format!("a list of more than {ELEMENTS_MAX} values");
                return Err(self.wrong(begin, message, "use a range, or `matches`"));
            }
            if self.take(']') {
                return Ok(values);
            }
            if !self.take(',') {
                return Err(self.wrong(self.at, "a `,` or `]` is missing".into(), HINT));
            }
        }
    }

    fn value(&mut self, subject: Subject) -> Result<Literal, ConditionError> {
        let begin = self.at;
        match self.peek() {
            Some('"' | '\'') => return self.quoted().map(Literal::Text),
            Some(c) if c.is_ascii_digit() || c == '-' => {}
            Some(c) if is_word(c) => {
                return Ok(match self.word().as_str() {
                    "true" => Literal::Bool(true),
                    "false" => Literal::Bool(false),
                    "null" => Literal::Null,
                    word => Literal::Text(word.to_owned()),
                });
            }
            _ => {
                let message = "a value to compare with is missing".into();
                return Err(self.wrong(begin, message, "a number, or a text in quotes"));
            }
        }
        let least = self.number(subject)?;
        self.blanks();
        if self.peek() == Some('-') {
            self.at += 1;
            self.blanks();
            let most = self.number(subject)?;
            if most < least {
                return Err(self.wrong(begin, "this range is empty".into(), "write its lower end first"));
            }
            return Ok(Literal::Range(least, most));
        }
        Ok(Literal::Number(least))
    }

    fn number(&mut self, subject: Subject) -> Result<f64, ConditionError> {
        let begin = self.at;
        let sign = if self.take('-') { "-" } else { "" };
        let digits: String = self.while_some(|c| c.is_ascii_digit() || c == '.');
        let number: Option<f64> = format!("{sign}{digits}").parse().ok().filter(|_| digits.len() < 20);
        let Some(number) = number else {
            return Err(self.wrong(
                begin,
                "a number is expected here".into(),
                "write it like `200` or `0.5`",
            ));
        };
        let end = self.at;
        self.blanks();
        let unit_at = self.at;
        let unit = self.word();
        let factor = match (subject, unit.as_str()) {
            (Subject::Time, "ms") | (Subject::CertificateDays, "d") => 1.0,
            (Subject::Time, "s") => 1000.0,
            (Subject::Time, "") => {
                return Err(self.wrong(begin, "a time has a unit".into(), "write `300 ms` or `2 s`"));
            }
            (_, "") => {
                self.at = end;
                1.0
            }
            (Subject::Time, unit) => {
                return Err(self.wrong(unit_at, format!("`{unit}` is not a unit here"), "use `ms` or `s`"));
            }
            (_, unit) => {
                let message = format!("`{unit}` does not belong to the number");
                return Err(self.wrong(unit_at, message, "only `time` has units, `ms` and `s`"));
            }
        };
        Ok(number * factor)
    }

    /// A text in double quotes, in which `\` keeps the next character as it is, or in single quotes without that.
    fn quoted(&mut self) -> Result<String, ConditionError> {
        let begin = self.at;
        let quote = self.peek().unwrap_or('"');
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                c if c == quote => return Ok(text),
                // A regular expression keeps its own backslashes.
                '\\' if quote == '"' && matches!(self.peek(), Some('"' | '\\')) => {
                    text.extend(self.peek());
                    self.at += 1;
                }
                c => text.push(c),
            }
        }
        Err(self.wrong(begin, "a text has no end".into(), "close it with the quote that opened it"))
    }

    fn word(&mut self) -> String {
        self.while_some(is_word)
    }

    /// A header's name (RFC 9110 section 5.6.2), as far as people use it.
    fn token(&mut self) -> String {
        self.while_some(|c| is_word(c) || c == '-')
    }

    fn while_some(&mut self, is: impl Fn(char) -> bool) -> String {
        let taken: String = self.chars.iter().skip(self.at).take_while(|c| is(**c)).collect();
        self.at += taken.chars().count();
        taken
    }

    fn blanks(&mut self) {
        self.while_some(|c| c == ' ');
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// From `offset` to where was read, or one character.
    fn wrong(&self, offset: usize, message: String, hint: &str) -> ConditionError {
        let offset = offset.min(self.chars.len());
        ConditionError {
            offset,
            width: self.at.saturating_sub(offset).max(1),
            message,
            hint: hint.to_owned(),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: &[Subject] = Subject::of_kind("http", true);

    fn read(text: &str) -> Condition {
        parse_condition(text, HTTP).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn conditions_are_read_as_they_are_meant() {
        let status = read("status in [200-299, 304]");
        assert_eq!((status.subject, status.op), (Subject::Status, Op::In));
        assert_eq!(status.values, [Literal::Range(200.0, 299.0), Literal::Number(304.0)]);
        assert_eq!(read("time < 1.5 s").values, [Literal::Number(1500.0)]);
        assert_eq!(read("time<300ms").values, [Literal::Number(300.0)]);
        assert_eq!(read("certificate_days > 14").values, [Literal::Number(14.0)]);
        let body = read(r#"body.items[0]["a b"].c == "x \"y\" \d""#);
        let key = |key: &str| Step::Key(key.into());
        assert_eq!(body.steps, [key("items"), Step::Index(0), key("a b"), key("c")]);
        assert_eq!(body.values, [Literal::Text(r#"x "y" \d"#.into())]);
        assert_eq!(read("len(body.items) > 0").aspect, Aspect::Length);
        assert_eq!(read("has(body.version)").op, Op::Exists);
        assert_eq!(read("body.ready == true").values, [Literal::Bool(true)]);
        assert_eq!(read("header.Content-Type contains 'json'").steps, [key("Content-Type")]);
        assert_eq!(read("body.n == -3").values, [Literal::Number(-3.0)]);
        let health = parse_condition("health == SERVING", Subject::of_kind("grpc", false)).unwrap();
        assert_eq!(health.values, [Literal::Text("SERVING".into())]);
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        for (text, offset, message) in [
            ("", 0, "a condition begins with what it is about"),
            ("statsu == 200", 0, "`statsu` is nothing that a check sees"),
            ("rcode == NOERROR", 0, "`rcode` is nothing that this kind of check sees"),
            ("status", 6, "a condition compares"),
            ("status = 200", 7, "`=` is not a comparison"),
            ("status is 200", 7, "`is` is not a comparison"),
            ("status ==", 9, "a value to compare with is missing"),
            ("status == ok", 10, "a number is expected here"),
            ("status == 200 ms", 14, "`ms` does not belong to the number"),
            ("status contains 2", 7, "`status` is a number, which holds no text"),
            ("status.code == 2", 6, "`status` has no parts"),
            ("status in 200", 10, "`in` is followed by a list"),
            ("status in [200", 14, "a `,` or `]` is missing"),
            ("status in [299-200]", 11, "this range is empty"),
            ("status == 200 and time < 1 s", 14, "`and` does not belong to the number"),
            ("body == \"a\" and time < 1 s", 12, "`and time < 1 s` follows a condition that is complete"),
            ("time < 300", 7, "a time has a unit"),
            ("time < 3 min", 9, "`min` is not a unit here"),
            ("time < 1.2.3 s", 7, "a number is expected here"),
            ("body. == 1", 4, "a `.` is followed by a name"),
            ("body[x] == 1", 4, "between `[` and `]` stands a number from 0, or a name in quotes"),
            ("body[1 == 1", 6, "a `]` is missing"),
            ("body == \"ok", 8, "a text has no end"),
            ("body contains 7", 14, "a text in quotes is expected here"),
            ("len(body.items > 0", 15, "a `)` is missing"),
            ("has(status)", 0, "`status` is always there"),
            ("header == 1", 6, "`header` is followed by a header's name"),
        ] {
            let error = parse_condition(text, HTTP).unwrap_err();
            assert_eq!((error.offset, error.message.as_str()), (offset, message), "{text}");
            assert!(!error.hint.is_empty() && error.width > 0, "{text}");
        }
        assert!(parse_condition(&"x".repeat(501), HTTP).is_err());
        assert!(parse_condition(&format!("body{} == 1", ".a".repeat(17)), HTTP).is_err());
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = [
            "status", "body", ".", "[", "]", "(", ")", "len", "has", "==", "in", "\"", "9", "-", " ", "é",
            "\\",
        ];
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            if let Err(error) = parse_condition(&text, HTTP) {
                assert!(error.offset <= text.chars().count(), "{text}");
            }
        }
    }
}
