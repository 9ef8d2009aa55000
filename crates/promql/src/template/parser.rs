//! Pieces → a tree.

use std::collections::{BTreeMap, BTreeSet};

use super::TemplateError;
use super::function;
use super::scan::{Piece, Word, WordKind, pieces};
use super::tree::{Kind, Node, Pipe, Term, Tree};
use super::value::Val;

/// Blocks and brackets within each other.
const DEPTH_MAX: usize = 100;

pub(super) fn parse(text: &str) -> Result<Tree, TemplateError> {
    let mut parser = Parser {
        pieces: pieces(text)?,
        at: 0,
        line: 1,
        variables: vec!["$".into()],
        loops: 0,
        defined: BTreeMap::new(),
    };
    let (nodes, end) = parser.block(0)?;
    if let Some(end) = end {
        return Err(parser.error(format!("unexpected {{{{{end}}}}}")));
    }
    let mut named = BTreeSet::new();
    templates(&nodes, &mut named);
    parser.defined.values().for_each(|nodes| templates(nodes, &mut named));
    if let Some(name) = named.iter().find(|name| !parser.defined.contains_key(*name)) {
        return Err(TemplateError { line: 1, message: format!("template {name:?} not defined") });
    }
    Ok(Tree { nodes, defined: parser.defined })
}

/// The names of templates that are called.
fn templates(nodes: &[Node], named: &mut BTreeSet<String>) {
    for node in nodes {
        match &node.kind {
            Kind::Template { name, .. } => {
                named.insert(name.clone());
            }
            Kind::If { then, otherwise, .. }
            | Kind::With { then, otherwise, .. }
            | Kind::Range { then, otherwise, .. } => {
                templates(then, named);
                templates(otherwise, named);
            }
            _ => {}
        }
    }
}

struct Parser {
    pieces: Vec<(usize, Piece)>,
    at: usize,
    line: usize,
    /// That are known where the parser stands.
    variables: Vec<String>,
    loops: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

impl Parser {
    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError { line: self.line, message: message.into() }
    }

