//! Scrape files: what they mean, and what is refused so that nothing is half applied.

use std::collections::BTreeMap;

use hmsops_model::probe::RecordType;
use hmsops_model::scrape::{Auth, Discovery, Protocol, Scheme, ScrapeLimits, ScrapeSpec, SecretText, Target};
use hmsops_model::{Millis, RelabelAction};

use super::{SCRAPE, each_has_one_error, errors, warnings};
use crate::parse_scrape;

fn target(address: &str, name: &str, value: &str) -> Target {
    Target { address: address.to_owned(), labels: BTreeMap::from([(name.to_owned(), value.to_owned())]) }
}

#[test]
fn jobs_are_read_with_their_defaults() {
    let checked = parse_scrape(SCRAPE);
    assert_eq!(checked.diagnostics, []);
    let [node, photo] = &checked.value.unwrap()[..] else { panic!("two jobs") };
    assert_eq!(node.job, "node");
    assert_eq!(node.targets, [target("10.0.0.4:9100", "rack", "b7"), target("10.0.0.5:9100", "rack", "b7")]);
    assert_eq!((node.interval, node.timeout), (Millis::from_secs(30), Millis::from_secs(10)));
    assert_eq!((node.metrics_path.as_str(), node.scheme), ("/metrics", Scheme::Http));
    assert_eq!((node.limits, node.honor_labels), (ScrapeLimits::default(), false));
    assert!(node.honor_timestamps && !node.track_timestamps_staleness);
    assert_eq!((&node.protocols[..], node.fallback), (&Protocol::DEFAULT[..], None));
    assert_eq!(photo.targets, [target("127.0.0.1:9000", "service", "dmv-photo")]);
    assert_eq!((photo.interval, photo.timeout), (Millis::from_secs(5), Millis::from_secs(5)));
    assert_eq!((photo.limits.samples, photo.honor_labels), (Some(50_000), true));
    let least = "scrape_configs: [{job_name: a, static_configs: [{targets: [\"Host.Gov:1\"]}]}]";
    let spec = parse_scrape(least).value.unwrap().remove(0);
    assert_eq!((spec.interval, spec.timeout), (Millis::from_secs(15), Millis::from_secs(10)));
    assert_eq!(spec.targets[0].address, "host.gov:1");
}

#[test]
fn what_is_not_built_yet_is_an_error_and_says_so() {
    for key in ["consul_sd_configs", "oauth2", "proxy_url", "convert_classic_histograms_to_nhcb"] {
        let text = format!("{SCRAPE}    {key}: []\n");
        assert_eq!(errors("scrape.yaml", &text), [format!("19:5 `{key}` is not built yet")]);
    }
    let top = format!("rule_files: [a.yaml]\n{SCRAPE}");
    assert_eq!(errors("scrape.yaml", &top), ["1:1 `rule_files` is not built yet"]);
    let global = SCRAPE.replace("  scrape_timeout: 10s", "  evaluation_interval: 10s");
    assert_eq!(errors("scrape.yaml", &global), ["4:3 `evaluation_interval` is not built yet"]);
    // A discovery in place of targets is one mistake, not two.
    let found = "scrape_configs:\n  - job_name: a\n    consul_sd_configs: []\n";
    assert_eq!(errors("scrape.yaml", found), ["3:5 `consul_sd_configs` is not built yet"]);
}

/// The one job of a file whose job has these lines besides its name.
fn job(lines: &str) -> ScrapeSpec {
    let text = format!("scrape_configs:\n  - job_name: a\n{}", indented(lines));
    let checked = parse_scrape(&text);
    let mistakes: Vec<_> =
        checked.diagnostics.iter().filter(|found| found.severity == crate::Severity::Error).collect();
    assert!(mistakes.is_empty(), "{mistakes:?}");
    checked.value.unwrap().remove(0)
}

fn indented(lines: &str) -> String {
    lines.lines().fold(String::new(), |text, line| text + "    " + line + "\n")
}

