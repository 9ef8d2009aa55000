//! Those who write to us from afar: Prometheus and vmagent, unchanged, through a tower that is killed again and again.
//! In the end each series has every sample that the sender, or another receiver of the same sender, has. And a
//! Prometheus that reads from us.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::kit::{SHOPLESS, Site, free_port, send};
use super::nginx;

/// Samples of a series: moments as they are written in JSON, and values.
type Samples = Vec<(String, String)>;

/// Everything of a job, by labels.
fn all(at: SocketAddr, token: Option<&str>, job: &str) -> Option<BTreeMap<String, Samples>> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20"]);
    command.arg(format!("http://{at}/api/v1/query"));
    command.arg("--data-urlencode").arg(format!("query={{job=\"{job}\"}}[30m]"));
    if let Some(token) = token {
        command.args(["-H", &format!("authorization: Bearer {token}")]);
    }
    let answer: Value = serde_json::from_slice(&command.output().unwrap().stdout).ok()?;
    let series = answer["data"]["result"].as_array()?;
    let samples = |series: &Value| -> Option<Samples> {
        let values = series["values"].as_array()?;
        values.iter().map(|sample| Some((sample[0].to_string(), sample[1].as_str()?.to_owned()))).collect()
    };
    // Labels are sorted by the map that JSON objects are.
    series.iter().map(|series| Some((series["metric"].to_string(), samples(series)?))).collect()
}

fn longest(found: &BTreeMap<String, Samples>) -> usize {
    found.values().map(Vec::len).max().unwrap_or_default()
}

/// What has not come to an end has as many samples as the most there are.
fn scrapes(at: SocketAddr, token: Option<&str>, job: &str) -> usize {
    all(at, token, job).map_or(0, |found| longest(&found))
}

/// The tower is killed while samples come, is away for some scrapes, and comes back; thrice.
fn kill_and_come_back(site: &mut Site, beside: SocketAddr, job: &str) {
    for round in 1..=3 {
        let token = site.token();
        let before = scrapes(site.at, Some(&token), job);
        site.wait(&format!("round {round}: samples come"), 60, |site| {
            (scrapes(site.at, Some(&token), job) > before + 2).then_some(())
        });
        site.kill_tower();
        let before = scrapes(beside, None, job);
        site.wait(&format!("round {round}: the tower is missed"), 60, |_| {
            (scrapes(beside, None, job) > before + 3).then_some(())
        });
        site.start();
    }
}

/// Waits until both have the same; answers how many series and samples.
fn wait_until_equal(site: &Site, beside: SocketAddr, job: &str) -> (usize, usize) {
    let token = site.token();
    let mut seen = String::new();
    let same = |site: &Site| {
        let (ours, theirs) = (all(site.at, Some(&token), job)?, all(beside, None, job)?);
        let count = |found: &BTreeMap<String, Samples>| found.values().map(Vec::len).sum::<usize>();
        let line = format!(
            "ours {} of {} series, theirs {} of {}",
            count(&ours),
            ours.len(),
            count(&theirs),
            theirs.len()
        );
        if seen != line {
            seen.clone_from(&line);
            eprintln!("{line}");
        }
        (ours == theirs).then(|| (ours.len(), count(&ours)))
    };
    site.wait("the same samples in both", 60, same)
}

/// A Prometheus, and its configuration.
fn prometheus(site: &mut Site, config: &str, more: &[&str]) -> SocketAddr {
    let at = free_port();
    nginx::put(&site.path("prometheus.yml"), &config.replace("@SELF@", &at.to_string()));
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", site.path("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", site.path("prometheus").display()));
    command.arg(format!("--web.listen-address={at}")).args(more);
    command.stderr(std::fs::File::create(site.path("prometheus.log")).unwrap());
    site.keep(&mut command);
    at
}

/// Asks a program of the site to read its configuration again.
fn reload(site: &Site, program: &str) {
    let found = site.processes().into_iter().find(|process| process.role == program);
    send(found.unwrap_or_else(|| panic!("no {program}")).pid, Signal::HUP);
}

