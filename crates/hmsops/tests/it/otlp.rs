//! OpenTelemetry's SDK for Python, over gRPC and HTTP, cumulative and delta, into a tower that is killed meanwhile: the
//! counts at the end are those of the SDK.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::kit::{SHOPLESS, Site};
use super::nginx;
use super::signals::encoded;

/// What is installed.
const PACKAGES: [&str; 3] = [
    "opentelemetry-sdk==1.*",
    "opentelemetry-exporter-otlp-proto-http==1.*",
    "opentelemetry-exporter-otlp-proto-grpc==1.*",
];

/// A Python that has the SDK, in a folder that outlives the test; `None`, said aloud, where it cannot be fetched.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("otel");
    let python = folder.join("bin/python");
    let has_sdk = || {
        let mut command = Command::new(&python);
        command.args(["-c", "import opentelemetry.sdk, opentelemetry.exporter.otlp.proto.grpc"]);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if has_sdk() {
        return Some(python);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).stdout(Stdio::null()).status();
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    let is_made =
        made.is_ok_and(|status| status.success()) && pip.status().is_ok_and(|status| status.success());
    if is_made && has_sdk() {
        return Some(python);
    }
    eprintln!("OpenTelemetry's SDK for Python can't be installed here: nothing was tested with it");
    None
}

/// One program that counts.
struct Client {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    job: String,
}

impl Client {
    fn start(site: &Site, python: &Path, (protocol, temporality): (&str, &str)) -> Self {
        let address = if protocol == "grpc" { site.collector } else { site.at };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/otel_client.py");
        let mut command = Command::new(python);
        command.arg("-B").arg(script).args([protocol, temporality, &address.to_string(), &site.token()]);
        command.arg(site.path("stop")).env("OTEL_EXPORTER_OTLP_TIMEOUT", "20").stdout(Stdio::piped());
        command.stderr(std::fs::File::create(site.path(&format!("{protocol}-{temporality}.log"))).unwrap());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said, job: format!("otel/{protocol}-{temporality}") }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Reads until it has counted so far.
    fn wait_for(&mut self, count: u64) {
        while self.line().trim().parse::<u64>().unwrap() < count {}
    }

    /// Its sums.
    fn end(&mut self) -> Value {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "{} ended without a word", self.job);
            if line.starts_with('{') {
                assert!(self.child.wait().unwrap().success());
                return serde_json::from_str(&line).unwrap();
            }
        }
    }
}

fn value(site: &Site, query: &str) -> Option<f64> {
    let answer = site.api(&format!("/api/v1/query?query={}", encoded(query)))?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn opentelemetrys_sdk_counts_the_same_as_the_tower_through_a_kill() {
    let Some(python) = python() else { return };
    let mut site = Site::lay_out(SHOPLESS);
    site.start();
    let kinds = [("grpc", "cumulative"), ("http", "cumulative"), ("grpc", "delta"), ("http", "delta")];
    let mut clients: Vec<Client> = kinds.map(|kind| Client::start(&site, &python, kind)).into();
    for client in &mut clients {
        client.wait_for(200);
    }
    site.wait("all of them are heard", 60, |site| {
        value(site, "count(count by (job) (photo.uploads))").filter(|jobs| (jobs - 4.0).abs() < 0.5)
    });
    site.kill_tower();
    for client in &mut clients {
        client.wait_for(500);
    }
    site.start();
    for client in &mut clients {
        client.wait_for(900);
    }
    nginx::put(&site.path("stop"), "now");
    for client in &mut clients {
        let sums = client.end();
        assert_eq!(sums["flushed"], true, "{}", client.job);
        let count = sums["count"].as_f64().unwrap();
        let job = format!("job=\"{}\",instance=\"one\"", client.job);
        let is = |what: &str, query: &str, expected: f64| {
            let found = value(&site, query);
            assert!(
                found.is_some_and(|found| (found - expected).abs() < 1e-9 * expected.abs().max(1.0)),
                "{} of {}: {found:?}, not {expected}",
                what,
                client.job
            );
        };
        is("uploads", &format!("sum(photo.uploads{{{job}}})"), count);
        is("times", &format!("upload.seconds_count{{{job}}}"), count);
        is("all times", &format!("upload.seconds_bucket{{{job},le=\"+Inf\"}}"), count);
        is("seconds", &format!("upload.seconds_sum{{{job}}}"), sums["seconds"].as_f64().unwrap());
        is("busy", &format!("upload.busy{{{job}}}"), sums["busy"].as_f64().unwrap());
        if client.job.ends_with("cumulative") {
            is("sizes", &format!("histogram_count(upload.size{{{job}}})"), count);
        }
        is("what it is", &format!("target_info{{{job},telemetry.sdk.language=\"python\"}}"), 1.0);
    }
    let said = site.api("/api/v1/metadata?metric=photo.uploads").unwrap();
    let family = &said["data"]["photo.uploads"][0];
    assert_eq!((family["type"].as_str(), family["help"].as_str()), (Some("counter"), Some("Uploads.")));
}
