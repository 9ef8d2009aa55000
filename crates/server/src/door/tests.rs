//! The doors with a real tower behind them, on a data folder of their own.

use std::collections::BTreeMap;
use std::path::Path;

use axum::body::Body;
use hmsops_disk::{Disk, RealDisk, Spill, SpillThread};
use hmsops_ledger::{FileLedger, FileSideLog};
use hmsops_tower::Tower;
use http::header::{COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::*;

use crate::hands::{Queues, spill::LocalSpill};

mod forms;
mod haproxy;
mod metrics;
mod people;
mod probes;
mod signal;
mod tokens;
mod web;

struct Site {
    router: axum::Router,
    context: Context,
    token: String,
    dir: tempfile::TempDir,
    /// What the tower wants done; nobody does it here.
    _orders: mpsc::Receiver<hmsops_control::Effect>,
}

impl Site {
    fn new(no_auth: bool) -> Self {
        Self::over(no_auth, crate::query::Nothing)
    }

    /// With these metrics.
    fn over(no_auth: bool, source: impl crate::query::Metrics + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(&data).unwrap());
        let (ledger, recovered) = FileLedger::open(disk.clone(), "ledger", "tower").unwrap();
        let reader = ledger.reader();
        let spill = SpillThread::start(Spill::open(&disk, "spill", 1 << 16).unwrap()).unwrap();
        let side = FileSideLog::open(disk.clone(), "evidence").unwrap();
        let tower = Tower::recover(Box::new(ledger), &recovered, Box::new(LocalSpill(spill)), Box::new(side))
            .unwrap();
        let (process, orders) = mpsc::channel(64);
        let (acks, _) = mpsc::channel(1);
        let clock = Clock::after(None);
        let hands = Queues {
            gateways: BTreeMap::new(),
            process,
            heals: mpsc::channel(1).0,
            notices: mpsc::channel(1).0,
        };
        let engine = crate::engine::start(tower, clock, hands, acks).unwrap();
        let config = hmsops_config::TowerConfig::default();
        let metrics = crate::collect::Metrics::open(disk.clone(), &config, clock).unwrap();
        let accounts = disk.clone();
        let auth = Arc::new(Auth::open(disk, no_auth).unwrap());
        let reception = Arc::new(Reception::open(accounts, None, BTreeMap::new()).unwrap());
        let token = folder::admin_token(&data).unwrap();
        let queries = Queries::new(Arc::new(source));
        let families = Arc::default();
        let recall = Recall::new(data.clone(), reader.clone());
        let scraper = crate::collect::Scraper::start(metrics.clone(), engine.clone(), data.clone());
        let setting =
            crate::evaluate::record::RecordSetting { interval: 15_000, query_offset: 0, backfill: 0 };
        let recorder = crate::evaluate::record::Recorder::new(metrics.clone(), clock, setting);
        let context = Context {
            scraper,
            recorder,
            engine,
            auth,
            reception,
            ledger: reader,
            data,
            settings: None,
            clock,
            metrics,
            title: None,
            queries,
            families,
            recall,
            notify: Arc::default(),
            gateways: Arc::default(),
            transport: None,
            troubles: tokio::sync::watch::channel(BTreeMap::new()).1,
        };
        Self { router: router(context.clone()), context, token, dir, _orders: orders }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// As the admin, by token.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token));
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        read(self.send(request.header("content-type", "application/json").body(body).unwrap()).await).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// An external service with 1.7.3 as its first stable.
    async fn with_forms(self) -> Self {
        let (status, answer) = self.post("/hms/v1/apply", file("services.yaml", FORMS)).await;
        assert_eq!(status, 200, "{answer}");
        let adopted = json!({"version": "1.7.3", "upstreams": ["127.0.0.1:1"]});
        let (status, answer) = self.post("/hms/v1/services/legacy-forms/adopt", adopted).await;
        assert_eq!((status, &answer["stable"]["version"]), (StatusCode::OK, &json!("1.7.3")), "{answer}");
        self
    }
}

const FORMS: &str = "services:\n  legacy-forms:\n    driver: external\n    upstreams: {\"1.7.3\": [\"127.0.0.1:1\"], \"1.8.0\": [\"127.0.0.1:2\"]}\n";

const CANARY: &str = "service: legacy-forms\nimage: legacy-forms:1.8.0\nstrategy:\n  type: canary\n  steps:\n    - weight: 1\n    - weight: 100\nhealthChecks:\n  - path: /health\n    threshold: 3 fails/60 s\n";

fn file(name: &str, text: &str) -> Value {
    json!({"files": [{"name": name, "text": text}]})
}

async fn read(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
}

fn bare(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// The path of a route with something in the place of each of its parameters.
fn filled(template: &str) -> String {
    let pieces = template.split(['{', '}']).enumerate();
    pieces
        .map(|(at, piece)| match (at % 2, piece) {
            (0, piece) => piece,
            (_, "id") => "r-1",
            (_, _) => "x",
        })
        .collect()
}

/// Invariant 9: every door has a lock. A route that is added to the table is held to this by itself.
#[tokio::test]
async fn without_a_token_only_the_open_doors_answer() {
    let site = Site::new(false);
    let open = ["/-/healthy", "/-/ready", "/-/ca.crt", "/metrics", "/status", "/assets/", "/login"];
    for route in table().all() {
        let path = filled(route.path);
        let response = site.send(bare(route.method.clone(), &path).body(Body::empty()).unwrap()).await;
        assert!(response.headers().contains_key("content-security-policy"), "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        // Who shows again who they are has shown it before.
        let is_open = open.iter().any(|start| path.starts_with(start)) && !path.starts_with("/login/again");
        assert_eq!(route.access == Access::Open, is_open, "{path} is open to everyone");
        if is_open {
            assert!(path.starts_with("/login/") || response.status() != 401, "{path}");
        } else {
            assert_eq!(response.status(), 401, "{path}");
            assert!(response.headers().contains_key(WWW_AUTHENTICATE), "{path}");
            let problem = read(response).await.1;
            assert_eq!(
                (&problem["type"], &problem["instance"]),
                (&json!("/problems/unauthenticated"), &json!("/"))
            );
        }
    }
    for path in ["/nothing", "/hms/v1/nothing", "/hms/v1/services/a/b/c"] {
        let response = site.send(bare(Method::GET, path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 401, "{path}: who isn't known does not learn what there is");
    }
}

#[tokio::test]
async fn a_wrong_token_is_told_from_a_mistyped_one() {
    let site = Site::new(false);
    let other = token::admin([1; 32]);
    for (given, said) in [
        (format!("Bearer {other}"), "not known"),
        (format!("Bearer {}", &site.token[1..]), "mistyped"),
        (site.token.clone(), "not `Bearer TOKEN`"),
    ] {
        let request = bare(Method::GET, "/hms/v1/services").header("authorization", given);
        let (status, problem) = read(site.send(request.body(Body::empty()).unwrap()).await).await;
        assert_eq!(status, 401);
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
        assert!(!problem.to_string().contains(&site.token));
    }
    assert_eq!(site.get("/hms/v1/services").await, (StatusCode::OK, json!({"services": []})));
    assert_eq!(site.get("/nothing").await.0, 404);
    assert_eq!(site.post("/hms/v1/services", json!({})).await.0, 405);
}

#[tokio::test]
async fn a_browser_logs_in_once_by_its_link_and_acts_from_our_pages_only() {
    let site = Site::new(false);
    let link = site.context.auth.login_link(site.context.clock.now());
    let head = site.send(bare(Method::HEAD, &link).body(Body::empty()).unwrap()).await;
    assert_eq!(head.status(), 200, "a look ahead uses nothing up");
    let response = site.send(bare(Method::GET, &link).body(Body::empty()).unwrap()).await;
    assert_eq!(
        (response.status(), response.headers()[LOCATION].to_str().unwrap()),
        (StatusCode::SEE_OTHER, "/")
    );
    let set = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let session = set.split(';').next().unwrap().to_owned();
    let again =
        site.send(bare(Method::GET, &link).header("accept", "text/html").body(Body::empty()).unwrap()).await;
    assert_eq!(again.status(), 401, "used up");
    assert!(again.headers()["content-type"].to_str().unwrap().starts_with("text/html"));

    let with = |method: Method, path: &str| {
        bare(method, path).header(COOKIE, &session).header(HOST, "localhost:3000")
    };
    assert_eq!(site.send(with(Method::GET, "/").body(Body::empty()).unwrap()).await.status(), 200);
    for (name, value, allowed) in [
        ("sec-fetch-site", "same-origin", true),
        ("sec-fetch-site", "cross-site", false),
        ("sec-fetch-site", "same-site", false),
        (ORIGIN.as_str(), "http://localhost:3000", true),
        (ORIGIN.as_str(), "http://evil.example", false),
        (ORIGIN.as_str(), "null", false),
        ("x-nothing", "x", false),
    ] {
        let request =
            with(Method::POST, "/hms/v1/login-links").header(name, value).body(Body::empty()).unwrap();
        // A log-in by a link makes no link: it would prolong itself without end.
        let expected = if allowed { 409 } else { 403 };
        assert_eq!(site.send(request).await.status(), expected, "{name}: {value}");
    }
    let out =
        with(Method::POST, "/logout").header("sec-fetch-site", "same-origin").body(Body::empty()).unwrap();
    assert_eq!(site.send(out).await.status(), 303);
    assert_eq!(site.send(with(Method::GET, "/").body(Body::empty()).unwrap()).await.status(), 401);
}

#[tokio::test]
async fn without_auth_foreign_pages_are_refused_all_the_same() {
    let site = Site::new(true);
    let get =
        |host: &str| bare(Method::GET, "/hms/v1/services").header(HOST, host).body(Body::empty()).unwrap();
    for (host, status) in
        [("127.0.0.1:3000", 200), ("localhost:3000", 200), ("[::1]:3000", 200), ("evil.example", 403)]
    {
        assert_eq!(site.send(get(host)).await.status(), status, "{host}");
    }
    let post = bare(Method::POST, "/hms/v1/login-links").header(HOST, "localhost:3000");
    assert_eq!(
        site.send(post.header(ORIGIN, "http://evil.example").body(Body::empty()).unwrap()).await.status(),
        403
    );
    let post = bare(Method::POST, "/hms/v1/login-links").header(HOST, "localhost:3000");
    assert_eq!(site.send(post.body(Body::empty()).unwrap()).await.status(), 201);
}

#[tokio::test]
async fn wrong_requests_say_what_is_wrong_and_change_nothing() {
    let site = Site::new(false);
    let deploy = |text: &str| json!({"name": "c.yaml", "text": text});
    let broken = CANARY.replace("weight: 1\n", "weight: 101\n").replace("/60 s", "/0 s");
    let large = "x".repeat(api_body_max() + 1);
    for (path, body, status, said) in [
        ("/hms/v1/releases/r-9/pause", json!({}), 404, "no release r-9"),
        ("/hms/v1/releases/9/pause", json!({}), 400, "not a release id"),
        ("/hms/v1/releases/r-9/pause", json!({"why": "x"}), 400, "unknown field `why`"),
        ("/hms/v1/releases/r-9/pause", json!({"reason": "x".repeat(501)}), 400, "501 characters"),
        ("/hms/v1/deploy", deploy(&broken), 422, "2 mistakes"),
        ("/hms/v1/deploy", deploy(CANARY), 404, "no service `legacy-forms`"),
        ("/hms/v1/deploy", deploy(FORMS), 400, "no release"),
        ("/hms/v1/apply", file("canary.yaml", CANARY), 400, "is a release"),
        ("/hms/v1/apply", json!({"files": []}), 400, "0 files"),
        ("/hms/v1/apply", json!(large), 413, "1048576 bytes"),
        ("/hms/v1/services/A/rollback", json!({"to": "prev"}), 400, "not a service name"),
        ("/hms/v1/services/x/rollback", json!({"to": "prev"}), 404, "no service `x`"),
        (
            "/hms/v1/services/x/adopt",
            json!({"version": "1", "upstreams": ["nowhere"]}),
            400,
            "not an address",
        ),
    ] {
        let (found, problem) = site.post(path, body).await;
        assert_eq!(found, status, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{path}: {problem}");
        assert_eq!(problem["status"], status);
    }
    for path in [
        "/hms/v1/releases?limit=x",
        "/hms/v1/releases?sort=x",
        "/hms/v1/audit?from=yesterday",
        "/hms/v1/releases?cursor=1",
    ] {
        assert_eq!(site.get(path).await.0, 400, "{path}");
    }
    let (_, problem) = site.post("/hms/v1/deploy", deploy(&broken)).await;
    let mistakes = problem["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 2, "{problem}");
    assert_eq!((&mistakes[0]["file"], &mistakes[0]["line"]), (&json!("c.yaml"), &json!(6)));
    assert!(site.context.engine.snapshot().state.services.is_empty());
}

fn api_body_max() -> usize {
    hmsops_wire::api::BODY_BYTES_MAX
}

#[tokio::test]
async fn a_dry_run_says_what_a_release_would_mean_and_begins_nothing() {
    let site = Site::new(false).with_forms().await;
    let (_, same) = site.post("/hms/v1/apply", file("services.yaml", FORMS)).await;
    assert_eq!((&same["changes"][0]["change"], &same["in_force"]), (&json!("same"), &json!(true)));
    let asked = json!({"name": "c.yaml", "text": CANARY});
    let mut dry = asked.clone();
    dry["dry_run"] = json!(true);
    let (status, plan) = site.post("/hms/v1/deploy", dry).await;
    assert_eq!(status, 200, "{plan}");
    let lines: Vec<&str> =
        plan["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "legacy-forms  1.7.3 (stable) → 1.8.0",
            "run    elsewhere: 127.0.0.1:2",
            "steps  1 % 5 min → 100 %; 1.7.3 stays warm 30 min",
            "1 % × 5 min: no traffic seen yet",
            "tells  nobody: no notification receiver is configured",
        ]
    );
    let owned = FORMS.replace("    driver", "    owner: oncall@csac.gov\n    driver");
    site.post("/hms/v1/apply", file("services.yaml", &owned)).await;
    let mut dry = asked;
    dry["dry_run"] = json!(true);
    let (_, plan) = site.post("/hms/v1/deploy", dry).await;
    assert_eq!(plan["tells"], "oncall@csac.gov: mail NOT CONFIGURED");
    assert!(site.context.engine.snapshot().state.releases.is_empty(), "a dry run begins nothing");
}

/// The names that scripts rely on, and a person's way back.
#[tokio::test]
async fn a_release_goes_out_and_is_taken_back_through_the_doors() {
    let site = Site::new(false).with_forms().await;
    let asked = json!({"name": "c.yaml", "text": CANARY});
    let (status, release) = site.post("/hms/v1/deploy", asked.clone()).await;
    assert_eq!(
        (status, &release["id"], &release["phase"]),
        (StatusCode::CREATED, &json!("r-1"), &json!("starting"))
    );
    for name in [
        "id",
        "service",
        "version",
        "from",
        "phase",
        "step",
        "steps",
        "weight_bp",
        "hold",
        "headline",
        "why",
        "requested_at",
        "traffic_since",
        "ended_at",
        "rolled_back_at",
        "closed",
        "first_bad_at",
        "last_bad_at",
        "bad_span_ms",
        "evidence",
        "needed",
        "canary",
        "stable",
        "shielded",
        "seen",
        "probes",
        "probes_failed",
        "by",
        "digest",
        "denied",
    ] {
        assert!(release.get(name).is_some(), "{name} is missing in {release}");
    }
    assert_eq!(
        release["steps"],
        json!([{"weight_bp": 100, "hold_ms": 300_000}, {"weight_bp": 10_000, "hold_ms": 300_000}])
    );
    assert_eq!(release["by"], json!({"actor": "admin", "source": "api"}));
    let (status, refused) = site.post("/hms/v1/releases/r-1/pause", json!({})).await;
    assert_eq!((status, &refused["type"]), (StatusCode::CONFLICT, &json!("/problems/conflict")), "{refused}");
    let (status, aborted) = site.post("/hms/v1/releases/r-1/abort", json!({"reason": "wrong build"})).await;
    assert_eq!((status, &aborted["phase"]), (StatusCode::OK, &json!("aborted")), "{aborted}");
    assert_eq!(aborted["why"], "Taken back by a person: wrong build.");
    let (_, why) = site.get("/hms/v1/releases/r-1/why").await;
    assert_eq!(why["why"], aborted["why"]);
    let (_, list) = site.get("/hms/v1/releases?service=legacy-forms&limit=1").await;
    assert_eq!((&list["releases"][0]["id"], &list["next"]), (&json!("r-1"), &Value::Null));
    let (_, shown) = site.get("/hms/v1/releases/r-1?evidence=1").await;
    assert!(shown["points"].is_array(), "{shown}");
}

/// Issue: “a version folder missing: said in one line, and stable untouched”.
#[tokio::test]
async fn a_missing_version_folder_is_named_with_those_there_are() {
    let site = Site::new(false);
    let images = site.dir.path().join("portal");
    std::fs::create_dir_all(images.join("1.7.3")).unwrap();
    let services = format!(
        "services:\n  portal:\n    driver: process\n    image: {{dir: \"{}/{{tag}}\"}}\n    run: [\"./portal\"]\n",
        images.display()
    );
    assert_eq!(site.post("/hms/v1/apply", file("services.yaml", &services)).await.0, 200);
    let text = CANARY.replace("legacy-forms", "portal");
    let (status, problem) =
        site.post("/hms/v1/deploy", json!({"name": "c.yaml", "text": text, "first": true})).await;
    assert_eq!(status, 404, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("1.8.0` is missing; there is 1.7.3"), "{detail}");
    assert!(site.context.engine.snapshot().state.releases.is_empty());
    let asked = json!({"name": "c.yaml", "text": text, "first": true, "image": "1.7.3"});
    let (status, release) = site.post("/hms/v1/deploy", asked).await;
    assert_eq!(status, 201, "{release}");
    assert!(release["digest"].as_str().unwrap().starts_with("sha256:"), "{release}");
}

/// One owner per object: the file wins.
#[tokio::test]
async fn what_a_repo_declares_is_not_changed_by_hand() {
    let site = Site::new(false);
    let specs = hmsops_config::parse_services(FORMS).value.unwrap();
    let by = hmsops_control::Who { actor: "dev/cd/services.yaml".into(), source: "repo".into() };
    site.context.engine.submit(hmsops_control::Event::Declared { specs, whole: false, by }).await.unwrap();
    let (status, problem) = site.post("/hms/v1/apply", file("mine.yaml", FORMS)).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("`dev/cd/services.yaml`"), "{problem}");
}

#[tokio::test]
async fn the_ledger_is_read_filtered_and_verified() {
    let site = Site::new(false).with_forms().await;
    let (_, all) = site.get("/hms/v1/audit").await;
    let n = all["entries"].as_array().unwrap().len();
    assert!(n >= 3 && all["next"] == Value::Null, "{all}");
    let (_, first) = site.get("/hms/v1/audit?limit=1").await;
    assert_eq!(first["entries"][0], all["entries"][0], "newest first");
    let (_, second) =
        site.get(&format!("/hms/v1/audit?limit=1&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!(second["entries"][0], all["entries"][1]);
    let (_, declared) = site
        .get("/hms/v1/audit?kind=service.declared&actor=admin&service=legacy-forms&control=CM-3&from=-1h")
        .await;
    assert_eq!(declared["entries"].as_array().unwrap().len(), 1, "{declared}");
    assert_eq!(site.get("/hms/v1/audit?actor=nobody").await.1["entries"], json!([]));
    let (status, verified) = site.get("/hms/v1/audit/verify").await;
    assert_eq!((status, &verified["whole"]), (StatusCode::OK, &json!(true)), "{verified}");
    assert_eq!(verified["entries"], n);
    assert_eq!(
        folder::verify(Path::new("no-such-folder")).unwrap_err(),
        "there is no folder `no-such-folder`"
    );
}

#[tokio::test]
async fn the_stream_tells_all_and_then_what_changes() {
    let site = Site::new(false).with_forms().await;
    let authorized =
        |path: &str| bare(Method::GET, path).header("authorization", format!("Bearer {}", site.token));
    let response = site.send(authorized("/hms/v1/stream").body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let first = event(&mut body).await;
    assert!(first.0.contains("event: state\nid: "), "{}", first.0);
    assert_eq!(first.1["services"][0]["name"], "legacy-forms");
    assert_eq!(first.1["alerts"], json!([]), "all that are active, and that is none");
    let (status, _) = site.post("/hms/v1/deploy", json!({"name": "c.yaml", "text": CANARY})).await;
    assert_eq!(status, 201);
    let next = event(&mut body).await.1;
    assert_eq!(next["releases"][0]["id"], "r-1", "{next}");
    assert!(next["generation"].as_u64() > first.1["generation"].as_u64());
}

async fn event(body: &mut Body) -> (String, Value) {
    loop {
        let frame =
            tokio::time::timeout(Duration::from_secs(10), body.frame()).await.unwrap().unwrap().unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        if let Some((_, data)) = text.split_once("data: ") {
            return (text.clone(), serde_json::from_str(data.trim()).unwrap());
        }
    }
}

#[tokio::test]
async fn the_document_names_every_door_for_programs_with_its_scope() {
    let site = Site::new(false);
    let (_, document) = site.get("/hms/v1/openapi.json").await;
    let mut n = 0;
    for route in table().all().iter().filter(|route| route.path.starts_with("/hms/v1/")) {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        let Access::Needs(scope) = route.access else { panic!("{} is open", route.path) };
        assert_eq!(operation["security"][0]["token"][0], scope.name(), "{}", route.path);
        let has_body = matches!(route.method, Method::POST | Method::PUT);
        assert_eq!(operation.get("requestBody").is_some(), has_body, "{}", route.path);
        n += 1;
    }
    let page = include_str!("../../../../docs/reference/api.md");
    for route in table().all().iter().filter(|route| route.path.starts_with("/hms/v1/")) {
        let Access::Needs(scope) = route.access else { continue };
        let row = format!("| `{} {}` | `{}` |", route.method, route.path, scope.name());
        assert!(page.contains(&row), "docs/reference/api.md does not say: {row}");
    }
    assert!(n > 15 && document["paths"].as_object().unwrap().len() < table().all().len());
    assert_eq!(Scope::ALL.len(), 33, "the list of scopes is closed");
}

#[tokio::test]
async fn monitors_read_the_towers_own_metrics() {
    let site = Site::new(false).with_forms().await;
    let (_, text) = read(site.send(bare(Method::GET, "/metrics").body(Body::empty()).unwrap()).await).await;
    let text = text.as_str().unwrap();
    for line in [
        "# TYPE hmsops_ledger_entries_total counter",
        "hmsops_ledger_failing 0",
        "hmsops_http_answers_total{status=\"2xx\"} 2",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}