    /// Nodes up to `{{end}}` or `{{else …}}`, which is named; of an `else` the piece is not taken.
    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, Option<&'static str>), TemplateError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("blocks stand more than {DEPTH_MAX} deep in each other")));
        }
        let mut nodes = Vec::new();
        while let Some((line, piece)) = self.pieces.get(self.at).cloned() {
            self.line = line;
            let words = match piece {
                Piece::Text(text) => {
                    self.at += 1;
                    nodes.push(Node { line, kind: Kind::Text(text) });
                    continue;
                }
                Piece::Action(words) => words,
            };
            let first = match words.first().map(|word| &word.kind) {
                None => return Err(self.error("missing value for command")),
                Some(WordKind::Name(name)) => name.as_str(),
                Some(_) => "",
            };
            if first == "else" {
                return Ok((nodes, Some("else")));
            }
            self.at += 1;
            if first == "end" {
                return if words.len() == 1 {
                    Ok((nodes, Some("end")))
                } else {
                    Err(self.error("unexpected words in end"))
                };
            }
            if let Some(kind) = self.action(first, &words, depth)? {
                nodes.push(Node { line, kind });
            }
        }
        Ok((nodes, None))
    }

    fn action(&mut self, first: &str, words: &[Word], depth: usize) -> Result<Option<Kind>, TemplateError> {
        let rest = &words[1..];
        Ok(Some(match first {
            "if" | "with" | "range" => self.branch(first, rest, depth)?,
            "break" | "continue" if rest.is_empty() => {
                if self.loops == 0 {
                    return Err(self.error(format!("{{{{{first}}}}} outside {{{{range}}}}")));
                }
                if first == "break" { Kind::Break } else { Kind::Continue }
            }
            "define" => {
                let [Word { kind: WordKind::Text(name), .. }] = rest else {
                    return Err(self.error("define names no template"));
                };
                let known = std::mem::replace(&mut self.variables, vec!["$".into()]);
                let (nodes, end) = self.block(depth + 1)?;
                self.variables = known;
                if end != Some("end") {
                    return Err(self.error("unexpected end of text in define clause"));
                }
                self.defined.insert(name.clone(), nodes);
                return Ok(None);
            }
            "template" => {
                let Some(Word { kind: WordKind::Text(name), .. }) = rest.first() else {
                    return Err(self.error("template names no template"));
                };
                let pipe = if rest.len() > 1 { Some(self.pipe(&rest[1..], depth)?) } else { None };
                Kind::Template { name: name.clone(), pipe }
            }
            "block" => return Err(self.error("`block` is not known here; use define and template")),
            _ => Kind::Action(self.pipe(words, depth)?),
        }))
    }

    fn branch(&mut self, what: &str, words: &[Word], depth: usize) -> Result<Kind, TemplateError> {
        let known = self.variables.len();
        let pipe = self.pipe(words, depth)?;
        if pipe.set.len() > 1 && what != "range" {
            return Err(self.error(format!("too many declarations in {what}")));
        }
        let is_loop = usize::from(what == "range");
        self.loops += is_loop;
        let (then, end) = self.block(depth + 1)?;
        self.loops -= is_loop;
        let mut otherwise = Vec::new();
        match end {
            Some("end") => {}
            Some(_) => otherwise = self.otherwise(what, depth)?,
            None => return Err(self.error(format!("unexpected end of text in {what}"))),
        }
        self.variables.truncate(known);
        Ok(match what {
            "if" => Kind::If { pipe, then, otherwise },
            "with" => Kind::With { pipe, then, otherwise },
            _ => Kind::Range { pipe, then, otherwise },
        })
    }

    /// What follows `{{else}}` or `{{else if …}}`, to the end of the block.
    fn otherwise(&mut self, what: &str, depth: usize) -> Result<Vec<Node>, TemplateError> {
        let Some((line, Piece::Action(words))) = self.pieces.get(self.at).cloned() else {
            return Ok(Vec::new());
        };
        (self.at, self.line) = (self.at + 1, line);
        match words.get(1).map(|word| &word.kind) {
            None => {
                let (nodes, end) = self.block(depth + 1)?;
                if end == Some("end") {
                    Ok(nodes)
                } else {
                    Err(self.error(format!("expected end, found {}", end.unwrap_or("the end of the text"))))
                }
            }
            Some(WordKind::Name(name)) if name == what && what != "range" => {
                // It shares its `{{end}}` with the first.
                let kind = self.branch(what, &words[2..], depth + 1)?;
                Ok(vec![Node { line, kind }])
            }
            Some(_) => Err(self.error("unexpected words in else")),
        }
    }

    fn pipe(&mut self, words: &[Word], depth: usize) -> Result<Pipe, TemplateError> {
        let mut reader = PipeReader { words, at: 0, variables: &mut self.variables };
        let read = reader.pipe(depth);
        let is_over = reader.at == words.len();
        let pipe = read.map_err(|message| self.error(message))?;
        if is_over { Ok(pipe) } else { Err(self.error("unexpected right paren")) }
    }
}

struct PipeReader<'w, 'v> {
    words: &'w [Word],
    at: usize,
    variables: &'v mut Vec<String>,
}

impl PipeReader<'_, '_> {
    fn peek(&self, ahead: usize) -> Option<&WordKind> {
        self.words.get(self.at + ahead).map(|word| &word.kind)
    }

    /// `$x :=`, `$x =`, `$i, $x :=`.
    fn set(&mut self) -> Result<(Vec<String>, bool), String> {
        let mut set = Vec::new();
        let mut ahead = 0;
        while let Some(WordKind::Variable(name)) = self.peek(ahead) {
            set.push(name.clone());
            match self.peek(ahead + 1) {
                Some(WordKind::Sign(",")) if set.len() == 1 => ahead += 2,
                Some(WordKind::Sign(sign @ (":=" | "="))) => {
                    let is_new = *sign == ":=";
                    self.at += ahead + 2;
                    if let Some(name) = set.iter().find(|name| !is_new && !self.variables.contains(name)) {
                        return Err(format!("undefined variable {name:?}"));
                    }
                    return Ok((set, is_new));
                }
                _ => break,
            }
        }
        Ok((Vec::new(), false))
    }

