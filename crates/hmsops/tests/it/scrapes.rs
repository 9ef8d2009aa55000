//! `scrape_configs` as teams have them, against real targets: a Prometheus that is asked in both formats, an nginx with
//! TLS, a password and packed pages, and lists of targets in a file and on a page.

#![expect(clippy::float_cmp, reason = "counts are whole numbers, and exact")]

use std::net::SocketAddr;
use std::process::Command;

use super::kit::{SHOPLESS, Site, free_port};
use super::nginx;
use super::signals::encoded;

fn value(site: &Site, query: &str) -> Option<f64> {
    let answer = site.api(&format!("/api/v1/query?query={}", encoded(query)))?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn put(site: &Site, name: &str, text: &str) {
    nginx::put(&site.path(&format!("repo/ops/scrape/{name}")), text);
}

/// One page in both formats is the same series.
#[test]
fn a_prometheus_says_the_same_in_protobuf_as_in_text() {
    let mut site = Site::lay_out(SHOPLESS);
    let target = free_port();
    nginx::put(&site.path("prometheus.yml"), "scrape_configs: []\n");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", site.path("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", site.path("prometheus").display()));
    command.arg(format!("--web.listen-address={target}"));
    command.stderr(std::fs::File::create(site.path("prometheus.log")).unwrap());
    site.keep(&mut command);
    let job = |name: &str, protocol: &str| {
        format!(
            "  - job_name: {name}\n    scrape_interval: 1s\n    scrape_protocols: [{protocol}]\n    \
             static_configs: [{{targets: [\"{target}\"]}}]\n"
        )
    };
    let text = ["scrape_configs:\n", &job("proto", "PrometheusProto"), &job("text", "PrometheusText0.0.4")];
    put(&site, "both.yaml", &text.concat());
    site.start();
    let count = |site: &Site, job: &str, more: &str| {
        value(site, &format!("count({{job=\"{job}\",__name__=~\"(prometheus|go|net)_.*\"{more}}})"))
    };
    site.wait("both are up", 60, |site| value(site, "sum(up)").filter(|up| *up == 2.0));
    // Handlers that have been asked have series: the same for both when neither page is the first.
    site.wait("as many series in both", 30, |site| {
        let (proto, text) = (count(site, "proto", "")?, count(site, "text", "")?);
        (proto == text && proto > 250.0).then_some(())
    });
    for more in [",le=\"+Inf\"", ",le=\"1.0\"", ",quantile=\"0.99\"", ",quantile=\"0.5\""] {
        let (proto, text) = (count(&site, "proto", more), count(&site, "text", more));
        assert!(proto == text && proto > Some(0.0), "{more}: {proto:?} {text:?}");
    }
    let only = "count(group by (__name__) ({job=\"text\",__name__=~\"(prometheus|go)_.*\"}) \
                unless group by (__name__) ({job=\"proto\"}))";
    assert_eq!(value(&site, only), None, "names that only text has");
    let targets = site.api("/api/v1/targets?scrapePool=proto").unwrap();
    let active = &targets["data"]["activeTargets"][0];
    assert_eq!((active["health"].as_str(), active["scrapeInterval"].as_str()), (Some("up"), Some("1s")));
    assert_eq!(active["discoveredLabels"]["__address__"], target.to_string());
}

/// A target behind TLS that wants a password and packs its page. Answers who says where it is.
fn guarded(site: &mut Site) -> SocketAddr {
    let (at, list) = (free_port(), free_port());
    let folder = site.path("guarded");
    std::fs::create_dir_all(folder.join("www")).unwrap();
    let of = |name: &str| folder.join(name).display().to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost".split(' '),
    );
    openssl
        .args("-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost".split(' '));
    openssl.args(["-keyout", &of("key.pem"), "-out", &of("cert.pem")]);
    assert!(openssl.stderr(std::process::Stdio::null()).status().unwrap().success());
    // `hunter2`
    nginx::put(&folder.join("users"), "prom:{PLAIN}hunter2\n");
    let page = (0..500).fold(String::new(), |page, n| page + &format!("portal_queue{{lane=\"{n}\"}} {n}\n"));
    nginx::put(&folder.join("www/metrics"), &page);
    nginx::put(
        &folder.join("www/targets"),
        &format!(
            "[{{\"targets\": [\"localhost:{}\"], \"labels\": {{\"__meta_lane\": \"fast\"}}}}]",
            at.port()
        ),
    );
    let conf = format!(
        "worker_processes 1; pid {pid}; error_log stderr warn; events {{ worker_connections 64; }}\n\
         http {{ access_log off; gzip on; gzip_types text/plain; gzip_min_length 10; gzip_proxied any;\n\
           client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp}; uwsgi_temp_path {tmp}; scgi_temp_path {tmp};\n\
           server {{ listen {at} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; root {www};\n\
             location = /metrics {{ auth_basic portal; auth_basic_user_file {users}; default_type \"text/plain; version=0.0.4\"; }} }}\n\
           server {{ listen {list}; root {www}; location = /targets {{ default_type application/json; }} }} }}\n",
        pid = of("pid"),
        tmp = of("tmp"),
        cert = of("cert.pem"),
        key = of("key.pem"),
        www = of("www"),
        users = of("users"),
    );
    nginx::put(&folder.join("nginx.conf"), &conf);
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p", &of(""), "-c", &of("nginx.conf"), "-g", "daemon off;"]);
    command.stderr(std::fs::File::create(site.path("nginx.log")).unwrap());
    site.keep(&mut command);
    list
}

