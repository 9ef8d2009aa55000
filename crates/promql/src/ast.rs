//! What a query is made of. Every node knows where in the text it stands.

use hmsops_model::labels::{MatchOp, Matcher};

use crate::functions::Function;

/// Where something stands in the query: bytes, the end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl Span {
    /// From the start of `self` to the end of `other`.
    #[must_use]
    pub const fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// One node. Equality does not look at spans.
#[derive(Debug, Clone)]
pub struct Expr {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// The kinds of nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A number, perhaps written as a duration, and then in seconds.
    Number {
        /// Its value.
        value: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    /// A quoted text.
    Text(String),
    /// `name{label="value"}`
    Selector(Selector),
    /// `selector[5m]`
    Range(RangeSelector),
    /// `expression[1h:5m]`
    Subquery(Box<Subquery>),
    /// `rate(x[5m])`
    Call(Call),
    /// `sum by (job) (x)`
    Aggregate(Box<Aggregate>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `-a`, `+a`
    Unary {
        /// Whether the sign is a minus.
        is_minus: bool,
        /// Of what.
        expr: Box<Expr>,
    },
    /// `(a)`
    Paren(Box<Expr>),
}

/// What an expression evaluates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// A number at each step.
    Scalar,
    /// A quoted text.
    Text,
    /// Series with at most one value at each step.
    Vector,
    /// Series with a window of samples at each step.
    Matrix,
}

impl Type {
    /// As documentation and error messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

impl Expr {
    /// What it evaluates to.
    pub fn value_type(&self) -> Type {
        match &self.kind {
            Kind::Number { .. } => Type::Scalar,
            Kind::Text(_) => Type::Text,
            Kind::Selector(_) | Kind::Aggregate(_) => Type::Vector,
            Kind::Range(_) | Kind::Subquery(_) => Type::Matrix,
            Kind::Call(call) => call.function.returns,
            Kind::Unary { expr, .. } | Kind::Paren(expr) => expr.value_type(),
            Kind::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
        }
    }

    /// All selectors in it, in the order they are written.
    pub fn selectors(&self) -> Vec<&Selector> {
        match &self.kind {
            Kind::Number { .. } | Kind::Text(_) => Vec::new(),
            Kind::Selector(selector) => vec![selector],
            Kind::Range(range) => vec![&range.selector],
            Kind::Subquery(subquery) => subquery.expr.selectors(),
            Kind::Call(call) => call.args.iter().flat_map(Self::selectors).collect(),
            Kind::Aggregate(aggregate) => {
                let param = aggregate.param.iter();
                param.chain([&aggregate.expr]).flat_map(Self::selectors).collect()
            }
            Kind::Binary(binary) => {
                [&binary.left, &binary.right].into_iter().flat_map(Self::selectors).collect()
            }
            Kind::Unary { expr, .. } | Kind::Paren(expr) => expr.selectors(),
        }
    }

    /// Without the parentheses around it.
    pub fn bare(&self) -> &Self {
        match &self.kind {
            Kind::Paren(expr) => expr.bare(),
            _ => self,
        }
    }
}

/// Picks series by name and labels, at each step the latest sample within the look-back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selector {
    /// The name before the braces.
    pub name: Option<String>,
    /// What the braces hold.
    pub matchers: Vec<Matcher>,
    /// `@`
    pub at: Option<At>,
    /// `offset`
    pub offset: Option<Duration>,
    /// `anchored` or `smoothed`
    pub extension: Option<Extension>,
}

impl Selector {
    /// All conditions, the name before the braces included.
    pub fn conditions(&self) -> Vec<Matcher> {
        let name = self.name.as_ref().map(|name| Matcher::new("__name__", MatchOp::Eq, name.clone()));
        self.matchers.iter().cloned().chain(name).collect()
    }
}

/// How a range is extended to its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extension {
    /// Edges take the sample before them.
    Anchored,
    /// Edges are interpolated.
    Smoothed,
}

/// At which moment instead of the evaluation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// In Unix milliseconds.
    Time(i64),
    /// The query's first step.
    Start,
    /// The query's last step.
    End,
}

/// A selector over a window before each step, left end exclusive.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSelector {
    /// What; carries `@`, `offset` and the extension.
    pub selector: Selector,
    /// Where the selector alone stands.
    pub selector_span: Span,
    /// How long the window is.
    pub range: Duration,
}

