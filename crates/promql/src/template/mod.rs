//! Templates in the labels and annotations of rules: Go's `text/template` with Prometheus' functions, as far as rules
//! use them. What is left out is refused by name and line when a template is read: `block`, `call`, `html`, `js`, methods.
//!
//! Facts: the documentation of Go's `text/template` and `fmt`, and of Prometheus' template reference.

mod function;
mod human;
mod parser;
mod printf;
mod run;
mod scan;
mod tree;
mod value;

use std::collections::BTreeMap;

use hmsops_model::Value as SampleValue;
use hmsops_model::labels::Labels;

use crate::eval::Point;
use value::Val;

/// The longest template, in bytes: one rule is not longer.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;

/// The longest text that a template may expand to, in bytes.
pub const EXPANDED_BYTES_MAX: usize = 64 * 1024;

/// What stands before every text, so that `$value` means what people expect.
const VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                         {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Why a template cannot be read or expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TemplateError {
    /// From 1.
    pub line: usize,
    /// One line.
    pub message: String,
}

/// Answers the `query` of a template: PromQL at the moment of the evaluation.
pub type Lookup<'a> = dyn Fn(&str) -> Result<Vec<Point>, String> + 'a;

/// What a template speaks of.
pub struct Context<'a> {
    /// The labels of the series.
    pub labels: &'a Labels,
    /// Its value.
    pub value: &'a SampleValue,
    /// `.ExternalLabels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// `.ExternalURL`.
    pub external_url: &'a str,
    /// The moment of the evaluation, in Unix milliseconds.
    pub at: i64,
    /// Answers `query`.
    pub lookup: &'a Lookup<'a>,
}

/// A template that has been read.
#[derive(Debug, Clone)]
pub struct Template {
    /// `None`: plain text, as most labels are.
    tree: Option<tree::Tree>,
    text: String,
}

impl Template {
    /// Reads a text. What is not understood is named with its line.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            let message = format!("a template of {} bytes is longer than {TEMPLATE_BYTES_MAX}", text.len());
            return Err(TemplateError { line: 1, message });
        }
        let tree =
            if text.contains("{{") { Some(parser::parse(&format!("{VARIABLES}{text}"))?) } else { None };
        Ok(Self { tree, text: text.to_owned() })
    }

    /// What it says of a series.
    pub fn expand(&self, context: &Context<'_>) -> Result<String, TemplateError> {
        let Some(tree) = &self.tree else { return Ok(self.text.clone()) };
        let map = |pairs: Vec<(String, String)>| {
            Val::Map(pairs.into_iter().map(|(name, text)| (name, Val::Text(text))).collect())
        };
        let labels = context.labels.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let external = context.external_labels.iter();
        let external = external.map(|(name, text)| (name.clone(), text.clone())).collect();
        let data = Val::Record(vec![
            ("Labels", map(labels)),
            ("ExternalLabels", map(external)),
            ("ExternalURL", Val::Text(context.external_url.to_owned())),
            ("Value", value::of_sample(context.value)),
        ]);
        run::run(tree, &data, context)
    }
}

/// A label's or an annotation's text for a series. What fails is said in its place, as Prometheus does: better a
/// strange text than no alert.
pub fn expand_or_say(text: &str, context: &Context<'_>) -> String {
    match Template::parse(text).and_then(|template| template.expand(context)) {
        Ok(text) => text,
        Err(error) => format!("<error expanding template: {error}>"),
    }
}

#[cfg(test)]
mod tests;