#[test]
fn a_guarded_target_is_found_by_a_page_and_asked_with_its_password() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut site = Site::lay_out(SHOPLESS);
    let list = guarded(&mut site);
    let secrets = site.path("data/scrape-secrets");
    std::fs::create_dir_all(&secrets).unwrap();
    for (name, text) in [
        ("portal.password", "hunter2\n".to_owned()),
        ("ca.pem", std::fs::read_to_string(site.path("guarded/cert.pem")).unwrap()),
    ] {
        nginx::put(&secrets.join(name), &text);
        std::fs::set_permissions(secrets.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let job = |name: &str, password: &str| {
        format!(
            "  - job_name: {name}\n    scrape_interval: 1s\n    scheme: https\n    \
             basic_auth: {{username: prom, password_file: {password}}}\n    tls_config: {{ca_file: ca.pem}}\n    \
             http_sd_configs: [{{url: \"http://{list}/targets\", refresh_interval: 1s}}]\n    \
             relabel_configs:\n      - {{source_labels: [__meta_lane], target_label: lane_of_target}}\n      \
             - {{target_label: __allow_private__, replacement: 127.0.0.0/8}}\n    \
             metric_relabel_configs:\n      - {{source_labels: [lane], regex: \"[0-9]\", action: keep}}\n"
        )
    };
    put(
        &site,
        "portal.yaml",
        &format!("scrape_configs:\n{}{}", job("portal", "portal.password"), job("stranger", "ca.pem")),
    );
    site.start();
    site.wait("the queue", 60, |site| {
        value(site, "count(portal_queue{job=\"portal\"})").filter(|count| *count == 10.0)
    });
    assert_eq!(value(&site, "sum(portal_queue{job=\"portal\",lane_of_target=\"fast\"})"), Some(45.0));
    assert_eq!(value(&site, "scrape_samples_scraped{job=\"portal\"}"), Some(500.0));
    assert_eq!(value(&site, "scrape_samples_post_metric_relabeling{job=\"portal\"}"), Some(10.0));
    site.wait("the stranger is down", 30, |site| value(site, "up{job=\"stranger\"}").filter(|up| *up == 0.0));
    let targets = site.api("/api/v1/targets").unwrap().to_string();
    assert!(targets.contains("more than one line") || targets.contains("cannot use the secret"), "{targets}");
    // Gone from the page, gone from the targets, and its series end.
    nginx::put(&site.path("guarded/www/targets"), "[]");
    site.wait("it is gone", 30, |site| {
        value(site, "count(portal_queue) or vector(0)").filter(|count| *count == 0.0)
    });
    for place in [site.log(), targets] {
        assert!(!place.contains("hunter2") && !place.contains("cHJvbTpodW50ZXIy"));
    }
}
