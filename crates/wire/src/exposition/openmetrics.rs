//! OpenMetrics 1.0: syntax always, the rules about families, groups and values only when a page is judged. Widely
//! used clients break some of those (a sum below zero, for one), and Prometheus scrapes them all the same.

use std::borrow::Cow;
use std::collections::HashSet;

use super::cursor::Cursor;
use super::group::{Groups, Point, suffixes};
use super::series::{self, Blanks, Pair};
use super::{ExpositionError, FAMILIES_MAX, Family, Kind, Parsed, Sample, number};

/// Characters of an exemplar's names and values together (OpenMetrics 1.0, Exemplars).
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Reads a page, and judges it by all rules if asked to.
pub(super) fn parse(text: &str, samples_max: usize, is_judged: bool) -> Result<Parsed, ExpositionError> {
    let mut page = Page { cursor: Cursor::new(text), samples_max, is_judged, ..Page::default() };
    loop {
        match page.cursor.peek() {
            None => return Err(page.cursor.expected("`# EOF` as the last line")),
            Some(b'#') => {
                if page.comment()? {
                    return Ok(page.parsed);
                }
            }
            Some(_) => page.sample()?,
        }
    }
}

#[derive(Default)]
struct Page<'a> {
    cursor: Cursor<'a>,
    samples_max: usize,
    is_judged: bool,
    parsed: Parsed,
    /// Names of families and of their samples; none may be another's.
    names: HashSet<String>,
    open: Option<Open<'a>>,
    pairs: Vec<Pair<'a>>,
    exemplar: Vec<Pair<'a>>,
}

/// The family whose lines are being read.
struct Open<'a> {
    name: Cow<'a, str>,
    /// Where it begins in the page.
    at: usize,
    kind: Option<Kind>,
    help: Option<String>,
    unit: Option<&'a str>,
    has_lines: bool,
    has_metadata: bool,
    groups: Groups,
    /// Where samples of the open group begin.
    group: usize,
    /// What `_created` said in the open group.
    start: Option<i64>,
}

impl<'a> Open<'a> {
    fn new(name: Cow<'a, str>, at: usize, group: usize) -> Self {
        Self {
            name,
            at,
            kind: None,
            help: None,
            unit: None,
            has_lines: false,
            has_metadata: false,
            groups: Groups::default(),
            group,
            start: None,
        }
    }

    fn suffix_of(&self, name: &str) -> Option<&'static str> {
        let rest = name.strip_prefix(&*self.name)?;
        suffixes(self.kind.unwrap_or_default()).iter().copied().find(|suffix| *suffix == rest)
    }
}

impl<'a> Page<'a> {
    /// A line of metadata, or `# EOF`, for which it answers yes.
    fn comment(&mut self) -> Result<bool, ExpositionError> {
        let at = self.cursor.at();
        self.cursor.bump();
        if !self.cursor.eat(b' ') {
            return Err(self.cursor.expected("a space and HELP, TYPE, UNIT or EOF"));
        }
        let word_at = self.cursor.at();
        let word = self.cursor.word();
        match word {
            "EOF" => {
                if !self.cursor.end_line() || !self.cursor.is_end() {
                    return Err(self.cursor.expected("the end of the page after `# EOF`"));
                }
                self.close()?;
                return Ok(true);
            }
            "HELP" | "TYPE" | "UNIT" => {}
            other => {
                let why = format!("expected HELP, TYPE, UNIT or EOF, found `{other}`");
                return Err(self.cursor.wrong_at(word_at, why));
            }
        }
        if !self.cursor.eat(b' ') {
            return Err(self.cursor.expected("one space and a metric's name"));
        }
        let name = series::metadata_name(&mut self.cursor)?;
        if !self.cursor.eat(b' ') {
            return Err(self.cursor.expected("one space after the metric's name"));
        }
        let rest_at = self.cursor.at();
        let rest = self.cursor.line();
        self.metadata(at, word, name, rest)
            .map_err(|(is_rest, why)| self.cursor.wrong_at(if is_rest { rest_at } else { at }, why))?;
        Ok(false)
    }

