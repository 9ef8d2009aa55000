//! Labels and annotations of alerts that are templates, expanded for each series of an answer.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hmsops_control::signal::alert::{ALERTS_MAX, ANNOTATIONS_BYTES_MAX, Annotations};
use hmsops_model::rule::is_template;
use hmsops_model::{Budget, Labels, RuleSpec, SeriesSource, Value};
use hmsops_promql::template::{Context, Template, TemplateError};
use hmsops_promql::{Options, Outcome, Point, instant, parse};

use super::budget;

/// Queries that the templates of one evaluation may ask; the same text is asked once.
const QUERIES_MAX: usize = 100;

/// The longest label that a template may give, in bytes; a longer one is cut.
const LABEL_BYTES_MAX: usize = 1024;

/// The templates of a rule at one moment.
pub(super) struct Texts<'s> {
    source: &'s dyn SeriesSource,
    at: i64,
    labels: Vec<(&'s str, Read)>,
    annotations: Vec<(&'s str, Read)>,
    /// For all queries together, so that many alerts cost no more than one evaluation may.
    budget: Budget,
    answers: RefCell<BTreeMap<String, Answer>>,
}

type Read = Result<Template, TemplateError>;
type Answer = Result<Vec<Point>, String>;

impl<'s> Texts<'s> {
    /// Reads the templates of a rule, which speak of a moment in Unix milliseconds.
    pub(super) fn new(source: &'s dyn SeriesSource, spec: &'s RuleSpec, at: i64) -> Self {
        Self {
            source,
            at,
            labels: templates(&spec.labels),
            annotations: templates(&spec.annotations),
            budget: budget(),
            answers: RefCell::default(),
        }
    }

    /// The series of an answer with the labels that templates give, and what the annotations say of each.
    pub(super) fn expand(
        self,
        held: Vec<(Labels, f64)>,
    ) -> (Vec<(Labels, f64)>, BTreeMap<Labels, Annotations>) {
        // So many series are an error of the rule, of which nothing else is said.
        if (self.labels.is_empty() && self.annotations.is_empty()) || held.len() > ALERTS_MAX {
            return (held, BTreeMap::new());
        }
        let mut texts = BTreeMap::new();
        let expanded = held.into_iter().map(|(series, value)| {
            let mut labels = series.clone();
            for (name, text) in self.say(&self.labels, &series, value, LABEL_BYTES_MAX) {
                labels = labels.with(&name, &text);
            }
            let annotations = self.say(&self.annotations, &series, value, ANNOTATIONS_BYTES_MAX);
            if !annotations.is_empty() {
                texts.entry(labels.clone()).or_insert(annotations);
            }
            (labels, value)
        });
        let held = expanded.collect();
        (held, texts)
    }

    /// What fails is said in its place, as Prometheus does: better a strange text than no alert.
    fn say(&self, templates: &[(&str, Read)], series: &Labels, value: f64, bytes_max: usize) -> Annotations {
        let none = BTreeMap::new();
        let value = Value::Float(value);
        let context = Context {
            labels: series,
            value: &value,
            external_labels: &none,
            external_url: "",
            at: self.at,
            lookup: &|query| self.ask(query),
        };
        let text = |read: &Read| match read.as_ref().map(|template| template.expand(&context)) {
            Ok(Ok(text)) => clip(text, bytes_max),
            Ok(Err(error)) => failed(&error, bytes_max),
            Err(error) => failed(error, bytes_max),
        };
        templates.iter().map(|(name, read)| ((*name).to_owned(), text(read))).collect()
    }

    fn ask(&self, query: &str) -> Answer {
        if let Some(known) = self.answers.borrow().get(query) {
            return known.clone();
        }
        if self.answers.borrow().len() >= QUERIES_MAX {
            return Err(format!("the rule's templates ask more than {QUERIES_MAX} queries"));
        }
        let answer = self.answer(query);
        self.answers.borrow_mut().insert(query.to_owned(), answer.clone());
        answer
    }

    fn answer(&self, query: &str) -> Answer {
        let expr = parse(query).map_err(|error| error.to_string())?;
        let answer = instant(self.source, &expr, self.at, Options::default(), &self.budget);
        match answer.map_err(|error| error.to_string())?.outcome {
            Outcome::Vector(points) => Ok(points),
            Outcome::Scalar(value) => {
                Ok(vec![Point { labels: Labels::empty(), time: self.at, value: Value::Float(value) }])
            }
            _ => Err("the query gives neither a number nor an instant vector".into()),
        }
    }
}

fn templates(texts: &BTreeMap<String, String>) -> Vec<(&str, Read)> {
    let templates = texts.iter().filter(|(_, text)| is_template(text));
    templates.map(|(name, text)| (name.as_str(), Template::parse(text))).collect()
}

fn failed(error: &TemplateError, bytes_max: usize) -> String {
    clip(format!("<error expanding template: {error}>"), bytes_max)
}

fn clip(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use hmsops_model::Samples;
    use hmsops_model::series::{Found, Selection, Series, SourceError};

    use super::*;
    use crate::evaluate::rule::{evaluate, spec};

    /// Two disks, and a quota of 80.
    struct Disks;

    impl SeriesSource for Disks {
        fn select<'a>(&'a self, selection: &Selection<'_>, _: &Budget) -> Result<Found<'a>, SourceError> {
            let series = |pairs: &[(&str, &str)], value| {
                let mut samples = Samples::default();
                samples.push(selection.to, 0, Value::Float(value));
                Series { labels: Labels::new(pairs.iter().copied()), samples }
            };
            let mut all = vec![
                series(&[("__name__", "used"), ("disk", "a")], 0.9125),
                series(&[("__name__", "used"), ("disk", "b")], 0.99),
                series(&[("__name__", "quota")], 80.0),
            ];
            all.retain(|one| {
                selection.matchers.iter().all(|m| one.labels.get(&m.name) == Some(m.value.as_str()))
            });
            Ok(Box::new(all.into_iter().map(Ok)))
        }
    }

    fn rule(annotations: &[(&str, &str)]) -> RuleSpec {
        let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, t)| ((*n).into(), (*t).into())).collect();
        RuleSpec {
            expr: "used > 0.5".into(),
            labels: own(&[("disk", "disk {{ $labels.disk }}"), ("team", "storage")]),
            annotations: own(annotations),
            ..spec()
        }
    }

    #[test]
    fn each_series_says_its_own_value_and_what_the_template_asks() {
        let of = "{{ $labels.disk }} is at {{ $value | humanizePercentage }} of {{ query \"quota\" | first | value }}";
        let found = evaluate(&Disks, &rule(&[("summary", of), ("plain", "as it stands")]), 60_000);
        let said: Vec<_> = found.texts.values().map(|texts| texts["summary"].as_str()).collect();
        assert_eq!(said, ["a is at 91.25% of 80", "b is at 99% of 80"]);
        assert!(found.texts.values().all(|texts| texts.len() == 1), "{:?}", found.texts);
        let disks: Vec<_> = found.texts.keys().map(|labels| labels.get("disk").unwrap()).collect();
        assert_eq!(disks, ["disk a", "disk b"]);
    }

    #[test]
    fn a_template_that_fails_says_so_in_its_place_and_the_alert_comes_all_the_same() {
        let broken = [("a", "{{ nope }}"), ("b", "{{ query \"sum(\" }}"), ("c", "{{ .Value }}")];
        let found = evaluate(&Disks, &rule(&broken), 60_000);
        assert!(matches!(&found.outcome, hmsops_control::event::Outcome::Holds(held) if held.len() == 2));
        let texts = found.texts.values().next().unwrap();
        assert!(texts["a"].starts_with("<error expanding template: "), "{texts:?}");
        assert!(texts["b"].starts_with("<error expanding template: "), "{texts:?}");
        assert_eq!(texts["c"], "0.9125");
    }

    #[test]
    fn what_a_template_costs_is_bounded() {
        let many = "{{ range query \"used\" }}{{ end }}".repeat(3);
        let many = (0..QUERIES_MAX).fold(many, |many, n| many + &format!("{{{{ query \"quota + {n}\" }}}}"));
        let found = evaluate(&Disks, &rule(&[("summary", &many)]), 60_000);
        let said = &found.texts.values().next().unwrap()["summary"];
        assert!(said.contains("ask more than 100 queries"), "{said}");
        let long = "{{ $labels.disk }}ü".to_owned() + &"ü".repeat(ANNOTATIONS_BYTES_MAX);
        let found = evaluate(&Disks, &rule(&[("summary", &long)]), 60_000);
        assert_eq!(found.texts.values().next().unwrap()["summary"].len(), ANNOTATIONS_BYTES_MAX - 1);
    }
}
