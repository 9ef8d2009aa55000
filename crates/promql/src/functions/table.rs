//! Every function with its arguments, in the order of their names.

use super::{Body, Function, WindowBody};
use super::{absent, date, histogram, info, label, math, over_time, plain, rate, trend};
use crate::ast::Type::{self, Matrix, Scalar, Text, Vector};

const fn math(name: &'static str, compute: fn(f64) -> f64) -> Function {
    Function { name, args: &[Vector], variadic: 0, returns: Vector, body: Body::Math(compute) }
}

type Special = fn(
    &mut crate::eval::Evaluator<'_>,
    &crate::ast::Call,
    crate::ast::Span,
    crate::eval::Grid,
) -> Result<crate::eval::Evaluated, crate::error::EvalError>;

const fn special(
    name: &'static str,
    args: &'static [Type],
    variadic: i8,
    returns: Type,
    apply: Special,
) -> Function {
    Function { name, args, variadic, returns, body: Body::Special(apply) }
}

const fn date(name: &'static str, apply: Special) -> Function {
    special(name, &[Vector], 1, Vector, apply)
}

type Compute = fn(&crate::eval::Window<'_>, &[f64], &mut crate::eval::Scope<'_>) -> crate::eval::Cell;
type OfTally = fn(&crate::eval::Window<'_>) -> Option<f64>;

const fn window(name: &'static str, compute: Compute, tally: Option<OfTally>) -> Function {
    let body = WindowBody { compute, tally, keeps_name: false };
    Function { name, args: &[Matrix], variadic: 0, returns: Vector, body: Body::Window(body) }
}

const fn keeping(name: &'static str, compute: Compute) -> Function {
    let body = WindowBody { compute, tally: None, keeps_name: true };
    Function { name, args: &[Matrix], variadic: 0, returns: Vector, body: Body::Window(body) }
}

const fn with_params(name: &'static str, args: &'static [Type], compute: Compute) -> Function {
    let body = WindowBody { compute, tally: None, keeps_name: false };
    Function { name, args, variadic: 0, returns: Vector, body: Body::Window(body) }
}

pub(super) static TABLE: &[Function] = &[
    math("abs", f64::abs),
    special("absent", &[Vector], 0, Vector, absent::absent),
    special("absent_over_time", &[Matrix], 0, Vector, absent::absent_over_time),
    math("acos", f64::acos),
    math("acosh", f64::acosh),
    math("asin", f64::asin),
    math("asinh", f64::asinh),
    math("atan", f64::atan),
    math("atanh", f64::atanh),
    window("avg_over_time", over_time::avg, Some(over_time::tally_avg)),
    math("ceil", f64::ceil),
    window("changes", trend::changes, None),
    special("clamp", &[Vector, Scalar, Scalar], 0, Vector, plain::clamp),
    special("clamp_max", &[Vector, Scalar], 0, Vector, plain::clamp_max),
    special("clamp_min", &[Vector, Scalar], 0, Vector, plain::clamp_min),
    math("cos", f64::cos),
    math("cosh", f64::cosh),
    window("count_over_time", over_time::count, Some(over_time::tally_count)),
    date("day_of_month", date::day_of_month),
    date("day_of_week", date::day_of_week),
    date("day_of_year", date::day_of_year),
    date("days_in_month", date::days_in_month),
    math("deg", f64::to_degrees),
    window("delta", rate::delta, Some(rate::tally_increase)),
    window("deriv", trend::deriv, None),
    with_params("double_exponential_smoothing", &[Matrix, Scalar, Scalar], trend::smooth),
    special("end", &[], 0, Scalar, plain::end),
    math("exp", f64::exp),
    keeping("first_over_time", over_time::first),
    math("floor", f64::floor),
    special("histogram_avg", &[Vector], 0, Vector, histogram::avg),
    special("histogram_count", &[Vector], 0, Vector, histogram::count),
    special("histogram_fraction", &[Scalar, Scalar, Vector], 0, Vector, histogram::fraction),
    special("histogram_quantile", &[Scalar, Vector], 0, Vector, histogram::quantile),
    special("histogram_quantiles", &[Vector, Text, Scalar, Scalar], 9, Vector, histogram::quantiles),
    special("histogram_stddev", &[Vector], 0, Vector, histogram::stddev),
    special("histogram_stdvar", &[Vector], 0, Vector, histogram::stdvar),
    special("histogram_sum", &[Vector], 0, Vector, histogram::sum),
    date("hour", date::hour),
    window("idelta", rate::idelta, None),
    window("increase", rate::increase, Some(rate::tally_increase)),
    special("info", &[Vector, Vector], 1, Vector, info::info),
    window("irate", rate::irate, Some(rate::tally_rate)),
    special("label_join", &[Vector, Text, Text, Text], -1, Vector, label::join),
    special("label_replace", &[Vector, Text, Text, Text, Text], 0, Vector, label::replace),
    keeping("last_over_time", over_time::last),
    math("ln", f64::ln),
    math("log10", f64::log10),
    math("log2", f64::log2),
    window("mad_over_time", over_time::mad, None),
    special("max_of", &[Scalar, Scalar], 0, Scalar, plain::max_of),
    window("max_over_time", over_time::max, Some(over_time::tally_max)),
    special("min_of", &[Scalar, Scalar], 0, Scalar, plain::min_of),
    window("min_over_time", over_time::min, Some(over_time::tally_min)),
    date("minute", date::minute),
    date("month", date::month),
    special("pi", &[], 0, Scalar, plain::pi),
    with_params("predict_linear", &[Matrix, Scalar], trend::predict),
    window("present_over_time", over_time::present, None),
    with_params("quantile_over_time", &[Scalar, Matrix], over_time::quantile),
    math("rad", f64::to_radians),
    special("range", &[], 0, Scalar, plain::range),
    window("rate", rate::rate, Some(rate::tally_rate)),
    window("resets", trend::resets, None),
    special("round", &[Vector, Scalar], 1, Vector, plain::round),
    special("scalar", &[Vector], 0, Scalar, plain::scalar),
    math("sgn", math::sgn),
    math("sin", f64::sin),
    math("sinh", f64::sinh),
    special("sort", &[Vector], 0, Vector, plain::sort),
    special("sort_by_label", &[Vector, Text], -1, Vector, label::sort),
    special("sort_by_label_desc", &[Vector, Text], -1, Vector, label::sort_desc),
    special("sort_desc", &[Vector], 0, Vector, plain::sort_desc),
    math("sqrt", f64::sqrt),
    special("start", &[], 0, Scalar, plain::start),
    special("start_timestamp", &[Vector], 0, Vector, plain::start_timestamp),
    window("stddev_over_time", over_time::stddev, None),
    window("stdvar_over_time", over_time::stdvar, None),
    special("step", &[], 0, Scalar, plain::step),
    window("sum_over_time", over_time::sum, Some(over_time::tally_sum)),
    math("tan", f64::tan),
    math("tanh", f64::tanh),
    special("time", &[], 0, Scalar, plain::time),
    special("timestamp", &[Vector], 0, Vector, plain::timestamp),
    window("ts_of_first_over_time", over_time::ts_of_first, None),
    window("ts_of_last_over_time", over_time::ts_of_last, None),
    window("ts_of_max_over_time", over_time::ts_of_max, None),
    window("ts_of_min_over_time", over_time::ts_of_min, None),
    special("vector", &[Scalar], 0, Vector, plain::vector),
    date("year", date::year),
];
