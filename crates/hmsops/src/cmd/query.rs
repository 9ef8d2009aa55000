//! `hmsops query`: what the metrics say.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use hmsops_model::Millis;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, encoded};
use crate::failure::{Exit, Failure};
use crate::moment::{self, Moment};
use crate::table::Table;
use crate::{caret, print, spark};

/// How many values a range has that says no step: as many as its line has marks.
const CELLS: usize = 48;

/// Ask the metrics in PromQL; dots in names are welcome
#[derive(clap::Args)]
#[command(
    after_help = "With --from, values over time: a line for each series on a terminal, a row for each value \
                        otherwise.\n\n\
                        Example:\n  hmsops query 'sum(rate(photo.upload.ok[5m]))'\n  \
                        hmsops query photo.upload.ok --at 2026-11-22T14:00:00Z\n  \
                        hmsops query 'rate(photo.upload.ok[1m])' --from -1h --step 30s --json"
)]
pub(super) struct Args {
    /// PromQL
    #[arg(value_name = "PROMQL")]
    query: String,
    /// When: 2026-11-22T14:00:00Z, or relative to now: -1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with = "from")]
    at: Option<Moment>,
    /// Over time, from then on
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<Moment>,
    /// Until then [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "from")]
    to: Option<Moment>,
    /// Between two values [default: a 48th of the time, at least 1s]
    #[arg(long, value_name = "SPAN", value_parser = moment::some_span, requires = "from")]
    step: Option<Millis>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// What the query API answers.
#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Matrix(Vec<Series>),
    Scalar(Sample<String>),
    String(Sample<String>),
}

/// Seconds since 1970, and what was there.
type Sample<T> = (f64, T);

#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<Sample<String>>,
    histogram: Option<Sample<Histogram>>,
    #[serde(default)]
    values: Vec<Sample<String>>,
    #[serde(default)]
    histograms: Vec<Sample<Histogram>>,
}

/// What is said of a histogram in one cell.
#[derive(Debug, Deserialize)]
struct Histogram {
    count: String,
    sum: String,
}

/// From, to and step in milliseconds.
type Range = (i64, i64, i64);

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    let range = range(args, Timestamp::now())?;
    let path = address(args, range, Timestamp::now());
    let value: Value = client.get(&path).await.map_err(|failure| caret::show(failure, &args.query))?;
    let answer: Answer = serde_json::from_value(value.clone()).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot read the answer to the query: {error}"))
            .hint("is the tower as new as this program?")
    })?;
    for warning in &answer.warnings {
        print::talk(&format!("warning: {}", print::plain(warning)));
    }
    for info in &answer.infos {
        print::talk(&format!("note: {}", print::plain(info)));
    }
    if args.json {
        return print::json(&value);
    }
    if answer.data.is_empty() {
        print::talk("no series: nothing has data there");
        return Ok(());
    }
    print::data(&text(&answer.data, range, std::io::stdout().is_terminal()))
}

/// The range that is asked for, if one is.
fn range(args: &Args, now: Timestamp) -> Result<Option<Range>, Failure> {
    let Some(from) = args.from.map(|from| from.unix_ms(now)) else { return Ok(None) };
    let to = args.to.map_or_else(|| now.as_millisecond(), |to| to.unix_ms(now));
    if to < from {
        return Err(Failure::usage("`--to` is before `--from`"));
    }
    let step = args.step.map_or_else(
        || ((to - from) / CELLS as i64).max(1000) / 1000 * 1000,
        |step| i64::try_from(step.0).unwrap_or(i64::MAX),
    );
    Ok(Some((from, to, step)))
}

fn address(args: &Args, range: Option<Range>, now: Timestamp) -> String {
    let query = encoded(&args.query);
    let seconds = moment::unix_seconds;
    match (range, args.at) {
        (Some((from, to, step)), _) => format!(
            "/api/v1/query_range?query={query}&start={}&end={}&step={}",
            seconds(from),
            seconds(to),
            seconds(step)
        ),
        (None, Some(at)) => format!("/api/v1/query?query={query}&time={}", seconds(at.unix_ms(now))),
        (None, None) => format!("/api/v1/query?query={query}"),
    }
}

