//! A template that has been read.

use super::value::Val;

/// A whole text, and what it defines.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) defined: std::collections::BTreeMap<String, Vec<Node>>,
}

/// A part.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The line on which it stands, from 1.
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a part is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text(String),
    /// Printed, unless it sets a variable.
    Action(Pipe),
    If {
        pipe: Pipe,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        pipe: Pipe,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        pipe: Pipe,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Template {
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// Commands, each of which gets the answer of the one before as its last argument.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    /// Variables that it sets, with their `$`.
    pub(super) set: Vec<String>,
    /// Whether they are new (`:=`).
    pub(super) is_new: bool,
    pub(super) commands: Vec<Vec<Term>>,
}

/// An operand.
#[derive(Debug, Clone)]
pub(super) enum Term {
    Value(Val),
    Dot,
    Function(String),
    Variable(String),
    Pipe(Pipe),
    /// Fields of another.
    Fields(Box<Term>, Vec<String>),
}
