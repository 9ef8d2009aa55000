//! Targets over real sockets: what they answer, and what becomes of it.

mod asked;

use std::net::SocketAddr;
use std::time::Duration;

use hmsops_model::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::target::Scrape;
use hmsops_model::scrape::Discovery;

use super::*;
use crate::collect::tests::Site;

const TEXT: &str = "content-type: text/plain; version=0.0.4\r\n";

/// A target that gives one answer after the other, the last one again and again. Answers are whole, or none.
async fn target(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for round in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 2048];
            let n = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..n]).to_lowercase();
            assert!(head.starts_with("get /metrics http/1.1\r\n"), "{head}");
            assert!(head.contains("accept: application/openmetrics-text;version=1.0.0"), "{head}");
            let answer = answers.get(round).or(answers.last()).unwrap();
            let _gone = stream.write_all(answer.as_bytes()).await;
        }
    });
    at
}

fn page(media: &str, text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{media}content-length: {}\r\n\r\n{text}", text.len())
}

fn spec(at: SocketAddr, interval: Millis) -> ScrapeSpec {
    let labels = BTreeMap::from([("service".to_owned(), "dmv".to_owned())]);
    ScrapeSpec {
        targets: vec![Target { address: at.to_string(), labels }],
        interval,
        timeout: interval,
        ..own_job("node")
    }
}

/// The plans of a job.
fn plans(spec: &ScrapeSpec) -> Vec<Plan> {
    let job = Arc::new(Job::new(spec.clone(), Arc::default()));
    let fates = job.declared().map(|found| match job.fate(&found) {
        Fate::Asked(plan) => *plan,
        other => panic!("{other:?}"),
    });
    fates.collect()
}

fn scrape(site: &Site, spec: &ScrapeSpec) -> Scrape {
    Scrape::new(plans(spec).remove(0), site.metrics.clone(), Board::default())
}

/// A time and a value; `None` is a mark that the series is gone.
type At = (i64, Option<f64>);

/// Samples of the one series of a name.
fn samples(site: &Site, name: &str) -> Vec<At> {
    let found = site.series(name);
    assert!(found.len() < 2, "{found:?}");
    let Some(series) = found.first() else { return Vec::new() };
    let value = |at| match series.samples.value(at) {
        value if value.is_stale() => None,
        Value::Float(value) => Some(value),
        other => panic!("{other:?}"),
    };
    series.samples.times().iter().enumerate().map(|(at, time)| (*time, value(at))).collect()
}

#[tokio::test]
async fn a_page_is_stored_with_the_targets_labels_and_what_goes_is_marked() {
    let site = Site::new().await;
    let answers = vec![
        page(TEXT, "a{service=\"own\"} 1\nb 2\n"),
        page(TEXT, "a{service=\"own\"} 3\n"),
        "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".into(),
        page("", "a{service=\"own\"} 4\n"),
    ];
    let at = target(answers).await;
    let (mut scrape, now) = (scrape(&site, &spec(at, Millis(5000))), site.now());
    for round in 0..4 {
        scrape.ask(now - 4000 + round * 1000).await;
    }
    let time = |round: i64| now - 4000 + round * 1000;
    let labels = site.series("a")[0].labels.to_string();
    assert_eq!(
        labels,
        format!("a{{exported_service=\"own\", instance=\"{at}\", job=\"node\", service=\"dmv\"}}")
    );
    assert_eq!(
        samples(&site, "a"),
        [(time(0), Some(1.0)), (time(1), Some(3.0)), (time(2), None), (time(3), Some(4.0))]
    );
    assert_eq!(samples(&site, "b"), [(time(0), Some(2.0)), (time(1), None)]);
    let up = samples(&site, "up").into_iter().map(|(_, value)| value.unwrap()).collect::<Vec<_>>();
    assert_eq!(up, [1.0, 1.0, 0.0, 1.0]);
    let scraped = samples(&site, "scrape_samples_scraped").into_iter().map(|(_, value)| value.unwrap());
    assert_eq!(scraped.collect::<Vec<_>>(), [2.0, 1.0, 0.0, 1.0]);
    assert_eq!(samples(&site, "scrape_duration_seconds").len(), 4);
    scrape.end().await;
    assert_eq!(samples(&site, "a").last().unwrap().1, None);
    assert_eq!(samples(&site, "up").last().unwrap().1, None);
}

