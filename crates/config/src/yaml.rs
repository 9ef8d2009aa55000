//! YAML text → a small tree whose every node knows its place. Scalars stay text as written, so that the
//! version `1.10` never becomes 1.1. Anchors, aliases, merge keys and tags are refused; depth, size and
//! number of values are bounded; a key given twice is an error.

use std::collections::HashMap;

use hmsops_model::limits::{CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX};
use saphyr_parser::{Event, Parser, ScalarStyle, Span as RawSpan};

use crate::diagnostic::{Findings, Span, shown};
use crate::scan_error;

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Span,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// Text as written; `plain`: without quotes, so that `~` or nothing at all means no value.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Map),
    /// Something already complained about; nobody complains again.
    Refused,
}

#[derive(Debug, Default)]
pub(crate) struct Map {
    pub(crate) entries: Vec<Entry>,
    /// Keys were refused: what seems to be missing may have been in them.
    pub(crate) disturbed: bool,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Span,
    pub(crate) value: Node,
}

/// What became of a text.
pub(crate) struct Parsed {
    /// The document; `None`: nothing but blanks and comments, or broken.
    pub(crate) root: Option<Node>,
    /// The text could not be read to its end, and that has been said.
    pub(crate) broken: bool,
}

impl Node {
    /// Nothing was written where a value should be: `key:`, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, with its article, for messages.
    pub(crate) fn form(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Refused => "nothing",
        }
    }

    /// The place of some characters of a scalar's text; all of it when it stands in the file in another form.
    pub(crate) fn part(&self, offset: usize, width: usize, out: &Findings) -> Span {
        self.spot(offset, width, out).unwrap_or(self.at)
    }

    /// The place of some characters of a scalar's text, when they can be found in the file: in one line, quoted or
    /// not, or below a `|`.
    pub(crate) fn spot(&self, offset: usize, width: usize, out: &Findings) -> Option<Span> {
        let Value::Scalar { text, .. } = &self.value else { return None };
        self.in_line(text, offset, width, out).or_else(|| self.in_block(text, offset, width, out))
    }

    fn in_line(&self, text: &str, offset: usize, width: usize, out: &Findings) -> Option<Span> {
        let mut source = out.line(self.at.line).chars().skip(self.at.column as usize - 1).peekable();
        let quote = source.next_if(|c| matches!(c, '"' | '\''));
        let mut column = self.at.column + u32::from(quote.is_some());
        let (mut start, mut end) = (None, None);
        for (index, wanted) in text.chars().enumerate() {
            if index == offset {
                start = Some(column);
            }
            if index == offset + width {
                end = Some(column);
            }
            // `\"` and `''` within quotes stand for one character; what stands for another is not followed.
            let (mut found, mut taken) = (source.next()?, 1);
            if (quote == Some('"') && found == '\\') || (quote == Some('\'') && found == '\'') {
                (found, taken) = (source.next()?, 2);
            }
            if found != wanted {
                return None;
            }
            column += taken;
        }
        let start = start.unwrap_or(column);
        Some(Span {
            line: self.at.line,
            column: start,
            width: end.unwrap_or(column).saturating_sub(start).max(1),
        })
    }

    /// A text below a `|` stands there line by line, indented.
    fn in_block(&self, text: &str, offset: usize, width: usize, out: &Findings) -> Option<Span> {
        let before: String = text.chars().take(offset).collect();
        let number = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let indent_of = |wanted: &str, line: u32| {
            let source = out.line(line);
            let indent = source.strip_suffix(wanted)?;
            indent.chars().all(|c| c == ' ').then_some(indent.len())
        };
        // The text may be said to start at its `|` or at its first line.
        [self.at.line, self.at.line + 1].into_iter().find_map(|first| {
            let lines = text.lines().take(number + 1).zip(first..);
            let indents: Option<Vec<usize>> = lines.map(|(wanted, line)| indent_of(wanted, line)).collect();
            let indent = *indents?.last()?;
            let (line, column) = (first + number as u32, (indent + column) as u32 + 1);
            Some(Span { line, column, width: width.max(1) as u32 })
        })
    }
}