#[test]
fn global_limits_hold_for_jobs_that_say_none() {
    let text = "global: {sample_limit: 10, body_size_limit: 2MB, label_limit: 5, scrape_protocols: [PrometheusProto]}\n\
                scrape_configs:\n  - {job_name: a, sample_limit: 7, label_limit: 0, static_configs: [{targets: [h]}]}\n";
    let spec = parse_scrape(text).value.unwrap().remove(0);
    assert_eq!(
        (spec.limits.samples, spec.limits.body_bytes, spec.limits.labels),
        (Some(7), Some(2 << 20), None)
    );
    assert_eq!(spec.protocols, [Protocol::PrometheusProto]);
    assert_eq!(spec.targets[0].address, "h", "the scheme says the port");
}

#[test]
fn a_probe_by_rules_is_read() {
    // The configuration that blackbox_exporter's README recommends.
    let spec = job(
        "metrics_path: /probe\nparams: {module: [http_2xx]}\nstatic_configs:\n  - targets: [\"https://csac.gov/login\"]\n\
         relabel_configs:\n  - {source_labels: [__address__], target_label: __param_target}\n  \
         - {source_labels: [__param_target], target_label: instance}\n  \
         - {target_label: __address__, replacement: \"127.0.0.1:9115\"}\n",
    );
    assert_eq!(spec.targets[0].address, "https://csac.gov/login");
    assert_eq!(spec.params["module"], ["http_2xx"]);
    assert_eq!(spec.relabel.len(), 3);
    assert_eq!(spec.relabel[0].action, RelabelAction::Replace);
    assert_eq!(
        (spec.relabel[2].replacement.as_str(), spec.relabel[2].regex.as_str()),
        ("127.0.0.1:9115", "(.*)")
    );
}

#[test]
fn discoveries_are_read_with_their_defaults() {
    let spec = job("file_sd_configs: [{files: [\"t/*.json\", /etc/t.yml]}]\n\
         http_sd_configs: [{url: \"https://sd.csac.gov/t?a=b\", basic_auth: {username: u, password_file: p}}]\n\
         dns_sd_configs: [{names: [_m._tcp.csac.gov]}, {names: [h], type: A, port: 9100, refresh_interval: 5s}]\n\
         docker_sd_configs: [{host: \"unix:///var/run/docker.sock\", filters: [{name: label, values: [m]}]}]\n\
         kubernetes_sd_configs: [{role: pod, namespaces: {names: [csac]}, selectors: [{role: pod, label: \"a=b\"}]}]\n");
    let keys: Vec<_> = spec.discoveries.iter().map(Discovery::key).collect();
    assert_eq!(
        keys,
        [
            "file_sd_configs",
            "http_sd_configs",
            "dns_sd_configs",
            "dns_sd_configs",
            "docker_sd_configs",
            "kubernetes_sd_configs"
        ]
    );
    let Discovery::Http { url, client, refresh } = &spec.discoveries[1] else { panic!("http") };
    assert_eq!((url.to_string().as_str(), *refresh), ("https://sd.csac.gov:443/t?a=b", Millis::from_mins(1)));
    assert!(matches!(&client.auth, Some(Auth::Basic { user, .. }) if user == "u"));
    let Discovery::Dns { record, port, refresh, .. } = &spec.discoveries[3] else { panic!("dns") };
    assert_eq!((*record, *port, *refresh), (RecordType::A, Some(9100), Millis::from_secs(5)));
    let Discovery::Kubernetes { label_selector, namespaces, .. } = &spec.discoveries[5] else {
        panic!("k8s")
    };
    assert_eq!((label_selector.as_deref(), &namespaces[..]), (Some("a=b"), &["csac".to_owned()][..]));
}