#[tokio::test]
async fn openmetrics_brings_its_counters_beginnings_and_its_own_times() {
    let site = Site::new().await;
    let now = site.now();
    let (created, own) = (now / 1000 - 60, now / 1000 - 1);
    let text =
        format!("# TYPE r counter\nr_total 5\nr_created {created}\n# TYPE g gauge\ng 1 {own}\n# EOF\n");
    let media = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    let at = target(vec![page(media, &text)]).await;
    let mut scrape = scrape(&site, &spec(at, Millis(5000)));
    scrape.ask(now).await;
    assert_eq!(site.series("r_total")[0].samples.start(0), created * 1000);
    assert_eq!(samples(&site, "g"), [(own * 1000, Some(1.0))]);
    assert_eq!(site.series("r_created"), []);
}

/// Whatever a target answers is one failed scrape, with its reason, and nothing else.
#[tokio::test]
async fn a_target_that_is_wrong_is_down_and_says_why() {
    let site = Site::new().await;
    let long = format!("{TEXT}content-length: 17000000\r\n");
    for (answer, why) in [
        (page(TEXT, "a 1\n\u{0}{{{ garbage"), "the page can't be read at line 2"),
        (page("content-type: text/html\r\n", "<p>"), "`text/html`"),
        (page("content-type: application/openmetrics-text; version=1.0.0\r\n", "a 1\n"), "can't be read"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n".into(),
            "redirects are not followed",
        ),
        ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".into(), "answered 503"),
        ("SSH-2.0-OpenSSH_9.6\r\n".into(), "not HTTP"),
        (format!("HTTP/1.1 200 OK\r\n{TEXT}content-length: 10\r\n\r\na 1\n"), "before its answer was whole"),
        (format!("HTTP/1.1 200 OK\r\n{long}\r\n{}", "# x\n".repeat(17 << 18)), "more than 16 MiB"),
        (page("content-encoding: gzip\r\n", "x"), "packed"),
        (page(TEXT, &format!("a{{b=\"{}\"}} 1\n", "x".repeat(1 << 20))), "`b` is longer than 4096 bytes"),
        (page(TEXT, &"a{b=\"c\"} 1\n".repeat(6)), "5"),
    ] {
        let at = target(vec![answer]).await;
        let limits = ScrapeLimits { samples: Some(5), ..ScrapeLimits::default() };
        let client = HttpClient { follow_redirects: false, ..HttpClient::default() };
        let limited = ScrapeSpec { limits, client, ..spec(at, Millis(5000)) };
        let mut scrape = scrape(&site, &limited);
        scrape.ask(site.now()).await;
        let health = scrape.health();
        let error = health.error.unwrap();
        assert!(health.up == Some(false) && error.contains(why), "expected {why}: {error}");
        assert!(error.len() < 300, "{error}");
    }
    assert_eq!(site.series("a"), []);
    // Nobody listens, and nobody answers.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut refused = scrape(&site, &spec(gone, Millis(5000)));
    refused.ask(site.now()).await;
    assert_eq!(refused.health().error.as_deref(), Some("connection refused"));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut slow = scrape(&site, &spec(silent.local_addr().unwrap(), Millis(100)));
    slow.ask(site.now()).await;
    assert_eq!(slow.health().error.as_deref(), Some("no whole answer within 100 ms"));
}