/// Reads a text. `comparisons`: a line `when: > 5 % …` is taken as the text it was meant to be.
pub(crate) fn parse(text: &str, comparisons: bool, out: &mut Findings) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some((at, message, hint)) = unreadable(text) {
        out.error(at, message, hint);
        return Parsed { root: None, broken: true };
    }
    let written = if comparisons { crate::when::shield(text) } else { None };
    let text = written.as_deref().unwrap_or(text);
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let read = match event {
            Ok((event, raw)) => tree.take(event, &raw, out),
            Err(error) => {
                scan_error::report(&error, tree.open_flow(), tree.innermost(), out);
                Err(Stopped)
            }
        };
        if read.is_err() {
            return Parsed { root: None, broken: true };
        }
    }
    Parsed { root: tree.root.filter(|root| !root.is_null()), broken: false }
}

/// Reads a text that must hold something.
pub(crate) fn parse_filled(text: &str, comparisons: bool, hint: &str, out: &mut Findings) -> Option<Node> {
    let parsed = parse(text, comparisons, out);
    if parsed.root.is_none() && !parsed.broken {
        out.error(Span::START, "this file is empty", hint);
    }
    parsed.root
}

/// Why a text is not even looked at: its size, or a character that no text file has.
fn unreadable(text: &str) -> Option<(Span, String, String)> {
    if text.len() > CONFIG_BYTES_MAX {
        let message = format!("this file has {} bytes, which is more than {CONFIG_BYTES_MAX}", text.len());
        return Some((Span::START, message, "split it; one file holds one kind of thing".to_owned()));
    }
    let allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{85}') || (!c.is_control() && c != '\u{feff}');
    let (before, found) = text.char_indices().find(|(_, c)| !allowed(*c))?;
    let before = text.get(..before).unwrap_or("");
    let line_start = before.rfind(['\n', '\r']).map_or(0, |end| end + 1);
    let breaks = before.replace("\r\n", "\n").matches(['\n', '\r']).count();
    let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
    let at = Span { line: breaks as u32 + 1, column: column as u32, width: 1 };
    let message = format!("the character U+{:04X} is not allowed in a text file", u32::from(found));
    Some((at, message, "take it out; is this file binary, or not UTF-8?".to_owned()))
}

fn span(raw: &RawSpan) -> Span {
    let (start, end) = (&raw.start, &raw.end);
    // On several lines, the first one to its end: the width is cut to the line when it is reported.
    let width = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { 1 << 20 };
    Span { line: start.line() as u32, column: start.col() as u32 + 1, width: width.max(1) as u32 }
}

/// Reading has ended early; the reason has been said.
struct Stopped;

/// The tree while it grows.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    refused_alias: bool,
    refused_tag: bool,
}

/// A collection whose end has not come yet.
struct Open {
    at: Span,
    /// Opened by `[` or `{`.
    flow: bool,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { map: Map, places: HashMap<String, Span>, key: Option<(String, Span)> },
}

impl Tree {
    /// Where the innermost `[` or `{` stands that is still open.
    fn open_flow(&self) -> Option<Span> {
        self.open.iter().rev().find(|open| open.flow).map(|open| open.at)
    }

    /// Where the innermost list or map starts that is still open.
    fn innermost(&self) -> Option<Span> {
        self.open.last().map(|open| open.at)
    }