#[test]
fn secrets_are_read_and_shown_to_nobody() {
    let lines = "static_configs: [{targets: [h]}]\nauthorization: {credentials: hunter2}\n\
                 http_headers: {X-Tenant: {values: [csac], secrets: [hunter2]}}\ntls_config: {insecure_skip_verify: true}\n";
    let spec = job(lines);
    let Some(Auth::Credentials { scheme, credentials: SecretText::Plain(secret) }) = &spec.client.auth else {
        panic!("credentials")
    };
    assert_eq!((scheme.as_str(), secret.expose()), ("Bearer", "hunter2"));
    assert_eq!(spec.client.headers.len(), 2);
    let text = format!("scrape_configs:\n  - job_name: a\n{}", indented(lines));
    let told = format!("{:?}", parse_scrape(&text));
    assert!(told.contains("written out") && told.contains("believed"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn each_mistake_of_clients_rules_and_discoveries_has_its_place() {
    let cases = [
        (
            "relabel_configs: [{action: hashmod, target_label: a}]",
            "4:23 the action `hashmod` has no `modulus`",
        ),
        ("relabel_configs: [{source_labels: [a]}]", "4:23 the action `replace` has no `target_label`"),
        (
            "relabel_configs: [{action: labeldrop, regex: a, separator: b}]",
            "4:53 the action `labeldrop` does not look at `separator`",
        ),
        ("relabel_configs: [{action: labelldrop, regex: a}]", "4:32 `labelldrop` is not an action"),
        (
            "metric_relabel_configs: [{action: drop, regex: \"(\"}]",
            "4:52 `(` cannot be used: error parsing regexp: unclosed group",
        ),
        (
            "basic_auth: {username: a, password: b, password_file: c}",
            "4:44 `password` and `password_file` say two things",
        ),
        ("basic_auth: {username: a, password_file: ../c}", "4:46 `../c` is not a file that may be read"),
        (
            "authorization: {type: Basic, credentials_file: c}",
            "4:5 the type `Basic` takes a name and a password",
        ),
        ("authorization: {type: Bearer}", "4:5 `authorization` has no credentials"),
        ("http_headers: {Host: {values: [a]}}", "4:20 `Host` belongs to the request itself"),
        ("tls_config: {cert_file: a}", "4:5 `cert_file` and `key_file` belong together"),
        ("http_sd_configs: [{url: \"http://a:b@c/\"}]", "4:29 the URL holds a name or a password"),
        ("http_sd_configs: [{url: \"ftp://c/\"}]", "4:29 what is written here is no URL of HTTP"),
        ("file_sd_configs: [{files: [t.txt]}]", "4:31 `t.txt` is not a file of targets"),
        ("dns_sd_configs: [{names: [a], type: A}]", "4:22 a record of the kind A has no port"),
        (
            "dns_sd_configs: [{names: [a], type: TXT}]",
            "4:41 `TXT` is not a kind of record that names targets",
        ),
        ("docker_sd_configs: [{host: \"unix://x\"}]", "4:32 `unix://x` is not a socket"),
        ("kubernetes_sd_configs: [{role: pods}]", "4:36 `pods` is not a role"),
        ("body_size_limit: 10 MB", "4:22 `10 MB` is not a size"),
        ("scrape_protocols: [PrometheusText]", "4:24 `PrometheusText` is not a format"),
        (
            "metric_name_validation_scheme: legacy",
            "4:36 `metric_name_validation_scheme: legacy` is not built yet",
        ),
    ];
    for (line, expected) in cases {
        let text =
            format!("scrape_configs:\n  - job_name: a\n    static_configs: [{{targets: [h]}}]\n    {line}\n");
        assert_eq!(errors("scrape.yaml", &text), [expected], "{line}");
    }
    assert_eq!(
        errors("scrape.yaml", "scrape_configs:\n  - job_name: a\n"),
        ["2:5 a scrape job has nobody to ask"]
    );
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
        ("scheme: http", "scheme: htp", "13:13 `htp` is not a scheme"),
        ("honor_labels: true", "honor_labels: yes", "14:19 `yes` is neither `true` nor `false`"),
        ("sample_limit: 50000", "sample_limit: -1", "15:19 `-1` is not a whole number"),
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
