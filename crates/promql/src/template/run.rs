//! Expanding a tree.

use super::tree::{Kind, Node, Pipe, Term, Tree};
use super::value::Val;
use super::{Context, EXPANDED_BYTES_MAX, TemplateError, function};

/// Steps of one expansion: a loop over a large answer ends here.
const STEPS_MAX: usize = 100_000;

/// Templates that call each other.
const CALLS_MAX: usize = 50;

pub(super) fn run(tree: &Tree, data: &Val, context: &Context<'_>) -> Result<String, TemplateError> {
    let mut run = Run {
        tree,
        context,
        out: String::new(),
        variables: vec![("$".into(), data.clone())],
        line: 1,
        steps: 0,
        calls: 0,
    };
    match run.nodes(&tree.nodes, data) {
        Ok(_) => Ok(run.out),
        Err(message) => Err(TemplateError { line: run.line, message }),
    }
}

/// How a block ended.
#[derive(PartialEq, Eq)]
enum End {
    Normal,
    Break,
    Continue,
}

struct Run<'a> {
    tree: &'a Tree,
    context: &'a Context<'a>,
    out: String,
    variables: Vec<(String, Val)>,
    line: usize,
    steps: usize,
    calls: usize,
}

impl<'a> Run<'a> {
    fn nodes(&mut self, nodes: &'a [Node], dot: &Val) -> Result<End, String> {
        for node in nodes {
            self.line = node.line;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(format!("takes more than {STEPS_MAX} steps"));
            }
            let end = self.node(&node.kind, dot)?;
            if end != End::Normal {
                return Ok(end);
            }
        }
        Ok(End::Normal)
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        if self.out.len() + text.len() > EXPANDED_BYTES_MAX {
            return Err(format!("expands to more than {EXPANDED_BYTES_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn node(&mut self, kind: &'a Kind, dot: &Val) -> Result<End, String> {
        match kind {
            Kind::Text(text) => self.write(text)?,
            Kind::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.set.is_empty() {
                    self.write(&value.print())?;
                }
            }
            Kind::If { pipe, then, otherwise } | Kind::With { pipe, then, otherwise } => {
                let known = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let is_with = matches!(kind, Kind::With { .. });
                let end = if value.truth() {
                    self.nodes(then, if is_with { &value } else { dot })
                } else {
                    self.nodes(otherwise, dot)
                };
                self.variables.truncate(known);
                return end;
            }
            Kind::Range { pipe, then, otherwise } => return self.range(pipe, then, otherwise, dot),
            Kind::Template { name, pipe } => self.template(name, pipe.as_ref(), dot)?,
            Kind::Break => return Ok(End::Break),
            Kind::Continue => return Ok(End::Continue),
        }
        Ok(End::Normal)
    }

    fn template(&mut self, name: &str, pipe: Option<&'a Pipe>, dot: &Val) -> Result<(), String> {
        let value = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Val::Nil,
        };
        let nodes = self.tree.defined.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(format!("templates call each other more than {CALLS_MAX} deep"));
        }
        let known = std::mem::replace(&mut self.variables, vec![("$".into(), value.clone())]);
        let end = self.nodes(nodes, &value);
        self.variables = known;
        self.calls -= 1;
        end.map(drop)
    }

    fn range(
        &mut self,
        pipe: &'a Pipe,
        then: &'a [Node],
        otherwise: &'a [Node],
        dot: &Val,
    ) -> Result<End, String> {
        let known = self.variables.len();
        let items: Vec<(Val, Val)> = match self.commands(pipe, dot)? {
            Val::List(list) => {
                list.into_iter().enumerate().map(|(at, item)| (Val::Int(at as i64), item)).collect()
            }
            Val::Map(map) => map.into_iter().map(|(name, item)| (Val::Text(name), item)).collect(),
            Val::Nil => Vec::new(),
            other => return Err(format!("range can't iterate over {}", other.print())),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            match pipe.set.as_slice() {
                [] => {}
                [one] => self.bind(one, pipe.is_new, item.clone()),
                [first, second, ..] => {
                    self.bind(first, pipe.is_new, key);
                    self.bind(second, pipe.is_new, item.clone());
                }
            }
            let end = self.nodes(then, &item);
            self.variables.truncate(known);
            if end? == End::Break {
                break;
            }
        }
        Ok(End::Normal)
    }

    fn bind(&mut self, name: &str, is_new: bool, value: Val) {
        match self.variables.iter_mut().rev().find(|(known, _)| !is_new && known == name) {
            Some((_, known)) => *known = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &'a Pipe, dot: &Val) -> Result<Val, String> {
        let value = self.commands(pipe, dot)?;
        if let [name, ..] = pipe.set.as_slice() {
            self.bind(name, pipe.is_new, value.clone());
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'a Pipe, dot: &Val) -> Result<Val, String> {
        let mut before: Option<Val> = None;
        for command in &pipe.commands {
            before = Some(self.command(command, before, dot)?);
        }
        Ok(before.unwrap_or(Val::Nil))
    }

    fn command(&mut self, command: &'a [Term], before: Option<Val>, dot: &Val) -> Result<Val, String> {
        let Some((Term::Function(name), rest)) = command.split_first() else {
            return command.first().map_or(Ok(Val::Nil), |term| self.term(term, dot));
        };
        if matches!(name.as_str(), "and" | "or") {
            return self.choose(name == "and", rest, before, dot);
        }
        let mut args = rest.iter().map(|term| self.term(term, dot)).collect::<Result<Vec<_>, _>>()?;
        args.extend(before);
        function::call(name, args, self.context).map_err(|why| format!("error calling {name}: {why}"))
    }

    /// `and` and `or` look no further than they need.
    fn choose(
        &mut self,
        is_and: bool,
        terms: &'a [Term],
        before: Option<Val>,
        dot: &Val,
    ) -> Result<Val, String> {
        let mut value = None;
        for term in terms {
            let next = self.term(term, dot)?;
            if next.truth() != is_and {
                return Ok(next);
            }
            value = Some(next);
        }
        before.or(value).ok_or_else(|| "wrong number of args: want at least 1 got 0".into())
    }

    fn term(&mut self, term: &'a Term, dot: &Val) -> Result<Val, String> {
        match term {
            Term::Value(value) => Ok(value.clone()),
            Term::Dot => Ok(dot.clone()),
            Term::Function(name) => function::call(name, Vec::new(), self.context)
                .map_err(|why| format!("error calling {name}: {why}")),
            Term::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable: {name}"))
            }
            Term::Pipe(pipe) => self.pipe(pipe, dot),
            Term::Fields(of, fields) => {
                let mut value = self.term(of, dot)?;
                for field in fields {
                    value = get(value, field)?;
                }
                Ok(value)
            }
        }
    }
}

fn get(value: Val, field: &str) -> Result<Val, String> {
    match value {
        // Labels that a series does not have are empty.
        Val::Map(mut map) => Ok(map.remove(field).unwrap_or_else(|| Val::Text(String::new()))),
        Val::Record(fields) => {
            let found = fields.into_iter().find(|(name, _)| *name == field);
            found.map(|(_, value)| value).ok_or_else(|| format!("can't evaluate field {field}"))
        }
        Val::Nil => Err(format!("nil data; no entry for key {field:?}")),
        other => Err(format!("can't evaluate field {field} in type {}", other.kind())),
    }
}
