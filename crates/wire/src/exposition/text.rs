//! Prometheus text 0.0.4.

use std::borrow::Cow;
use std::collections::HashMap;

use super::cursor::Cursor;
use super::series::{self, Blanks, Pair};
use super::{ExpositionError, FAMILIES_MAX, Family, Kind, Parsed, Sample, number};

/// Reads a page.
pub(super) fn parse(text: &str, samples_max: usize) -> Result<Parsed, ExpositionError> {
    let mut page = Page { cursor: Cursor::new(text), samples_max, ..Page::default() };
    loop {
        page.cursor.skip_blanks();
        match page.cursor.peek() {
            None => return Ok(page.parsed),
            Some(b'\n') => page.cursor.bump(),
            Some(b'#') => page.comment()?,
            Some(_) => page.sample()?,
        }
    }
}

#[derive(Default)]
struct Page<'a> {
    cursor: Cursor<'a>,
    samples_max: usize,
    parsed: Parsed,
    /// Where families stand in what was read.
    places: HashMap<Cow<'a, str>, usize>,
    /// The family of the last metadata.
    family: Option<usize>,
    pairs: Vec<Pair<'a>>,
}

impl<'a> Page<'a> {
    /// `# HELP name text`, `# TYPE name kind`, or a comment.
    fn comment(&mut self) -> Result<(), ExpositionError> {
        let start = self.cursor.at();
        self.cursor.bump();
        let is_metadata = self.cursor.skip_blanks();
        let word = self.cursor.word();
        if !is_metadata || !matches!(word, "HELP" | "TYPE") || !self.cursor.skip_blanks() {
            self.cursor.line();
            return Ok(());
        }
        if self.parsed.families.len() >= FAMILIES_MAX {
            return Err(self
                .cursor
                .wrong_at(start, format!("the page has more than {FAMILIES_MAX} metrics")));
        }
        let name = series::metadata_name(&mut self.cursor)?;
        let is_apart = self.cursor.skip_blanks();
        if word == "HELP" {
            if !is_apart && !self.cursor.end_line() {
                return Err(self.cursor.expected("a space after the metric's name"));
            }
            let help = if is_apart { self.cursor.line() } else { "" };
            let help = series::unescape_help(help, false);
            self.family(name).help.get_or_insert(help);
            return Ok(());
        }
        let at = self.cursor.at();
        let kind = match self.cursor.line() {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "summary" => Kind::Summary,
            "untyped" => Kind::Unknown,
            other => {
                let why = format!("expected counter, gauge, histogram, summary or untyped, found `{other}`");
                return Err(self.cursor.wrong_at(at, why));
            }
        };
        self.family(name).kind = kind;
        Ok(())
    }

    /// The family of that name, which is the one of the samples that follow.
    fn family(&mut self, name: Cow<'a, str>) -> &mut Family {
        let families = &mut self.parsed.families;
        let place = *self.places.entry(name).or_insert_with_key(|name| {
            families.push(Family {
                name: name.clone().into_owned(),
                kind: Kind::Unknown,
                help: None,
                unit: None,
            });
            families.len() - 1
        });
        self.family = Some(place);
        &mut families[place]
    }

    fn sample(&mut self) -> Result<(), ExpositionError> {
        let start = self.cursor.at();
        if self.parsed.samples.len() >= self.samples_max {
            let why = format!("the page has more than {} samples", self.samples_max);
            return Err(self.cursor.wrong_at(start, why));
        }
        let name = series::read(&mut self.cursor, Blanks::Anywhere, &mut self.pairs)?;
        self.cursor.skip_blanks();
        let mut ahead = self.cursor.clone();
        let Some(value) = number::value(ahead.word()) else { return Err(self.cursor.expected("a value")) };
        self.cursor = ahead;
        self.cursor.skip_blanks();
        let mut time = None;
        if !self.cursor.end_line() {
            let mut ahead = self.cursor.clone();
            time =
                Some(ahead.word().parse().map_err(|_| {
                    self.cursor.expected("a time in whole milliseconds or the end of the line")
                })?);
            self.cursor = ahead;
            self.cursor.skip_blanks();
            if !self.cursor.end_line() {
                return Err(self.cursor.expected("the end of the line"));
            }
        }
        let family = self.family.map(|place| &self.parsed.families[place]);
        let kind = family
            .filter(|family| name.starts_with(&family.name))
            .map_or(Kind::Unknown, |family| family.kind);
        let labels = series::labels(kind, name, &mut self.pairs);
        self.parsed.samples.push(Sample { labels, time, value, start: None });
        Ok(())
    }
}