    /// An error says whether it is about `rest`.
    fn metadata(
        &mut self,
        at: usize,
        word: &str,
        name: Cow<'a, str>,
        rest: &'a str,
    ) -> Result<(), (bool, String)> {
        if self.open.as_ref().is_none_or(|open| open.name != name) {
            self.close_with()?;
            self.open = Some(Open::new(name, at, self.parsed.samples.len()));
        }
        let open = self.open.as_mut().expect("opened above");
        open.has_metadata = true;
        if open.has_lines && self.is_judged {
            return Err((false, format!("expected {word} of `{}` before its samples", open.name)));
        }
        let is_again = match word {
            "HELP" => open.help.replace(series::unescape_help(rest, true)).is_some(),
            "UNIT" => open.unit.replace(rest).is_some(),
            _ => open.kind.replace(kind(rest).map_err(|why| (true, why))?).is_some(),
        };
        if is_again && self.is_judged {
            return Err((false, format!("`{}` has a second line of {word}", open.name)));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ExpositionError> {
        let at = self.open.as_ref().map_or(0, |open| open.at);
        self.close_with().map_err(|(_, why)| self.cursor.wrong_at(at, why))
    }

    /// Ends the open family.
    fn close_with(&mut self) -> Result<(), (bool, String)> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        self.end_group(&mut open);
        if self.is_judged {
            self.judge(&mut open).map_err(|why| (false, why))?;
        }
        if open.has_metadata {
            if self.parsed.families.len() >= FAMILIES_MAX {
                return Err((false, format!("the page has more than {FAMILIES_MAX} metrics")));
            }
            self.parsed.families.push(Family {
                name: open.name.into_owned(),
                kind: open.kind.unwrap_or_default(),
                help: open.help,
                unit: open.unit.filter(|unit| !unit.is_empty()).map(str::to_owned),
            });
        }
        Ok(())
    }

    /// The rules about a family as a whole.
    fn judge(&mut self, open: &mut Open<'_>) -> Result<(), String> {
        open.groups.close()?;
        let kind = open.kind.unwrap_or_default();
        let own = suffixes(kind).iter().filter(|suffix| !suffix.is_empty()).chain(&[""]);
        for suffix in own {
            let name = format!("{}{suffix}", open.name);
            if self.names.contains(&name) {
                return Err(format!("`{name}` belongs to two metrics"));
            }
            self.names.insert(name);
        }
        if let Some(unit) = open.unit.filter(|unit| !unit.is_empty()) {
            let has_suffix = open.name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
            if !has_suffix {
                return Err(format!("expected the name `{}` to end in its unit `_{unit}`", open.name));
            }
            if matches!(kind, Kind::Info | Kind::StateSet) {
                return Err(format!("`{}` can't have a unit, it is of type {}", open.name, kind.name()));
            }
        }
        Ok(())
    }

    /// Hands what `_created` said to the samples of the group.
    fn end_group(&mut self, open: &mut Open<'_>) {
        if let Some(start) = open.start.take() {
            for sample in self.parsed.samples.iter_mut().skip(open.group) {
                sample.start = Some(start);
            }
        }
        open.group = self.parsed.samples.len();
    }

    fn sample(&mut self) -> Result<(), ExpositionError> {
        let at = self.cursor.at();
        if self.parsed.samples.len() >= self.samples_max {
            return Err(self
                .cursor
                .wrong_at(at, format!("the page has more than {} samples", self.samples_max)));
        }
        let name = series::read(&mut self.cursor, Blanks::Nowhere, &mut self.pairs)?;
        let (value, time, has_exemplar) = self.rest_of_sample()?;
        let suffix = self.open.as_ref().and_then(|open| open.suffix_of(&name));
        if suffix.is_none() {
            self.close()?;
            self.open = Some(Open::new(name.clone(), at, self.parsed.samples.len()));
        }
        let mut open = self.open.take().expect("opened above");
        let (suffix, kind) = (suffix.unwrap_or_default(), open.kind.unwrap_or_default());
        let point = Point { family: &open.name, kind, suffix, pairs: &self.pairs, time, value, has_exemplar };
        let is_new = if self.is_judged {
            open.groups.judge(&point).map_err(|why| self.cursor.wrong_at(at, why))?
        } else {
            open.groups.take(&point)
        };
        if is_new {
            self.end_group(&mut open);
        }
        open.has_lines = true;
        if suffix == "_created" {
            let Some(start) = number::to_millis(value) else {
                return Err(self.cursor.wrong_at(at, "expected a moment in seconds as value".into()));
            };
            open.start = Some(start);
        } else {
            let labels = series::labels(kind, name, &mut self.pairs);
            let time = time.and_then(number::to_millis);
            self.parsed.samples.push(Sample { labels, time, value, start: None });
        }
        self.open = Some(open);
        Ok(())
    }

    /// ` value`, and maybe ` time` and ` # {…} value time`, with the end of the line.
    fn rest_of_sample(&mut self) -> Result<(f64, Option<f64>, bool), ExpositionError> {
        if !self.cursor.eat(b' ') {
            return Err(self.cursor.expected("one space and a value"));
        }
        let value = self.number("a value")?;
        let mut time = None;
        let mut has_exemplar = self.cursor.eat_text(" # ");
        if !has_exemplar && self.cursor.eat(b' ') {
            time = Some(self.moment()?);
            has_exemplar = self.cursor.eat_text(" # ");
        }
        if has_exemplar {
            self.read_exemplar()?;
        }
        if !self.cursor.eat(b'\n') {
            return Err(self.cursor.expected("the end of the line"));
        }
        Ok((value, time, has_exemplar))
    }

    /// Checks an exemplar, which is not kept.
    fn read_exemplar(&mut self) -> Result<(), ExpositionError> {
        let at = self.cursor.at();
        series::read_exemplar(&mut self.cursor, &mut self.exemplar)?;
        let count = |text: &str| text.chars().count();
        let chars: usize = self.exemplar.iter().map(|(name, value)| count(name) + count(value)).sum();
        if chars > EXEMPLAR_CHARS_MAX {
            let why = format!(
                "the labels of an exemplar have {chars} characters, at most {EXEMPLAR_CHARS_MAX} are allowed"
            );
            return Err(self.cursor.wrong_at(at, why));
        }
        if !self.cursor.eat(b' ') {
            return Err(self.cursor.expected("one space and the exemplar's value"));
        }
        self.number("the exemplar's value")?;
        if self.cursor.eat(b' ') {
            self.moment()?;
        }
        Ok(())
    }

    fn number(&mut self, what: &str) -> Result<f64, ExpositionError> {
        let mut ahead = self.cursor.clone();
        let value = number::value(ahead.word()).ok_or_else(|| self.cursor.expected(what))?;
        self.cursor = ahead;
        Ok(value)
    }

    /// In seconds, and finite.
    fn moment(&mut self) -> Result<f64, ExpositionError> {
        let at = self.cursor.at();
        let seconds = self.number("a time in seconds")?;
        if number::to_millis(seconds).is_none() {
            return Err(self
                .cursor
                .wrong_at(at, "expected a time in seconds, found one that is not finite".into()));
        }
        Ok(seconds)
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "unknown" => Kind::Unknown,
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "gaugehistogram" => Kind::GaugeHistogram,
        "summary" => Kind::Summary,
        "info" => Kind::Info,
        "stateset" => Kind::StateSet,
        other => {
            return Err(format!(
                "expected counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown, found `{other}`"
            ));
        }
    })
}