#[test]
fn prometheus_writes_through_kills_and_nothing_is_missing() {
    let mut site = Site::lay_out(SHOPLESS);
    site.start();
    let write = format!(
        "global: {{scrape_interval: 1s}}\nremote_write:\n  - url: http://{}/api/v1/write\n    authorization: {{credentials_file: \
         {}}}\n    queue_config: {{min_backoff: 50ms, max_backoff: 500ms, batch_send_deadline: 500ms, max_shards: 4}}\n    \
         metadata_config: {{send_interval: 2s}}\n",
        site.at,
        site.path("data/admin.token").display()
    );
    let scrape = "scrape_configs:\n  - job_name: self\n    static_configs: [{targets: [\"@SELF@\"]}]\n";
    let at = prometheus(&mut site, &format!("{write}{scrape}"), &[]);
    kill_and_come_back(&mut site, at, "self");
    // The same without a scrape: the last samples and the stale markers are written.
    nginx::put(&site.path("prometheus.yml"), &write);
    reload(&site, "prometheus");
    let (series, samples) = wait_until_equal(&site, at, "self");
    assert!(series > 300 && samples > 10 * series, "{series} series, {samples} samples");
    let said = site.wait("metadata", 20, |site| {
        let said = site.api("/api/v1/metadata?metric=go_goroutines")?;
        said["data"]["go_goroutines"][0]["type"].as_str().map(str::to_owned)
    });
    assert_eq!(said, "gauge");
    eprintln!("Prometheus: {samples} samples of {series} series are the same");
}

/// It has a queue of its own on disk, and writes to another receiver, too.
#[test]
fn vmagent_writes_through_kills_what_another_receiver_has() {
    let mut site = Site::lay_out(SHOPLESS);
    site.start();
    let other = prometheus(&mut site, "scrape_configs: []\n", &["--web.enable-remote-write-receiver"]);
    let scrape = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: vm\n    static_configs: [{{targets: [\"{other}\"]}}]\n"
    );
    nginx::put(&site.path("vmagent.yml"), &scrape);
    site.wait("the other receiver", 30, |_| all(other, None, "vm"));
    let mut command = Command::new("vmagent");
    command.arg(format!("-promscrape.config={}", site.path("vmagent.yml").display()));
    for (at, token) in [(site.at, site.path("data/admin.token")), (other, "".into())] {
        command.arg(format!("-remoteWrite.url=http://{at}/api/v1/write"));
        command.arg(format!("-remoteWrite.bearerTokenFile={}", token.display()));
    }
    command.arg(format!("-remoteWrite.tmpDataPath={}", site.path("vmagent").display()));
    command.arg(format!("-httpListenAddr={}", free_port()));
    command.stderr(std::fs::File::create(site.path("vmagent.log")).unwrap());
    site.keep(&mut command);
    kill_and_come_back(&mut site, other, "vm");
    nginx::put(&site.path("vmagent.yml"), "scrape_configs: []\n");
    reload(&site, "vmagent");
    let (series, samples) = wait_until_equal(&site, other, "vm");
    assert!(series > 300 && samples > 10 * series, "{series} series, {samples} samples");
    eprintln!("vmagent: {samples} samples of {series} series are the same");
}

/// Another Prometheus has nothing of its own and answers with what it reads from us.
#[test]
fn prometheus_reads_what_we_hold() {
    let mut site = Site::lay_out(SHOPLESS);
    site.start();
    let token = site.token();
    site.wait("samples of our own", 60, |site| (scrapes(site.at, Some(&token), "hmsops") >= 3).then_some(()));
    let read = format!(
        "remote_read:\n  - url: http://{}/api/v1/read\n    authorization: {{credentials_file: {}}}\n    read_recent: true\n",
        site.at,
        site.path("data/admin.token").display()
    );
    let at = prometheus(&mut site, &read, &[]);
    let (series, samples) = wait_until_equal(&site, at, "hmsops");
    assert!(series > 40 && samples > 2 * series, "{series} series, {samples} samples");
}
