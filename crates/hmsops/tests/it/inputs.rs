//! Metrics of programs that others wrote: exporters that are scraped, and a Prometheus that writes to us.

#![expect(clippy::float_cmp, reason = "counts are whole numbers, and exact")]

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::emitter;
use super::http;
use super::kit::{SHOPLESS, Site, free_port};
use super::nginx;
use super::signals::encoded;

/// Metrics of a Prometheus, some with a hundred series.
const WRITTEN: [&str; 6] = [
    "up",
    "scrape_samples_scraped",
    "go_goroutines",
    "prometheus_tsdb_head_samples_appended_total",
    "prometheus_http_request_duration_seconds_bucket",
    "prometheus_http_response_size_bytes_bucket",
];

/// The one value of an instant query, from us.
fn value(site: &Site, query: &str) -> Option<f64> {
    first_value(&site.api(&format!("/api/v1/query?query={}", encoded(query)))?)
}

fn first_value(answer: &Value) -> Option<f64> {
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

/// Has our tower scrape one target.
fn scrape(site: &Site, job: &str, target: SocketAddr) {
    let text = format!(
        "scrape_configs:\n  - job_name: {job}\n    scrape_interval: 1s\n    static_configs:\n      - targets: [\"{target}\"]\n"
    );
    nginx::put(&site.path(&format!("repo/ops/scrape/{job}.yaml")), &text);
}

#[test]
fn a_node_exporter_is_scraped() {
    let mut site = Site::lay_out(SHOPLESS);
    let target = free_port();
    let mut exporter = Command::new("prometheus-node-exporter");
    exporter.arg(format!("--web.listen-address={target}")).stderr(std::process::Stdio::null());
    site.keep(&mut exporter);
    scrape(&site, "node", target);
    site.start();
    site.wait("it is up", 30, |site| value(site, "up{job=\"node\"}").filter(|up| *up == 1.0));
    site.wait("its load", 10, |site| value(site, "node_load1"));
    let memory = site.wait("its memory", 10, |site| value(site, "node_memory_MemTotal_bytes"));
    assert!(memory > 1e6, "{memory}");
}

/// The chapter's exporter, with the real prometheus_client.
#[test]
fn the_chapters_exporter_is_scraped() {
    let mut site = Site::lay_out(SHOPLESS);
    let target = free_port();
    let code = "import sys, threading, prometheus_client, metrics\n\
                prometheus_client.start_http_server(int(sys.argv[1]), addr='127.0.0.1')\n\
                for ok in (True, False, False, False): metrics.record_login(ok)\n\
                threading.Event().wait()\n";
    let mut exporter = Command::new("/usr/bin/python3");
    exporter.args(["-B", "-c", code, &target.port().to_string()]);
    exporter.env("PYTHONPATH", emitter::checkout("lab/portal"));
    site.keep(&mut exporter);
    scrape(&site, "portal", target);
    site.start();
    site.wait("three log-ins failed", 30, |site| {
        value(site, "auth_fail_total{job=\"portal\"}").filter(|failed| *failed == 3.0)
    });
}

/// What a Prometheus has, we have, however often we are killed while it writes.
#[test]
fn a_prometheus_writes_to_a_tower_that_is_killed() {
    let mut site = Site::lay_out(SHOPLESS);
    site.start();
    let prometheus = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs:\n  - job_name: itself\n    static_configs: [{{targets: [\"{prometheus}\"]}}]\n\
         remote_write:\n  - url: http://{}/api/v1/write\n    authorization: {{credentials: {}}}\n",
        site.at,
        site.token()
    );
    nginx::put(&site.path("prometheus.yml"), &config);
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", site.path("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", site.path("prometheus").display()));
    command.arg(format!("--web.listen-address={prometheus}"));
    command.stderr(std::fs::File::create(site.path("prometheus.log")).unwrap());
    site.keep(&mut command);

    let up = "count_over_time(up{job=\"itself\"}[1h])";
    for scraped in [4.0, 8.0, 12.0, 16.0] {
        site.wait("it writes", 60, |site| value(site, up).filter(|count| *count >= scraped));
        site.kill_tower();
        site.start();
    }
    let theirs = |query: &str, at: &str| {
        let path = format!("/api/v1/query?query={}&time={at}", encoded(query));
        let answer = http::get(prometheus, &path, &[]).unwrap();
        let found = serde_json::from_str(&answer.body).ok().and_then(|found| first_value(&found));
        found.unwrap_or_else(|| panic!("{path}: {answer:?}"))
    };
    // A moment that lies behind both: the last scrape that we have now.
    let last = "timestamp(up{job=\"itself\"})";
    let at = site.wait("it goes on", 60, |site| value(site, last)).to_string();
    // One metric at a time: without their names, series of several would be the same.
    let mut total = 0.0;
    for metric in WRITTEN {
        let count = format!("sum(count_over_time({metric}[1h]))");
        let expected = theirs(&count, &at);
        total += expected;
        site.wait(&format!("{expected} samples of {metric}"), 60, |site| {
            let path = format!("/api/v1/query?query={}&time={at}", encoded(&count));
            first_value(&site.api(&path)?).filter(|ours| *ours == expected)
        });
    }
    assert!(total > 200.0, "{total}");
}
