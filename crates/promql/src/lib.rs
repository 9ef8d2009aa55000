//! PromQL: lex, parse, print, and evaluate over a source of series.
//!
//! All that Prometheus 3 accepts, and dotted names without quotes. [`parse`] gives an [`ast::Expr`] whose nodes know
//! where they stand and which prints as Prometheus prints it; [`instant`] and [`range`] answer it from anything that
//! is a [`SeriesSource`](hmsops_model::series::SeriesSource), all steps at once.
//!
//! Refuses: knowing a store, I/O, a clock.

pub mod ast;
pub mod duration;
mod error;
mod eval;
mod functions;
mod histogram;
mod lexer;
mod note;
pub mod number;
mod parser;
mod pattern;
mod print;
mod quantile;
pub mod quote;
pub mod reading;
pub mod rules;
pub mod script;
pub mod template;

pub use error::{EvalError, ParseError, position};
pub use eval::{Answer, LOOKBACK_DEFAULT, Options, Outcome, Point, STEPS_MAX, instant, range};
pub use functions::{Function, all as functions};
pub use note::{Note, Severity};
pub use parser::{DEPTH_MAX, LENGTH_MAX, MATCHERS_MAX, NESTING_MAX, parse, parse_selector};
pub use pattern::{Pattern, PatternError};