    fn pipe(&mut self, depth: usize) -> Result<Pipe, String> {
        if depth > DEPTH_MAX {
            return Err(format!("brackets stand more than {DEPTH_MAX} deep in each other"));
        }
        let (set, is_new) = self.set()?;
        let mut commands = Vec::new();
        loop {
            let mut command = Vec::new();
            while let Some(kind) = self.peek(0) {
                if matches!(kind, WordKind::Sign("|" | ")")) {
                    break;
                }
                command.push(self.operand(depth)?);
            }
            let is_callable = matches!(command.first(), Some(Term::Function(_)));
            match command.first() {
                None => return Err("missing value for command".into()),
                Some(Term::Value(value)) if !commands.is_empty() => {
                    return Err(format!("non executable command in pipeline: {}", value.print()));
                }
                Some(_) if !is_callable && (command.len() > 1 || !commands.is_empty()) => {
                    return Err("can't give argument to non-function".into());
                }
                Some(_) => commands.push(command),
            }
            if self.peek(0) == Some(&WordKind::Sign("|")) {
                self.at += 1;
            } else {
                break;
            }
        }
        if is_new {
            self.variables.extend(set.iter().cloned());
        }
        Ok(Pipe { set, is_new, commands })
    }

    fn operand(&mut self, depth: usize) -> Result<Term, String> {
        let kind = self.peek(0).cloned().ok_or("missing value for command")?;
        self.at += 1;
        let term = match kind {
            WordKind::Name(name) => match name.as_str() {
                "true" => Term::Value(Val::Bool(true)),
                "false" => Term::Value(Val::Bool(false)),
                "nil" => Term::Value(Val::Nil),
                name if function::is_known(name) => Term::Function(name.to_owned()),
                name => return Err(format!("function {name:?} not defined")),
            },
            WordKind::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(format!("undefined variable {name:?}"));
                }
                Term::Variable(name)
            }
            WordKind::Field(name) => Term::Fields(Box::new(Term::Dot), vec![name]),
            WordKind::Dot => Term::Dot,
            WordKind::Text(text) => Term::Value(Val::Text(text)),
            WordKind::Char(code) => Term::Value(Val::Int(code)),
            WordKind::Number(text) => Term::Value(number(&text)?),
            WordKind::Sign("(") => {
                let pipe = self.pipe(depth + 1)?;
                if self.peek(0) != Some(&WordKind::Sign(")")) {
                    return Err("unclosed left paren".into());
                }
                self.at += 1;
                Term::Pipe(pipe)
            }
            WordKind::Sign(sign) => return Err(format!("unexpected {sign:?} in operand")),
        };
        let mut fields = Vec::new();
        while let Some(Word { kind: WordKind::Field(name), is_joined: true }) = self.words.get(self.at) {
            fields.push(name.clone());
            self.at += 1;
        }
        Ok(if fields.is_empty() {
            term
        } else if let Term::Fields(of, mut known) = term {
            known.extend(fields);
            Term::Fields(of, known)
        } else {
            Term::Fields(Box::new(term), fields)
        })
    }
}

/// A number is an integer unless it is written with a dot or an exponent.
fn number(text: &str) -> Result<Val, String> {
    let bad = || format!("bad number syntax: {text:?}");
    let body = text.trim_start_matches(['+', '-']);
    let is_hex = body.starts_with("0x") || body.starts_with("0X");
    if !is_hex && body.contains(['.', 'e', 'E']) {
        return crate::number::parse(text).map(Val::Float).ok_or_else(bad);
    }
    if is_hex {
        let value = i64::from_str_radix(&body[2..].replace('_', ""), 16).map_err(|_| bad())?;
        return Ok(Val::Int(if text.starts_with('-') { -value } else { value }));
    }
    text.replace('_', "").parse().map(Val::Int).map_err(|_| bad())
}