/// An expression evaluated over a window before each step.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How long the window is.
    pub range: Duration,
    /// How far apart; the default of the engine when missing.
    pub step: Option<Duration>,
    /// `@`
    pub at: Option<At>,
    /// `offset`
    pub offset: Option<Duration>,
}

/// A length of time.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// In milliseconds; negative only in an `offset`.
    Millis(i64),
    /// Known when the query's step and range are.
    Computed(Box<DurationExpr>),
}

/// Arithmetic over durations, in seconds.
#[derive(Debug, Clone)]
pub struct DurationExpr {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: DurationKind,
    /// Whether parentheses stand around it.
    pub is_wrapped: bool,
}

impl PartialEq for DurationExpr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.is_wrapped == other.is_wrapped
    }
}

/// The kinds of duration arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// A number, in seconds.
    Number {
        /// Its value.
        value: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// A sign before an expression that is not a plain number.
    Sign {
        /// Whether it is a minus.
        is_minus: bool,
        /// Of what.
        expr: Box<DurationExpr>,
    },
    /// `+ - * / % ^`, and `min_of`, `max_of`.
    Binary {
        /// Which.
        op: DurationOp,
        /// Left.
        left: Box<DurationExpr>,
        /// Right.
        right: Box<DurationExpr>,
    },
}

/// Operators over durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `min_of`
    Min,
    /// `max_of`
    Max,
}

/// A function applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Which.
    pub function: &'static Function,
    /// To what.
    pub args: Vec<Expr>,
}

/// The aggregations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in queries")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// All, with their spelling.
    pub const ALL: [(&'static str, Self); 14] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("min", Self::Min),
        ("max", Self::Max),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("count_values", Self::CountValues),
        ("quantile", Self::Quantile),
        ("limitk", Self::Limitk),
        ("limit_ratio", Self::LimitRatio),
    ];

    /// As queries spell it.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// By its spelling in any case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, op)| *op)
    }

    /// What its parameter must be, if it takes one.
    pub const fn param(self) -> Option<Type> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => {
                Some(Type::Scalar)
            }
            Self::CountValues => Some(Type::Text),
            _ => None,
        }
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// Its parameter, where it takes one.
    pub param: Option<Expr>,
    /// Over what.
    pub expr: Expr,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether all labels but these are kept.
    pub is_without: bool,
}

/// The binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in queries")]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    TrimUpper,
    TrimLower,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Atan2,
    Pow,
}

impl BinaryOp {
    /// All, with spelling and precedence.
    pub const ALL: [(&'static str, Self, u8); 18] = [
        ("or", Self::Or, 1),
        ("and", Self::And, 2),
        ("unless", Self::Unless, 2),
        ("==", Self::Eq, 3),
        ("!=", Self::Ne, 3),
        ("<", Self::Lt, 3),
        ("<=", Self::Le, 3),
        (">", Self::Gt, 3),
        (">=", Self::Ge, 3),
        ("</", Self::TrimUpper, 3),
        (">/", Self::TrimLower, 3),
        ("+", Self::Add, 4),
        ("-", Self::Sub, 4),
        ("*", Self::Mul, 5),
        ("/", Self::Div, 5),
        ("%", Self::Mod, 5),
        ("atan2", Self::Atan2, 5),
        ("^", Self::Pow, 6),
    ];

    /// As queries spell it.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, op, _)| *op == self).map_or("", |(name, _, _)| name)
    }

    /// `== != < <= > >=`
    pub const fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// `and or unless`
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// Two expressions joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// By what.
    pub op: BinaryOp,
    /// Left.
    pub left: Expr,
    /// Right.
    pub right: Expr,
    /// Whether a comparison answers 0 or 1 instead of filtering.
    pub is_bool: bool,
    /// How series of both sides find each other.
    pub matching: Matching,
}

/// How series of both sides find each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// `on` these labels, or `ignoring` them.
    pub is_on: bool,
    /// Which.
    pub labels: Vec<String>,
    /// `group_left` or `group_right`, with labels to take from the one side.
    pub group: Option<(Side, Vec<String>)>,
    /// The value of series that are missing on the left.
    pub fill_left: Option<f64>,
    /// The value of series that are missing on the right.
    pub fill_right: Option<f64>,
}

/// Which side has many series to one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// `group_left`
    Left,
    /// `group_right`
    Right,
}