/// A series with too many labels, or one that is there twice, costs that sample and not the page.
#[tokio::test]
async fn a_sample_that_cannot_be_stored_leaves_the_rest_of_its_page() {
    let site = Site::new().await;
    let many: Vec<String> = (0..100).map(|n| format!("l{n}=\"x\"")).collect();
    let text = format!("good 1\nmany{{{}}} 1\ntwice 1\ntwice 2\nnan NaN\n", many.join(","));
    let at = target(vec![page(TEXT, &text)]).await;
    let mut scrape = scrape(&site, &spec(at, Millis(5000)));
    scrape.ask(site.now()).await;
    assert_eq!(
        [samples(&site, "good").len(), samples(&site, "twice").len(), samples(&site, "nan").len()],
        [1; 3]
    );
    assert_eq!(site.series("many"), []);
    assert_eq!(samples(&site, "up")[0].1, Some(1.0));
    let refused = site.metrics.stats().await.refused;
    assert_eq!((refused.bad_labels, refused.conflicting), (1, 1));
}

/// The whole of it: targets are set, asked again and again, and marked when they are taken away.
#[tokio::test]
async fn declared_targets_are_asked_until_they_are_taken_away() {
    let site = Site::new().await;
    let at = target(vec![page(TEXT, "a 1\n")]).await;
    let scraper = Scraper::start(site.metrics.clone(), site.engine.clone(), PathBuf::new());
    scraper.set(vec![spec(at, Millis(100))]);
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let mut until = async |wanted: &dyn Fn(&[At]) -> bool| {
        let waiting = async {
            loop {
                look.tick().await;
                let found = samples(&site, "a");
                if wanted(&found) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap()
    };
    until(&|found| found.len() > 3).await;
    let targets = scraper.targets();
    assert_eq!((targets.len(), targets[0].up, targets[0].samples), (1, Some(true), 1));
    assert_eq!(targets[0].url, format!("http://{at}/metrics"));
    scraper.set(Vec::new());
    until(&|found| found.last().is_some_and(|(_, value)| value.is_none())).await;
    assert_eq!(scraper.targets(), []);
}

/// Files of targets hold at once when they change, and rules choose among them.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "files that others write")]
async fn targets_of_files_come_and_go() {
    let site = Site::new().await;
    let at = target(vec![page(TEXT, "a 1\n")]).await;
    let file = site.dir.path().join("targets.json");
    let write = |text: &str| {
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    let both = format!(
        "[{{\"targets\": [\"{at}\", \"h:1\"], \"labels\": {{\"rack\": \"b7\", \"__allow_private__\": \"0.0.0.0/0\"}}}}]"
    );
    write(&both);
    let files = vec![file.display().to_string()];
    let drop = hmsops_model::Relabel {
        source_labels: vec!["__address__".into()],
        regex: "h:.*".into(),
        action: hmsops_model::RelabelAction::Drop,
        ..hmsops_model::Relabel::default()
    };
    let spec = ScrapeSpec {
        discoveries: vec![Discovery::File { files, refresh: Millis(20) }],
        relabel: vec![drop],
        interval: Millis(100),
        timeout: Millis(100),
        ..own_job("files")
    };
    let scraper = Scraper::start(site.metrics.clone(), site.engine.clone(), PathBuf::new());
    scraper.set(vec![spec]);
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let mut until = async |wanted: &dyn Fn() -> bool| {
        let waiting = async {
            while !wanted() {
                look.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    };
    until(&|| scraper.targets().first().is_some_and(|target| target.up == Some(true))).await;
    let targets = scraper.targets();
    assert_eq!((targets.len(), targets[0].labels["rack"].as_str()), (1, "b7"));
    assert!(!targets[0].discovered.contains_key("__allow_private__"), "only the scrape file says that");
    let pool = scraper.pools().remove(0);
    assert_eq!((pool.job.as_str(), pool.dropped_count, pool.errors.len()), ("files", 1, 0));
    write("broken");
    until(&|| scraper.pools()[0].errors.len() == 1).await;
    assert_eq!(scraper.targets().len(), 1, "what was seen before stays");
    write("[]");
    until(&|| scraper.targets().is_empty()).await;
    assert_eq!(scraper.pools()[0].errors, Vec::<String>::new());
}
