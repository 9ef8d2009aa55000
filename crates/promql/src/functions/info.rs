//! `info()`: labels that another series knows of the same target.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hmsops_model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::label;
use crate::ast::{At, Call, Duration, Expr, Kind, Selector, Span};
use crate::error::EvalError;
use crate::eval::{Column, Evaluated, Evaluator, Grid, Row, Sight};
use crate::pattern::Pattern;

/// What says which target a series is of.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Where the labels are taken from when the query does not say.
const DEFAULT_NAME: &str = "target_info";

/// What may be taken from when the query only says what not.
const ANY_NAME: &str = ".+_info";

type Target = [String; 2];

/// What the second argument asks for.
struct Wanted {
    /// Conditions on the info series' name.
    names: Vec<Compiled>,
    /// The labels to take; none: all.
    labels: BTreeSet<String>,
    /// Whether a series without any info series stays as it is.
    may_lack: bool,
}

struct Compiled {
    matcher: Matcher,
    pattern: Option<Pattern>,
}

impl Compiled {
    fn new(matcher: &Matcher) -> Result<Self, EvalError> {
        let is_pattern = matches!(matcher.op, MatchOp::Re | MatchOp::NotRe);
        let pattern = is_pattern.then(|| Pattern::new(&matcher.value)).transpose();
        let pattern = pattern.map_err(|error| EvalError::new(error.to_string()))?;
        Ok(Self { matcher: matcher.clone(), pattern })
    }

    fn matches(&self, value: &str) -> bool {
        let is_match = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match self.matcher.op {
            MatchOp::Eq => self.matcher.value == value,
            MatchOp::Ne => self.matcher.value != value,
            MatchOp::Re => is_match(),
            MatchOp::NotRe => !is_match(),
        }
    }
}

/// The info series of one target and name, with the times of their samples.
struct Info {
    labels: Labels,
    values: Column,
    times: Column,
}

/// Adds to each series the labels of the info series with the same `instance` and `job`, as they were at the moment
/// that the series was looked at. Series that are info series themselves stay as they are.
pub(super) fn info(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    _: Span,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let rows = evaluator.vector(&call.args[0], grid)?;
    let mut matchers = match call.args.get(1).map(|arg| &arg.kind) {
        Some(Kind::Selector(selector)) => selector.matchers.clone(),
        _ => Vec::new(),
    };
    name_them(&mut matchers);
    let wanted = Wanted::of(&matchers)?;
    let (plain, infos): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| !wanted.is_info(row.labels.name().unwrap_or_default()));
    let mut answer = infos;
    if !plain.is_empty() {
        let sight = sight_of(evaluator, &call.args[0])?.unwrap_or(Sight { at: None, offset: 0 });
        let selector = Selector {
            matchers,
            at: sight.at.map(At::Time),
            offset: (sight.offset != 0).then_some(Duration::Millis(sight.offset)),
            ..Selector::default()
        };
        let known = known(evaluator, &selector, grid)?;
        for row in plain {
            enrich(evaluator, &row, &known, &wanted, (grid, &mut answer))?;
        }
    }
    label::distinct(answer)
}

/// Completes the conditions on the name.
fn name_them(matchers: &mut Vec<Matcher>) {
    let mut names = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME).peekable();
    if names.peek().is_none() {
        matchers.push(Matcher::new(METRIC_NAME, MatchOp::Eq, DEFAULT_NAME));
    } else if names.all(|matcher| matches!(matcher.op, MatchOp::Ne | MatchOp::NotRe)) {
        matchers.push(Matcher::new(METRIC_NAME, MatchOp::Re, ANY_NAME));
    }
}

impl Wanted {
    fn of(matchers: &[Matcher]) -> Result<Self, EvalError> {
        let (mut names, mut labels, mut may_lack) = (Vec::new(), BTreeSet::new(), true);
        for matcher in matchers {
            let compiled = Compiled::new(matcher)?;
            if matcher.name == METRIC_NAME {
                names.push(compiled);
            } else {
                may_lack &= compiled.matches("");
                labels.insert(matcher.name.clone());
            }
        }
        Ok(Self { names, labels, may_lack })
    }

    fn is_info(&self, name: &str) -> bool {
        self.names.iter().all(|compiled| compiled.matches(name))
    }
}

