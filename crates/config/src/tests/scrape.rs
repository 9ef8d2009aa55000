//! Scrape files: what they mean, and what is refused so that nothing is half applied.

use std::collections::BTreeMap;

use hmsops_model::Millis;
use hmsops_model::scrape::{Scheme, ScrapeSpec, Target};

use super::{SCRAPE, each_has_one_error, errors, warnings};
use crate::parse_scrape;

fn target(address: &str, name: &str, value: &str) -> Target {
    Target { address: address.to_owned(), labels: BTreeMap::from([(name.to_owned(), value.to_owned())]) }
}

#[test]
fn jobs_are_read_with_their_defaults() {
    let checked = parse_scrape(SCRAPE);
    assert_eq!(checked.diagnostics, []);
    let node = ScrapeSpec {
        job: "node".to_owned(),
        targets: vec![target("10.0.0.4:9100", "rack", "b7"), target("10.0.0.5:9100", "rack", "b7")],
        interval: Millis::from_secs(30),
        timeout: Millis::from_secs(10),
        metrics_path: "/metrics".to_owned(),
        scheme: Scheme::Http,
        sample_limit: None,
        honor_labels: false,
    };
    let photo = ScrapeSpec {
        job: "photo".to_owned(),
        targets: vec![target("127.0.0.1:9000", "service", "dmv-photo")],
        interval: Millis::from_secs(5),
        timeout: Millis::from_secs(5),
        sample_limit: Some(50_000),
        honor_labels: true,
        ..node.clone()
    };
    assert_eq!(checked.value, Some(vec![node, photo]));
    let least = "scrape_configs: [{job_name: a, static_configs: [{targets: [\"Host.Gov:1\"]}]}]";
    let spec = parse_scrape(least).value.unwrap().remove(0);
    assert_eq!((spec.interval, spec.timeout), (Millis::from_secs(15), Millis::from_secs(10)));
    assert_eq!(spec.targets[0].address, "host.gov:1");
}

#[test]
fn what_is_not_built_yet_is_an_error_and_says_so() {
    for key in
        ["relabel_configs", "kubernetes_sd_configs", "tls_config", "basic_auth", "authorization", "params"]
    {
        let text = format!("{SCRAPE}    {key}: []\n");
        assert_eq!(errors("scrape.yaml", &text), [format!("19:5 `{key}` is not built yet")]);
    }
    let top = format!("rule_files: [a.yaml]\n{SCRAPE}");
    assert_eq!(errors("scrape.yaml", &top), ["1:1 `rule_files` is not built yet"]);
    let global = SCRAPE.replace("  scrape_timeout: 10s", "  evaluation_interval: 10s");
    assert_eq!(errors("scrape.yaml", &global), ["4:3 `evaluation_interval` is not built yet"]);
    // A discovery in place of targets is one mistake, not two.
    let found = "scrape_configs:\n  - job_name: a\n    dns_sd_configs: []\n";
    assert_eq!(errors("scrape.yaml", found), ["3:5 `dns_sd_configs` is not built yet"]);
}

#[test]
fn each_mistake_has_its_place() {
    let cases = [
        ("job_name: photo", "job_name: node", "10:15 the job `node` is given twice"),
        ("job_name: photo", "job_nam: photo", "10:5 unknown key `job_nam` in a scrape job"),
        ("scrape_interval: 5s", "scrape_interval: 5", "11:22 `5` has no unit"),
        (
            "scrape_interval: 5s",
            "scrape_interval: 10ms",
            "11:22 `scrape_interval` of 10 ms is shorter than 1 s",
        ),
        (
            "scrape_interval: 5s",
            "scrape_timeout: 31s",
            "11:21 a time-out of 31 s is longer than the interval of 30 s",
        ),
        ("metrics_path: /metrics", "metrics_path: metrics", "12:19 `metrics` is not a path"),
        ("scheme: http", "scheme: https", "13:13 scraping over `https` is not built yet"),
        ("scheme: http", "scheme: htp", "13:13 `htp` is not a scheme"),
        ("honor_labels: true", "honor_labels: yes", "14:19 `yes` is neither `true` nor `false`"),
        ("sample_limit: 50000", "sample_limit: -1", "15:19 `-1` is not a whole number"),
        ("[\"127.0.0.1:9000\"]", "[\"127.0.0.1\"]", "17:19 `127.0.0.1` has no port"),
        ("[\"127.0.0.1:9000\"]", "[\"http://a:1\"]", "17:19 `http://a:1` is not an address with a port"),
        ("\"10.0.0.5:9100\"", "\"10.0.0.4:9100\"", "8:36 the target `10.0.0.4:9100` is given twice"),
        ("{rack: b7}", "{__rack: b7}", "9:26 the label `__rack` belongs to the inside"),
        ("{rack: b7}", "{rack: }", "9:22 `rack` is empty"),
        ("{rack: b7}", "b7", "9:17 `labels` is a text, a map was expected"),
        (
            "targets: [\"127.0.0.1:9000\"]",
            "target: [\"127.0.0.1:9000\"]",
            "17:9 unknown key `target` in a set of targets",
        ),
    ];
    let cases = cases.map(|(old, new, expected)| (SCRAPE.replacen(old, new, 1), expected));
    each_has_one_error("scrape.yaml", cases);
    let stranger = SCRAPE.replace("service: dmv-photo", "service: DMV Photo");
    assert_eq!(
        warnings("scrape.yaml", &stranger),
        ["18:27 `DMV Photo` is no service's name: these series belong to no service"]
    );
}