    fn take(&mut self, event: Event<'_>, raw: &RawSpan, out: &mut Findings) -> Result<(), Stopped> {
        let at = span(raw);
        // A block collection starts with its first value and has no width; a flow one starts with its bracket.
        let flow = raw.start.index() < raw.end.index();
        match event {
            Event::DocumentStart(_) => self.documents(at, out),
            Event::Scalar(text, style, anchor, tag) => {
                self.marks(anchor, tag.is_some(), at, out);
                let text = crate::when::unshield(text.into_owned());
                self.value(
                    Node { at, value: Value::Scalar { text, plain: style == ScalarStyle::Plain } },
                    out,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.marks(anchor, tag.is_some(), at, out);
                self.begin(Open { at, flow, kind: OpenKind::List(Vec::new()) }, out)
            }
            Event::MappingStart(anchor, tag) => {
                self.marks(anchor, tag.is_some(), at, out);
                let kind = OpenKind::Map { map: Map::default(), places: HashMap::new(), key: None };
                self.begin(Open { at, flow, kind }, out)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(out),
            Event::Alias(_) => {
                self.marks(1, false, at, out);
                self.value(Node { at, value: Value::Refused }, out)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn documents(&mut self, at: Span, out: &mut Findings) -> Result<(), Stopped> {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        out.error(at, "a second document starts here", "one file holds one document: take out the `---`");
        Err(Stopped)
    }

    /// Anchors, aliases and tags: said once each, however many there are.
    fn marks(&mut self, anchor: usize, tag: bool, at: Span, out: &mut Findings) {
        if anchor > 0 && !self.refused_alias {
            self.refused_alias = true;
            let hint = "write the value out where it is needed; quote it if it starts with `&` or `*`";
            out.error(at, "anchors and aliases (`&name`, `*name`) are not read here", hint);
        }
        if tag && !self.refused_tag {
            self.refused_tag = true;
            let hint = "leave the tag out; quote the value if it starts with `!`";
            out.error(at, "tags (`!name`) are not read here", hint);
        }
    }

    fn begin(&mut self, open: Open, out: &mut Findings) -> Result<(), Stopped> {
        let at = open.at;
        if self.open.len() >= CONFIG_DEPTH_MAX {
            let hint = "no file of ours goes deeper than eight";
            out.error(at, format!("lists and maps are nested deeper than {CONFIG_DEPTH_MAX}"), hint);
            return Err(Stopped);
        }
        if let Some(Open { kind: OpenKind::Map { key: None, .. }, .. }) = self.open.last() {
            out.error(
                at,
                "a key must be a text, not a list or a map",
                "quote it if it starts with `[` or `{`",
            );
            return Err(Stopped);
        }
        self.open.push(open);
        self.count(at, out)
    }

    fn end(&mut self, out: &mut Findings) -> Result<(), Stopped> {
        let Some(Open { mut at, kind, .. }) = self.open.pop() else { return Ok(()) };
        let value = match kind {
            OpenKind::List(list) => Value::List(list),
            OpenKind::Map { map, .. } => {
                // A block map starts with its first key: what is said of the map underlines that.
                if let Some(first) = map.entries.first().filter(|first| first.at.column == at.column) {
                    at = first.at;
                }
                Value::Map(map)
            }
        };
        self.place(Node { at, value }, out)
    }

    fn value(&mut self, node: Node, out: &mut Findings) -> Result<(), Stopped> {
        self.count(node.at, out)?;
        self.place(node, out)
    }

    fn count(&mut self, at: Span, out: &mut Findings) -> Result<(), Stopped> {
        self.nodes += 1;
        if self.nodes <= CONFIG_NODES_MAX {
            return Ok(());
        }
        out.error(at, format!("this file holds more than {CONFIG_NODES_MAX} values"), "split it");
        Err(Stopped)
    }

    /// Puts a finished node where it belongs: the document, a list, or a map's key or value.
    fn place(&mut self, node: Node, out: &mut Findings) -> Result<(), Stopped> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(list)) => list.push(node),
            Some(OpenKind::Map { map, places, key }) => match key.take() {
                None => *key = Some(key_of(node, out)?),
                Some((key, at)) => enter(map, places, Entry { key, at, value: node }, out),
            },
        }
        Ok(())
    }
}

fn key_of(node: Node, out: &mut Findings) -> Result<(String, Span), Stopped> {
    if let Value::Scalar { text, .. } = node.value {
        return Ok((text, node.at));
    }
    if !matches!(node.value, Value::Refused) {
        out.error(node.at, "a key must be a text", "write `key: value`");
    }
    Err(Stopped)
}

fn enter(map: &mut Map, places: &mut HashMap<String, Span>, entry: Entry, out: &mut Findings) {
    if entry.key == "<<" {
        map.disturbed = true;
        if !matches!(entry.value.value, Value::Refused) {
            out.error(entry.at, "merge keys (`<<`) are not read here", "write the values out");
        }
        return;
    }
    if let Some(first) = places.get(&entry.key) {
        map.disturbed = true;
        let message = format!("`{}` is given twice", shown(&entry.key));
        out.error(
            entry.at,
            message,
            format!("it stands in line {}, column {} already", first.line, first.column),
        );
        return;
    }
    places.insert(entry.key.clone(), entry.at);
    map.entries.push(entry);
}
