//! `hmsops metric`: a value from a script, and what the series are many of.

use clap::Subcommand;
use hmsops_wire::collector::{EmitRequest, EmitResponse, Label, Metric, json};
use jiff::Timestamp;
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::print;
use crate::table::Table;

/// Send metrics, and see what the series are many of
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Send one value of a metric
    #[command(after_help = "Example:\n  hmsops metric emit photo.upload.ok 1 --label region=east\n  \
                      hmsops metric emit backup.duration_s 12.5 --service csac-portal")]
    Emit(Emit),
    /// What the series are many of: metrics, labels, pairs of label and value
    #[command(after_help = "Example:\n  hmsops metric cardinality --limit 20")]
    Cardinality {
        /// Entries of each kind, 1 to 10000
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Emit {
    /// Its name; dots are welcome
    name: String,
    /// A number, NaN, +Inf or -Inf
    #[arg(allow_hyphen_values = true, value_parser = number)]
    value: f64,
    /// A label, can be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// The service it comes from
    #[arg(long, env = "HMS_SERVICE", hide_env_values = true)]
    service: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    let emit = match &args.verb {
        Verb::Emit(emit) => emit,
        Verb::Cardinality { limit, json } => return cardinality(client, *limit, *json).await,
    };
    let now = Timestamp::now();
    // Each run is a source of its own: its process at its moment.
    let source = format!("hmsops-{}-{}", std::process::id(), now.as_nanosecond());
    let body = json::encode(&request(emit, source, now.as_millisecond()));
    let body: Value = serde_json::from_slice(&body).expect("what was just written is JSON");
    let response: EmitResponse = client.post("/hms/v1/metrics", &body).await?;
    if emit.json {
        print::json(&response)?;
    }
    match response.refused.first() {
        Some(refused) => Err(Failure::new(Exit::Failed, print::plain(&refused.why))),
        None => Ok(()),
    }
}

/// Where it stands in the answer, and what it is called here.
const KINDS: [(&str, &str, &str); 4] = [
    ("seriesCountByMetricName", "METRIC", "SERIES"),
    ("labelValueCountByLabelName", "LABEL", "VALUES"),
    ("memoryInBytesByLabelName", "LABEL", "BYTES"),
    ("seriesCountByLabelValuePair", "LABEL=VALUE", "SERIES"),
];

async fn cardinality(client: &Client, limit: u16, is_json: bool) -> Result<(), Failure> {
    let answer: Value = client.get(&format!("/api/v1/status/tsdb?limit={limit}")).await?;
    let data = &answer["data"];
    if is_json {
        return print::json(data);
    }
    let head = &data["headStats"];
    let mut text = format!("{} series of at most {}\n", head["numSeries"], head["numSeriesMax"]);
    for (key, what, count) in KINDS {
        let mut table = Table::new([what, count]);
        for entry in data[key].as_array().into_iter().flatten() {
            table.row([entry["name"].as_str().unwrap_or_default().to_owned(), entry["value"].to_string()]);
        }
        text = text + "\n" + &table.text();
    }
    print::data(&text)
}

fn request(emit: &Emit, source: String, time_unix_ms: i64) -> EmitRequest {
    let label = |(name, value): &(String, String)| Label { name: name.clone(), value: value.clone() };
    let service = emit.service.iter().filter(|service| !service.is_empty());
    let value = emit.value;
    EmitRequest {
        source,
        sequence: 1,
        labels: service.map(|service| Label { name: "service".into(), value: service.clone() }).collect(),
        metrics: vec![Metric {
            name: emit.name.clone(),
            labels: emit.label.iter().map(label).collect(),
            time_unix_ms,
            sum: value,
            count: 1,
            min: value,
            max: value,
            last: value,
        }],
        dropped: 0,
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number: 1, 0.5, -3e2, NaN, +Inf".to_owned())
}

/// `name=value`
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE: region=east")?;
    if name.is_empty() {
        return Err("the name before `=` is empty".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_a_batch_that_the_collector_takes() {
        let emit = Emit {
            name: "photo.upload.ok".into(),
            value: f64::NEG_INFINITY,
            label: vec![label("region=east=1").unwrap()],
            service: Some("dmv-photo".into()),
            json: false,
        };
        let text = json::encode(&request(&emit, "hmsops-1-2".into(), 1_795_356_000_000));
        let batch = hmsops_wire::collector::batch(&json::decode(&text).unwrap()).unwrap();
        assert!(batch.refused.is_empty(), "{:?}", batch.refused);
        let labels = &batch.rows[0].labels;
        let found: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(found, ["__name__=photo.upload.ok", "region=east=1", "service=dmv-photo"]);
        assert_eq!(batch.rows[0].tally.count, 1);
    }

    #[test]
    fn arguments_that_are_wrong_say_what_was_expected() {
        assert_eq!(number("+Inf"), Ok(f64::INFINITY));
        assert_eq!(number("-3e2"), Ok(-300.0));
        assert!(number("one").is_err() && label("region").is_err() && label("=east").is_err());
    }
}
