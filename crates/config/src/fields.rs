//! A map with known keys. Says once what is unknown (naming the nearest known key), missing or empty; a
//! misspelt key stands for the one it was meant to be, so that one mistake gives one error.

use crate::diagnostic::{Findings, Span, shown};
use crate::nearest::nearest;
use crate::yaml::{Entry, Node, Value};

/// A key that a map may have.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// A second spelling.
    pub(crate) alias: Option<&'static str>,
    /// A line as it should be.
    pub(crate) example: &'static str,
    /// Why it cannot be left out; `None`: it can.
    pub(crate) needed: Option<&'static str>,
    /// Others know it and it is not built here yet: an error, so that no file is half in force.
    pub(crate) later: bool,
}

impl Key {
    pub(crate) const fn needed(name: &'static str, example: &'static str, why: &'static str) -> Self {
        Self { name, alias: None, example, needed: Some(why), later: false }
    }

    pub(crate) const fn optional(name: &'static str, example: &'static str) -> Self {
        Self { name, alias: None, example, needed: None, later: false }
    }

    /// A key that others know and that is not built here yet; its name is its example.
    pub(crate) const fn later(name: &'static str) -> Self {
        Self { name, alias: None, example: name, needed: None, later: true }
    }

    pub(crate) const fn also(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }
}

/// The keys of one kind of map.
#[derive(Debug)]
pub(crate) struct Shape {
    /// With its article, for messages: `a release`.
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [Key],
}

impl Shape {
    /// Every spelling.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().flat_map(|key| [Some(key.name), key.alias]).flatten()
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name || key.alias == Some(name))
    }

    fn list(&self) -> String {
        let built = self.keys.iter().filter(|key| !key.later);
        let names: Vec<String> = built.map(|key| format!("`{}`", key.name)).collect();
        names.join(", ")
    }
}

const LATER: &str = "take it out: the file is used as a whole or not at all";

/// The values of a map by their key.
pub(crate) struct Fields<'n> {
    values: Vec<(&'static Key, &'n Entry)>,
    /// Keys were refused: what else seems wrong may come from that.
    pub(crate) disturbed: bool,
}

impl<'n> Fields<'n> {
    /// Reads a map. `at` is where missing keys are reported: the key that the map belongs to.
    pub(crate) fn open(node: &'n Node, at: Span, shape: &'static Shape, out: &mut Findings) -> Option<Self> {
        let map = match &node.value {
            Value::Map(map) => map,
            Value::Refused => return None,
            _ if node.is_null() => {
                out.error(
                    node.at,
                    format!("{} is empty", shape.what),
                    format!("known here: {}", shape.list()),
                );
                return None;
            }
            _ => {
                let hint = format!("write its keys below it, indented: {}", shape.list());
                out.error(node.at, format!("{} is a map, not {}", shape.what, node.form()), hint);
                return None;
            }
        };
        let mut fields = Self { values: Vec::new(), disturbed: map.disturbed };
        let mut strangers = Vec::new();
        for entry in map.entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
            match shape.key(&entry.key) {
                Some(key) if key.later => {
                    fields.disturbed = true;
                    out.error(entry.at, format!("`{}` is not built yet", key.name), LATER);
                }
                Some(key) => fields.known(key, entry, out),
                None => strangers.push(entry),
            }
        }
        strangers.retain(|entry| !fields.misspelt(entry, shape, out));
        // Below a key without a value stands what was meant to belong to it: said once, at that key.
        let count = strangers.len();
        strangers.retain(|entry| !fields.below_empty(entry));
        fields.disturbed |= strangers.len() < count;
        let missing = fields.missing(shape);
        for stranger in &strangers {
            let mut hint = format!("known here: {}", shape.list());
            if let Some(key) = missing.first() {
                hint = format!("{hint}; `{}` is missing", key.name);
            }
            out.strange_key(&stranger.key, stranger.at, unknown(stranger, shape), hint);
        }
        if strangers.is_empty() && !fields.disturbed {
            for key in missing {
                let why = key.needed.unwrap_or_default();
                let message = format!("`{}` is missing: {why}", key.name);
                out.missing_key(key.name, at, message, format!("add `{}`", key.example));
            }
        }
        fields.disturbed |= !strangers.is_empty();
        fields.values.retain(|(key, entry)| filled(key, entry, out));
        Some(fields)
    }

    /// The entry of a key, if there is one with a value.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Entry> {
        self.values.iter().find(|(key, _)| key.name == name).map(|(_, entry)| *entry)
    }

    /// The name that an entry of [`Fields::get`] stands for: it may be written with another spelling.
    pub(crate) fn name_of(&self, entry: &Entry) -> &'static str {
        self.values.iter().find(|(_, known)| std::ptr::eq(*known, entry)).map_or("", |(key, _)| key.name)
    }

    fn known(&mut self, key: &'static Key, entry: &'n Entry, out: &mut Findings) {
        if let Some((_, first)) = self.values.iter().find(|(known, _)| known.name == key.name) {
            let message = format!("`{}` and `{}` are the same key", first.key, entry.key);
            out.error(entry.at, message, format!("keep one; the first stands in line {}", first.at.line));
            return;
        }
        self.values.push((key, entry));
    }

    /// Takes a misspelt key for the one it was meant to be, and says so.
    fn misspelt(&mut self, entry: &'n Entry, shape: &'static Shape, out: &mut Findings) -> bool {
        let Some(name) = nearest(&entry.key, shape.names()) else { return false };
        let Some(key) = shape.key(name) else { return false };
        let given = self.values.iter().any(|(known, _)| known.name == key.name);
        let hint = if given {
            format!("the nearest is `{name}`, which is given already")
        } else {
            format!("did you mean `{name}`?")
        };
        out.error(entry.at, unknown(entry, shape), hint);
        if !given && !key.later {
            self.values.push((key, entry));
        }
        true
    }

    fn below_empty(&self, stranger: &Entry) -> bool {
        self.values.iter().any(|(_, entry)| entry.value.is_null() && entry.at.line < stranger.at.line)
    }

    fn missing(&self, shape: &'static Shape) -> Vec<&'static Key> {
        let given = |key: &Key| self.values.iter().any(|(known, _)| known.name == key.name);
        shape.keys.iter().filter(|key| key.needed.is_some() && !given(key)).collect()
    }
}

fn unknown(entry: &Entry, shape: &Shape) -> String {
    format!("unknown key `{}` in {}", shown(&entry.key), shape.what)
}

fn filled(key: &Key, entry: &Entry, out: &mut Findings) -> bool {
    let empty = entry.value.is_null();
    if empty {
        let message = format!("`{}` has no value", shown(&entry.key));
        out.error(entry.at, message, format!("write `{}`, or indent what belongs to it", key.example));
    }
    !empty
}
