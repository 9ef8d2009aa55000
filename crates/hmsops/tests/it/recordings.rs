//! Recording rules in a tower that is killed: what is recorded, when, and that nothing of it is missing afterwards.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::kit::{SHOPLESS, Site, free_port, now};
use super::nginx;
use super::signals::encoded;

const RULES: &str = "\
groups:
  - name: fast
    interval: 1s
    labels: {team: portal}
    rules:
      - record: lane:portal_queue:sum
        expr: sum by (lane) (portal_queue)
      - record: portal.queue.doubled
        expr: lane:portal_queue:sum * 2
        labels: {doubled: \"yes\"}
      - alert: QueueLong
        expr: portal_queue > 5
  - name: narrow
    interval: 1s
    limit: 1
    rules:
      - record: too:many
        expr: portal_queue
";

/// Each point of a series: seconds and value.
fn points(site: &Site, series: &str) -> Option<Vec<(f64, f64)>> {
    let answer = site.api(&format!("/api/v1/query?query={}", encoded(&format!("{series}[2m]"))))?;
    let values = answer["data"]["result"][0]["values"].as_array()?.clone();
    let point = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
    values.iter().map(point).collect()
}

/// A page that says how long two queues are, asked each second.
fn target(site: &mut Site) {
    let (at, folder) = (free_port(), site.path("target"));
    let of = |name: &str| folder.join(name).display().to_string();
    nginx::put(&folder.join("www/metrics"), "portal_queue{lane=\"a\"} 3\nportal_queue{lane=\"b\"} 7\n");
    let conf = format!(
        "worker_processes 1; pid {pid}; error_log stderr warn; events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp};\n\
           uwsgi_temp_path {tmp}; scgi_temp_path {tmp}; server {{ listen {at}; root {www};\n\
           location = /metrics {{ default_type \"text/plain; version=0.0.4\"; }} }} }}\n",
        pid = of("pid"),
        tmp = of("tmp"),
        www = of("www"),
    );
    nginx::put(&folder.join("nginx.conf"), &conf);
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p", &of(""), "-c", &of("nginx.conf"), "-g", "daemon off;"]);
    command.stderr(std::fs::File::create(site.path("nginx.log")).unwrap());
    site.keep(&mut command);
    let job = format!(
        "scrape_configs:\n  - job_name: portal\n    scrape_interval: 1s\n    static_configs: [{{targets: [\"{at}\"]}}]\n"
    );
    nginx::put(&site.path("repo/ops/scrape/portal.yaml"), &job);
}

#[test]
fn what_rules_record_has_no_gap_though_the_tower_is_killed() {
    let mut site = Site::lay_out(SHOPLESS);
    target(&mut site);
    nginx::put(&site.path("repo/ops/alerts/portal.yaml"), RULES);
    site.start();
    let doubled = "portal.queue.doubled{lane=\"b\",doubled=\"yes\",team=\"portal\"}";
    let before = site.wait("some points are recorded", 60, |site| {
        points(site, doubled).filter(|points| points.len() >= 3)
    });
    site.kill_tower();
    let (killed_at, down_for) = (now(), Duration::from_secs(4));
    site.wait("four seconds pass", 30, |_| (killed_at.elapsed() >= down_for).then_some(()));
    site.start();
    let last = before[before.len() - 1].0;
    let after = site.wait("what was missed is made up for", 60, |site| {
        points(site, doubled).filter(|points| points[points.len() - 1].0 >= last + 8.0)
    });
    assert_eq!(after[..before.len()], before, "what was there before the kill is there as it was");
    for pair in after.windows(2) {
        assert!((pair[1].0 - pair[0].0 - 1.0).abs() < 1e-9, "a gap or a double: {pair:?} in {after:?}");
    }
    for (at, value) in &after {
        assert!(at.fract().abs() < 1e-9, "{at} is no multiple of the interval");
        assert!((value - 14.0).abs() < 1e-9, "{value} at {at}");
    }
    let alerts = "ALERTS{alertname=\"QueueLong\",lane=\"b\",team=\"portal\",alertstate=\"firing\"}";
    let firing = site.wait("the alert is a series, too", 30, |site| points(site, alerts));
    assert!(firing.iter().all(|(_, value)| (value - 1.0).abs() < 1e-9));
    health(&site);
    let said = site.done(&["metric", "cardinality", "--limit", "500"]);
    let has =
        |line: &str| said.lines().any(|found| found.split_whitespace().collect::<Vec<_>>().join(" ") == line);
    assert!(has("portal.queue.doubled 2") && has("lane 2") && has("team=portal 6"), "{said}");
    ends(&mut site);
}

/// Rules and groups with their health, as Prometheus tells them.
fn health(site: &Site) {
    let of = |query: &str| site.api(&format!("/api/v1/rules?{query}")).unwrap()["data"]["groups"].clone();
    let groups = of("type=record");
    assert_eq!(groups.as_array().unwrap().len(), 2, "{groups}");
    let fast = &groups[0];
    assert_eq!((fast["name"].as_str(), fast["interval"].as_f64()), (Some("fast"), Some(1.0)));
    assert_eq!(fast["rules"][0]["name"], "lane:portal_queue:sum");
    assert_eq!(
        (fast["rules"][1]["health"].as_str(), fast["rules"][1]["type"].as_str()),
        (Some("ok"), Some("recording"))
    );
    assert!(fast["lastEvaluation"].as_str().unwrap() > "2020", "{fast}");
    let narrow = &of("rule_group[]=narrow")[0]["rules"][0];
    assert_eq!(
        (narrow["health"].as_str(), narrow["lastError"].as_str()),
        (Some("err"), Some("exceeded limit of 1 with 2 series"))
    );
    assert_eq!(points(site, "too:many"), None, "nothing of it is stored");
    let alert = &of("type=alert")[0]["rules"][0];
    assert_eq!((alert["name"].as_str(), alert["state"].as_str()), (Some("QueueLong"), Some("firing")));
    assert_eq!(alert["alerts"][0]["labels"]["lane"], "b");
    let first = site.api("/api/v1/rules?group_limit=1").unwrap()["data"].clone();
    let next = first["groupNextToken"].as_str().unwrap();
    let second = of(&format!("group_limit=1&group_next_token={next}"));
    assert_ne!(first["groups"][0]["name"], second[0]["name"]);
    let all = site.api("/api/v1/alerts").unwrap();
    assert_eq!(all["data"]["alerts"][0]["labels"]["alertname"], "QueueLong");
}

/// A rule that is no longer declared records no longer.
fn ends(site: &mut Site) {
    nginx::put(&site.path("repo/ops/alerts/portal.yaml"), "groups: [{name: fast, rules: []}]\n");
    site.wait("nothing is recorded any more", 60, |site| {
        let groups = site.api("/api/v1/rules?type=record")?["data"]["groups"].clone();
        groups.as_array()?.is_empty().then_some(())
    });
}