/// How the first selector of an expression sees each step.
fn sight_of(evaluator: &Evaluator<'_>, expr: &Expr) -> Result<Option<Sight>, EvalError> {
    let first = |exprs: &[&Expr]| {
        exprs.iter().map(|expr| sight_of(evaluator, expr)).find(|sight| !matches!(sight, Ok(None)))
    };
    match &expr.kind {
        Kind::Selector(selector) => evaluator.sight(selector.at, selector.offset.as_ref()).map(Some),
        Kind::Range(range) => evaluator.sight(range.selector.at, range.selector.offset.as_ref()).map(Some),
        Kind::Subquery(subquery) => {
            let outer = evaluator.sight(subquery.at, subquery.offset.as_ref())?;
            Ok(sight_of(evaluator, &subquery.expr)?.map(|inner| match inner.at {
                Some(_) => inner,
                None => Sight { at: outer.at, offset: outer.offset.saturating_add(inner.offset) },
            }))
        }
        Kind::Paren(inner) | Kind::Unary { expr: inner, .. } => sight_of(evaluator, inner),
        Kind::Call(call) => first(&call.args.iter().collect::<Vec<_>>()).unwrap_or(Ok(None)),
        Kind::Aggregate(aggregate) => sight_of(evaluator, &aggregate.expr),
        Kind::Binary(binary) => first(&[&binary.left, &binary.right]).unwrap_or(Ok(None)),
        Kind::Number { .. } | Kind::Text(_) => Ok(None),
    }
}

fn target(labels: &Labels) -> Target {
    IDENTIFYING.map(|name| labels.get(name).unwrap_or_default().to_owned())
}

/// The info series by target and name.
fn known(
    evaluator: &mut Evaluator<'_>,
    selector: &Selector,
    grid: Grid,
) -> Result<HashMap<Target, BTreeMap<String, Vec<Info>>>, EvalError> {
    let rows = evaluator.selector(selector, Span::default(), grid)?;
    let mut times: HashMap<Labels, Column> =
        evaluator.sample_times(selector, grid)?.into_iter().map(|row| (row.labels, row.column)).collect();
    let mut known: HashMap<Target, BTreeMap<String, Vec<Info>>> = HashMap::new();
    for row in rows {
        if (0..grid.count).any(|index| row.column.histogram(index).is_some()) {
            let name = row.name();
            return Err(EvalError::new(format!(
                "info metrics must be of float type, {name:?} holds histograms"
            )));
        }
        let Some(times) = times.remove(&row.labels) else { continue };
        let name = row.name().to_owned();
        let info = Info { labels: row.labels, values: row.column, times };
        known.entry(target(&info.labels)).or_default().entry(name).or_default().push(info);
    }
    Ok(known)
}

/// One row for each set of labels that a series has over the steps.
fn enrich(
    evaluator: &Evaluator<'_>,
    row: &Row,
    known: &HashMap<Target, BTreeMap<String, Vec<Info>>>,
    wanted: &Wanted,
    (grid, answer): (Grid, &mut Vec<Row>),
) -> Result<(), EvalError> {
    let of_target = known
        .get(&target(&row.labels))
        .filter(|_| IDENTIFYING.iter().any(|name| row.labels.get(name).is_some()));
    let mut columns: BTreeMap<Labels, Column> = BTreeMap::new();
    for index in (0..grid.count).filter(|index| row.column.is_present(*index)) {
        let mut added: BTreeMap<&str, &str> = BTreeMap::new();
        let mut is_found = false;
        for infos in of_target.iter().flat_map(|by_name| by_name.values()) {
            let Some(info) = latest(infos, index)? else { continue };
            is_found = true;
            for (name, value) in info.labels.iter() {
                let is_taken = name != METRIC_NAME
                    && !IDENTIFYING.contains(&name)
                    && row.labels.get(name).is_none()
                    && (wanted.labels.is_empty() || wanted.labels.contains(name));
                if is_taken && added.insert(name, value).is_some_and(|other| other != value) {
                    return Err(EvalError::new(format!("conflicting label: {name}")));
                }
            }
        }
        if !is_found && !wanted.may_lack {
            continue;
        }
        let labels = added.iter().fold(row.labels.clone(), |labels, (name, value)| labels.with(name, value));
        if !columns.contains_key(&labels) {
            evaluator.charge_column(grid)?;
        }
        let column = columns.entry(labels).or_insert_with(|| Column::absent(grid.count));
        column.set(index, row.column.cell(index));
    }
    let is_name_dropped = row.is_name_dropped;
    answer.extend(columns.into_iter().map(|(labels, column)| Row { labels, is_name_dropped, column }));
    Ok(())
}

/// Of several info series of one name at one step, that with the latest sample.
fn latest(infos: &[Info], index: usize) -> Result<Option<&Info>, EvalError> {
    let mut found: Option<(f64, &Info)> = None;
    for info in infos.iter().filter(|info| info.values.is_present(index)) {
        let time = info.times.float(index).unwrap_or(f64::NEG_INFINITY);
        match found {
            Some((best, other)) if time.total_cmp(&best).is_eq() => {
                return Err(EvalError::new(format!(
                    "found duplicate series for info metric: {} and {} at the same moment",
                    other.labels, info.labels
                )));
            }
            Some((best, _)) if time < best => {}
            _ => found = Some((time, info)),
        }
    }
    Ok(found.map(|(_, info)| info))
}