impl Data {
    fn is_empty(&self) -> bool {
        match self {
            Self::Vector(series) | Self::Matrix(series) => series.is_empty(),
            Self::Scalar(_) | Self::String(_) => false,
        }
    }
}

fn text(data: &Data, range: Option<Range>, is_terminal: bool) -> String {
    match data {
        Data::Scalar((_, value)) | Data::String((_, value)) => print::plain(value) + "\n",
        Data::Vector(series) => {
            let mut table = Table::new(["SERIES", "VALUE"]);
            for one in series {
                table.row([one.name(), one.now()]);
            }
            table.text()
        }
        Data::Matrix(series) => match range.filter(|_| is_terminal) {
            Some(range) => courses(series, range),
            None => rows(series),
        },
    }
}

/// A row for each value: for pipes.
fn rows(series: &[Series]) -> String {
    let mut table = Table::new(["SERIES", "AT", "VALUE"]);
    for one in series {
        let floats = one.values.iter().map(|(at, value)| (*at, value.clone()));
        let histograms = one.histograms.iter().map(|(at, value)| (*at, value.text()));
        let mut all: Vec<(f64, String)> = floats.chain(histograms).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (at, value) in all {
            table.row([one.name(), moment::date(at), value]);
        }
    }
    table.text()
}

/// A line for each series: for people.
fn courses(series: &[Series], (from, to, step): Range) -> String {
    let steps = usize::try_from((to - from) / step.max(1)).unwrap_or(CELLS) + 1;
    let (begin, end) = (from as f64 / 1000.0, (to + step) as f64 / 1000.0);
    let mut table = Table::new(["SERIES", "COURSE", "MIN", "MAX", "LAST"]);
    for one in series {
        let points: Vec<(f64, f64)> =
            one.values.iter().filter_map(|(at, value)| Some((*at, number(value)?))).collect();
        let finite = || points.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
        let least = finite().fold(f64::INFINITY, f64::min);
        let most = finite().fold(f64::NEG_INFINITY, f64::max);
        let shown = |value: f64| if value.is_finite() { short(value) } else { "–".to_owned() };
        let last = one.histograms.last().map(|(_, last)| last.text());
        let last = points.last().map(|(_, value)| short(*value)).or(last);
        table.row([
            one.name(),
            spark::line(&points, begin, end, steps.min(CELLS)),
            shown(least),
            shown(most),
            last.unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    let (from, to) = (moment::date(begin), moment::date(to as f64 / 1000.0));
    format!("{from} to {to}, every {}\n{}", Millis(step.unsigned_abs()), table.text())
}

/// As Prometheus writes numbers.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

/// Four digits that matter: a course has no room for more.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 12);
    let text = format!("{value:.*}", decimals.unsigned_abs() as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Series {
    /// `up{job="x"}`, `{job="x"}`; a name with dots stands in braces as PromQL writes it.
    fn name(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let bare = |name: &str| {
            let mut bytes = name.bytes();
            bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b"_:.".contains(&b))
                && bytes.all(|b| b.is_ascii_alphanumeric() || b"_:.".contains(&b))
        };
        let named = |name: &str| if bare(name) { name.to_owned() } else { quoted(name) };
        let metric = self.metric.get("__name__").map(|name| named(name)).unwrap_or_default();
        let labels: Vec<String> = self
            .metric
            .iter()
            .filter(|(name, _)| name.as_str() != "__name__")
            .map(|(name, value)| format!("{}={}", named(name), quoted(value)))
            .collect();
        if labels.is_empty() && !metric.is_empty() {
            return metric;
        }
        format!("{metric}{{{}}}", labels.join(", "))
    }

    fn now(&self) -> String {
        match (&self.value, &self.histogram) {
            (Some((_, value)), _) => value.clone(),
            (None, Some((_, histogram))) => histogram.text(),
            (None, None) => "–".to_owned(),
        }
    }
}

impl Histogram {
    fn text(&self) -> String {
        format!("count {}, sum {}", self.count, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Data {
        let answer: Answer = serde_json::from_str(text).unwrap();
        answer.data
    }

    #[test]
    fn a_vector_is_a_table() {
        let found = data(
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"__name__":"photo.upload.ok","service":"dmv-photo"},"value":[1795356000,"0.42"]},
                {"metric":{"a b":"c\"d"},"value":[1795356000,"NaN"]},
                {"metric":{},"histogram":[1795356000,{"count":"3","sum":"1.5","buckets":[[0,"0","1","3"]]}]}]}}"#,
        );
        let expected = "SERIES                                VALUE\n\
                        photo.upload.ok{service=\"dmv-photo\"}  0.42\n\
                        {\"a b\"=\"c\\\"d\"}                        NaN\n\
                        {}                                    count 3, sum 1.5\n";
        assert_eq!(text(&found, None, true), expected);
    }

    #[test]
    fn numbers_and_texts_stand_alone() {
        let scalar = data(r#"{"data":{"resultType":"scalar","result":[1.5,"+Inf"]}}"#);
        assert_eq!(text(&scalar, None, false), "+Inf\n");
        let said = data(r#"{"data":{"resultType":"string","result":[1.5,"a\u001bb"]}}"#);
        assert_eq!(text(&said, None, false), "a\u{fffd}b\n");
        assert!(data(r#"{"data":{"resultType":"vector","result":[]}}"#).is_empty());
    }

    #[test]
    fn a_range_is_rows_in_a_pipe_and_a_course_on_a_terminal() {
        let found = data(
            r#"{"data":{"resultType":"matrix","result":[{"metric":{"__name__":"up"},
                "values":[[1795356000,"1"],[1795356001,"0.123456"],[1795356003,"+Inf"]]}]}}"#,
        );
        let range = Some((1_795_356_000_000, 1_795_356_003_000, 1000));
        let rows = "SERIES  AT                   VALUE\n\
                    up      2026-11-22 14:00:00  1\n\
                    up      2026-11-22 14:00:01  0.123456\n\
                    up      2026-11-22 14:00:03  +Inf\n";
        assert_eq!(text(&found, range, false), rows);
        let course = "2026-11-22 14:00:00 to 2026-11-22 14:00:03, every 1 s\n\
                      SERIES  COURSE  MIN     MAX  LAST\n\
                      up      █▁··    0.1235  1    +Inf\n";
        assert_eq!(text(&found, range, true), course);
    }

    #[test]
    fn numbers_are_short_in_courses() {
        for (value, text) in
            [(0.7, "0.7"), (123_456.7, "123457"), (0.000_123_456, "0.0001235"), (-2.5, "-2.5"), (1e-30, "0")]
        {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn what_is_asked_stands_in_the_address() {
        let args = |from: Option<&str>, at: Option<&str>| Args {
            query: "a.b + 1".into(),
            at: at.map(|at| at.parse().unwrap()),
            from: from.map(|from| from.parse().unwrap()),
            to: None,
            step: None,
            json: false,
        };
        let now: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        let shown = |args: &Args| address(args, range(args, now).unwrap(), now);
        assert_eq!(shown(&args(None, None)), "/api/v1/query?query=a.b%20%2B%201");
        assert_eq!(shown(&args(None, Some("-1s"))), "/api/v1/query?query=a.b%20%2B%201&time=1795355999.000");
        assert_eq!(
            shown(&args(Some("-1h"), None)),
            "/api/v1/query_range?query=a.b%20%2B%201&start=1795352400.000&end=1795356000.000&step=75.000"
        );
        let back = Args { to: Some("-2h".parse().unwrap()), ..args(Some("-1h"), None) };
        assert!(range(&back, now).is_err());
    }
}
