//! Reading metrics: the query API, dashboards, their points.

use hmsops_model::labels::{Labels, Matcher};
use hmsops_model::sample::Value as Sample;
use hmsops_model::series::{Budget, Found, Selection, SeriesSource, SourceError};
use hmsops_promql::script::Memory;

use super::*;
use crate::families::Family;
use crate::query::{Metrics, Span};

/// Series in memory.
struct Held(Memory);

impl Held {
    fn labels(&self, span: &Span) -> Result<Vec<Labels>, SourceError> {
        let all = [Vec::new()];
        let sets: &[Vec<Matcher>] = if span.matcher_sets.is_empty() { &all } else { &span.matcher_sets };
        let mut found = Vec::new();
        for matchers in sets {
            let hints = hmsops_model::series::Hints { is_labels_only: true, ..Default::default() };
            let selection = Selection { matchers, from: span.from, to: span.to, hints };
            for series in self.0.select(&selection, &Budget::new(1 << 20, 1 << 30))? {
                found.push(series?.labels);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

fn at_most<T>(mut found: Vec<T>, limit: usize) -> Vec<T> {
    if limit > 0 {
        found.truncate(limit);
    }
    found
}

impl SeriesSource for Held {
    fn select<'a>(&'a self, selection: &Selection<'_>, budget: &Budget) -> Result<Found<'a>, SourceError> {
        self.0.select(selection, budget)
    }
}

impl Metrics for Held {
    fn series(&self, span: &Span, limit: usize) -> Result<Vec<Labels>, SourceError> {
        Ok(at_most(self.labels(span)?, limit))
    }

    fn label_names(&self, span: &Span, limit: usize) -> Result<Vec<String>, SourceError> {
        let all = self.labels(span)?;
        let names = all.iter().flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned()));
        let names: std::collections::BTreeSet<String> = names.collect();
        Ok(at_most(names.into_iter().collect(), limit))
    }

    fn label_values(&self, name: &str, span: &Span, limit: usize) -> Result<Vec<String>, SourceError> {
        let all = self.labels(span)?;
        let values = all.iter().filter_map(|labels| labels.get(name).map(str::to_owned));
        let values: std::collections::BTreeSet<String> = values.collect();
        Ok(at_most(values.into_iter().collect(), limit))
    }
}

/// The last ten minutes of uploads of `dmv-photo`, one each second, and two other series.
fn uploads() -> Held {
    let now = Clock::after(None).now().wall.0;
    let mut memory = Memory::default();
    let labels = Labels::new([("__name__", "photo.upload.ok"), ("service", "dmv-photo")]);
    for second in 0..610 {
        let time = now - 600_000 + second * 1000;
        memory.push(&labels, (time, 0, Sample::Float(second as f64))).unwrap();
    }
    for job in ["a", "b"] {
        let labels = Labels::new([("__name__", "up"), ("job", job)]);
        memory.push(&labels, (1_000_000, 0, Sample::Float(1.0))).unwrap();
        memory.push(&labels, (1_060_000, 0, Sample::Float(f64::NAN))).unwrap();
    }
    Held(memory)
}

/// What Prometheus' own clients rely on: status, body and error type of each question.
#[tokio::test]
async fn queries_are_answered_as_prometheus_answers_them() {
    let site = Site::over(false, uploads());
    let vector = |job: &str| json!({"metric": {"__name__": "up", "job": job}, "value": [1000.5, "1"]});
    for (path, data) in [
        (
            "/api/v1/query?query=up&time=1000.5",
            json!({"resultType": "vector", "result": [vector("a"), vector("b")]}),
        ),
        (
            "/api/v1/query?query=1%2B1&time=1970-01-01T00:00:01Z",
            json!({"resultType": "scalar", "result": [1, "2"]}),
        ),
        ("/api/v1/query?query=%22x%22&time=0", json!({"resultType": "string", "result": [0, "x"]})),
        (
            "/api/v1/query?query=up%7Bjob=%22a%22%7D%5B1h%5D&time=2000",
            json!({"resultType": "matrix", "result": [
                {"metric": {"__name__": "up", "job": "a"}, "values": [[1000, "1"], [1060, "NaN"]]},
            ]}),
        ),
        (
            "/api/v1/query_range?query=sum(up)&start=1000&end=1040&step=20s",
            json!({"resultType": "matrix", "result": [
                {"metric": {}, "values": [[1000, "2"], [1020, "2"], [1040, "2"]]},
            ]}),
        ),
        (
            "/api/v1/series?match[]=up&start=1000&end=1001",
            json!([{"__name__": "up", "job": "a"}, {"__name__": "up", "job": "b"}]),
        ),
        ("/api/v1/labels", json!(["__name__", "job", "service"])),
        ("/api/v1/labels?match[]=up", json!(["__name__", "job"])),
        ("/api/v1/label/job/values", json!(["a", "b"])),
        ("/api/v1/label/U__job/values?match[]=up&match[]=photo.upload.ok", json!(["a", "b"])),
        ("/api/v1/metadata", json!({})),
        ("/api/v1/format_query?query=sum+(up)", json!("sum(up)")),
    ] {
        let (status, answer) = site.get(path).await;
        assert_eq!(
            (status, &answer["status"], &answer["data"]),
            (StatusCode::OK, &json!("success"), &data),
            "{path}"
        );
    }
    let (_, limited) = site.get("/api/v1/query?query=up&time=1000&limit=1").await;
    assert_eq!(limited["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(limited["warnings"], json!(["results truncated due to limit"]));
    let (_, limited) = site.get("/api/v1/label/job/values?limit=1").await;
    assert_eq!((&limited["data"], limited["warnings"].is_array()), (&json!(["a"]), true));
    let (_, noted) = site.get("/api/v1/query?query=quantile(2,up)&time=1000").await;
    let said = noted["warnings"][0].as_str().unwrap_or_default();
    assert!(said.starts_with("PromQL warning: quantile value should be between 0 and 1"), "{noted}");
    assert_eq!(site.get("/api/v1/status/buildinfo").await.1["data"]["version"], "3.5.0");
}

#[tokio::test]
async fn wrong_questions_are_refused_in_prometheus_words() {
    let site = Site::over(false, uploads());
    for (path, status, kind, said) in [
        (
            "/api/v1/query",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:1: parse error: no expression found",
        ),
        ("/api/v1/query?query=up%7B", 400, "bad_data", "invalid parameter \"query\": 1:"),
        (
            "/api/v1/query?query=up&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": cannot parse \"x\" to a valid timestamp",
        ),
        ("/api/v1/query?query=up&timeout=x", 400, "bad_data", "invalid parameter \"timeout\""),
        ("/api/v1/query?query=up&limit=-1", 400, "bad_data", "limit must be non-negative"),
        ("/api/v1/query?query=up*on()up&time=1000", 422, "execution", "many-to-many"),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            400,
            "bad_data",
            "end timestamp must not be before start",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=1&step=0",
            400,
            "bad_data",
            "zero or negative query resolution",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=11000&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000",
        ),
        (
            "/api/v1/query_range?query=up%5B1m%5D&start=0&end=1&step=1",
            422,
            "execution",
            "invalid expression type",
        ),
        ("/api/v1/series", 400, "bad_data", "no match[] parameter provided"),
        ("/api/v1/labels?match[]=up%5B5m%5D", 400, "bad_data", "invalid parameter \"match[]\""),
    ] {
        let (found, answer) = site.get(path).await;
        assert_eq!(
            (found.as_u16(), &answer["status"], &answer["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{path}: {answer}"
        );
        assert!(answer["error"].as_str().unwrap().contains(said), "{path}: {answer}");
    }
}

/// Grafana sends long queries by forms.
#[tokio::test]
async fn forms_ask_as_addresses_do() {
    let site = Site::over(false, uploads());
    let long = format!("query=up{}&time=1000", "%20".repeat(40_000));
    for (path, form) in [("/api/v1/query", long.as_str()), ("/api/v1/query?time=1000", "query=up")] {
        let request = bare(Method::POST, path)
            .header("authorization", format!("Bearer {}", site.token))
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let (status, answer) =
            read(site.send(request.body(Body::from(form.to_owned())).unwrap()).await).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 2, "{answer}");
    }
}

#[tokio::test]
async fn what_is_known_of_metrics_is_shown() {
    let site = Site::over(false, uploads());
    let family = Family { kind: "counter".into(), help: "Requests.".into(), unit: String::new() };
    site.context.families.note("requests_total", family);
    site.context.families.note("up", Family::default());
    let (_, answer) = site.get("/api/v1/metadata?metric=requests_total").await;
    assert_eq!(
        answer["data"],
        json!({"requests_total": [{"type": "counter", "help": "Requests.", "unit": ""}]})
    );
    assert_eq!(site.get("/api/v1/metadata?limit=1").await.1["data"].as_object().unwrap().len(), 1);
}

/// Far more samples than any store holds here, handed out as a store does: charged before they are read.
struct Endless;

impl SeriesSource for Endless {
    fn select<'a>(&'a self, _: &Selection<'_>, budget: &Budget) -> Result<Found<'a>, SourceError> {
        for _ in 0..1000 {
            budget.charge(1_000_000, 16_000_000)?;
        }
        Ok(Box::new(std::iter::empty()))
    }
}

impl Metrics for Endless {
    fn series(&self, _: &Span, _: usize) -> Result<Vec<Labels>, SourceError> {
        Err(SourceError::Failed("the disk is gone".into()))
    }

    fn label_names(&self, _: &Span, _: usize) -> Result<Vec<String>, SourceError> {
        Err(SourceError::Busy)
    }

    fn label_values(&self, _: &str, _: &Span, _: usize) -> Result<Vec<String>, SourceError> {
        Err(SourceError::Cancelled)
    }
}

/// A query that would read a thousand million samples is refused, and says what to do.
#[tokio::test]
async fn a_query_that_would_hold_too_much_is_refused() {
    let site = Site::over(false, Endless);
    let (status, answer) = site.get("/api/v1/query?query=up").await;
    assert_eq!((status.as_u16(), &answer["errorType"]), (422, &json!("execution")), "{answer}");
    let said = answer["error"].as_str().unwrap();
    assert!(said.contains("reads more than 536870912 bytes; narrow its matchers or its time"), "{said}");
    for (path, status, kind) in [
        ("/api/v1/series?match[]=up", 422, "execution"),
        ("/api/v1/labels", 503, "unavailable"),
        ("/api/v1/label/x/values", 499, "canceled"),
    ] {
        let (found, answer) = site.get(path).await;
        assert_eq!((found.as_u16(), &answer["errorType"]), (status, &json!(kind)), "{path}: {answer}");
    }
}

fn panel(title: &str, query: &str) -> Value {
    json!({"title": title, "query": query, "panel": "line"})
}

/// The chapter's command: a panel finds the system of the service its metric comes from.
#[tokio::test]
async fn a_panel_finds_its_dashboard() {
    let site = Site::over(false, uploads());
    let asked = panel("Photo Uploads / sec", "sum(rate(photo.upload.ok[5m]))");
    let (status, added) = site.post("/hms/v1/dashes/-/panels", asked.clone()).await;
    assert_eq!(status, 200, "{added}");
    assert_eq!(added, json!({"dash": "dmv", "url": "/dash/dmv", "changed": true, "created": true}));
    let (_, again) = site.post("/hms/v1/dashes/-/panels", asked.clone()).await;
    assert_eq!(again, json!({"dash": "dmv", "url": "/dash/dmv", "changed": false, "created": false}));
    for (query, dash) in [
        ("up", "main"),
        ("1", "main"),
        ("nothing{service=\"csac-portal\"}", "csac"),
        ("up + on() group_left() photo.upload.ok", "dmv"),
    ] {
        let (_, added) = site.post("/hms/v1/dashes/-/panels", panel(query, query)).await;
        assert_eq!(added["dash"], dash, "{query}: {added}");
    }
    let (_, list) = site.get("/hms/v1/dashes?limit=2").await;
    assert_eq!((&list["items"][0]["name"], &list["next"]), (&json!("csac"), &json!("dmv")), "{list}");
    let (_, rest) = site.get("/hms/v1/dashes?cursor=dmv").await;
    assert_eq!((&rest["items"][0]["name"], &rest["next"]), (&json!("main"), &Value::Null));
    let (_, dmv) = site.get("/hms/v1/dashes/dmv").await;
    assert_eq!(dmv["panels"][0], asked);
}

#[tokio::test]
async fn a_dashboard_is_changed_panel_by_panel_and_whole() {
    let site = Site::over(false, uploads()).with_forms().await;
    let path = "/hms/v1/dashes/legacy/panels";
    assert_eq!(site.post(path, panel("A / b", "up")).await.0, 200);
    let (_, replaced) = site.post(path, panel("A / b", "up * 2")).await;
    assert_eq!((&replaced["changed"], &replaced["created"]), (&json!(true), &json!(false)));
    let (_, dash) = site.get("/hms/v1/dashes/legacy").await;
    assert_eq!(dash["panels"], json!([panel("A / b", "up * 2")]));
    assert_eq!(dash["services"], json!(["legacy-forms"]));
    for (body, said) in [
        (panel("x", "sum(up"), "1:7: parse error"),
        (panel("x", "up[5m]"), "range vector"),
        (panel(" ", "up"), "the title is empty"),
        (json!({"title": "x", "query": "up", "panel": "pie"}), "`pie` is no kind of panel"),
    ] {
        let (status, problem) = site.post(path, body).await;
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    let many: Vec<Value> = (0..41).map(|n| panel(&n.to_string(), "up")).collect();
    let put = |panels: Value| site.ask(Method::PUT, "/hms/v1/dashes/legacy", Some(json!({"panels": panels})));
    assert_eq!(put(json!(many)).await.0, 400);
    assert_eq!(put(json!([panel("x", "up"), panel("x", "up")])).await.0, 400);
    assert_eq!(put(json!([panel("x", "up"), panel("y / z", "up")])).await.0, 200);
    let gone = site.ask(Method::DELETE, "/hms/v1/dashes/legacy/panels/y%20%2F%20z", None).await;
    assert_eq!((gone.0, &gone.1["panels"]), (StatusCode::OK, &json!([panel("x", "up")])), "{gone:?}");
    let (status, problem) = site.ask(Method::DELETE, "/hms/v1/dashes/legacy/panels/y", None).await;
    assert_eq!((status, &problem["hint"]), (StatusCode::NOT_FOUND, &json!("it has `x`")));
    assert_eq!(site.ask(Method::DELETE, "/hms/v1/dashes/legacy", None).await.0, 200);
    assert_eq!(site.get("/hms/v1/dashes/legacy").await.0, 404);
    assert_eq!(site.ask(Method::DELETE, "/hms/v1/dashes/legacy", None).await.0, 404);
}

async fn points(body: &mut Body) -> Value {
    loop {
        let (text, data) = event(body).await;
        if text.starts_with("event: points") {
            return data;
        }
    }
}

/// “… and watch the line climb in real-time”: the last minutes at once, then what is new, and panels as they come.
#[tokio::test]
async fn a_stream_has_the_points_of_a_dashboard() {
    let site = Site::over(false, uploads());
    let ask = |path: &str| {
        let request = bare(Method::GET, path).header("authorization", format!("Bearer {}", site.token));
        request.body(Body::empty()).unwrap()
    };
    for (query, panels) in [("Uploads", "photo.upload.ok"), ("Mute", "up"), ("Broken", "up * on() up")] {
        assert_eq!(site.post("/hms/v1/dashes/dmv/panels", panel(query, panels)).await.0, 200);
    }
    let mut body = site.send(ask("/hms/v1/stream?topics=dash:dmv")).await.into_body();
    let first = points(&mut body).await;
    assert_eq!((&first["dash"], &first["reset"]), (&json!("dmv"), &json!(true)));
    let (fed, mute) = (&first["panels"][0], &first["panels"][1]);
    let line = fed["series"][0]["points"].as_array().unwrap();
    assert!(
        (115..=122).contains(&line.len())
            && line.windows(2).all(|p| p[1][0].as_i64() == p[0][0].as_i64().map(|t| t + 5000)),
        "{fed}"
    );
    assert_eq!(fed["series"][0]["name"], "photo.upload.ok");
    assert_eq!((&fed["no_data_since"], &fed["error"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&mute["series"], &mute["no_data_since"], &mute["last"]),
        (&json!([]), &Value::Null, &Value::Null)
    );
    let next = points(&mut body).await;
    assert!(!next["reset"].as_bool().unwrap());
    let newer = next["panels"][0]["series"][0]["points"].as_array().unwrap();
    assert!(newer.last().unwrap()[0].as_i64() > line.last().unwrap()[0].as_i64(), "{next}");
    assert_eq!(newer.last().unwrap()[0].as_i64().unwrap() % 2000, 0, "on whole steps");
    assert_eq!(site.post("/hms/v1/dashes/dmv/panels", panel("New", "1")).await.0, 200);
    let anew = points(&mut body).await;
    assert_eq!((&anew["reset"], &anew["panels"][3]["title"]), (&json!(true), &json!("New")), "{anew}");

    let (status, problem) = read(site.send(ask("/hms/v1/stream?topics=state,weather")).await).await;
    assert_eq!(status, 400, "{problem}");
    let mut both = site.send(ask("/hms/v1/stream?topics=state,dash:nobody")).await.into_body();
    assert!(event(&mut both).await.0.starts_with("event: state"));
    assert_eq!(points(&mut both).await["panels"], json!([]), "a dashboard may come while one waits for it");
}

fn page(site: &Site, path: &str) -> Request<Body> {
    let request = bare(Method::GET, path).header("authorization", format!("Bearer {}", site.token));
    request.header("accept", "text/html").body(Body::empty()).unwrap()
}

/// A dashboard is whole without a script: a sentence, and each panel's latest values in a table.
#[tokio::test]
async fn the_page_of_a_dashboard_is_whole_without_a_script() {
    let site = Site::over(false, uploads()).with_forms().await;
    let (status, empty) = read(site.send(page(&site, "/dash/nobody")).await).await;
    let empty = empty.as_str().unwrap();
    assert_eq!(status, 404);
    for said in [
        "nobody has no panels yet.",
        "hmsops dash add --dash nobody",
        "<div id=\"dash\" data-name=\"nobody\">",
    ] {
        assert!(empty.contains(said), "{said}: {empty}");
    }
    assert_eq!(site.send(page(&site, "/dash/legacy")).await.status(), 200, "a system has a page");
    for (title, query) in [("Uploads", "photo.upload.ok * 0 + 42"), ("<b>", "up"), ("Broken", "up * on() up")]
    {
        assert_eq!(site.post("/hms/v1/dashes/dmv/panels", panel(title, query)).await.0, 200);
    }
    let (status, dmv) = read(site.send(page(&site, "/dash/dmv")).await).await;
    let dmv = dmv.as_str().unwrap();
    assert_eq!(status, 200);
    for said in [
        "“&lt;b&gt;” has no data now",
        ">42</td>",
        "no data now</p>",
        "Uploads: the latest values of photo.upload.ok",
    ] {
        assert!(dmv.contains(said), "{said}: {dmv}");
    }
    assert_eq!(dmv.matches("<h1").count(), 1);
    let body = panel("Uploads", "photo.upload.ok * 0 + 7");
    assert_eq!(site.post("/hms/v1/dashes/legacy-forms/panels", body).await.0, 200);
    let (_, service) = read(site.send(page(&site, "/dash/legacy-forms")).await).await;
    let service = service.as_str().unwrap();
    assert!(service.contains("As declared") && service.contains(">7</td>"), "{service}");
    let (_, index) = read(site.send(page(&site, "/dash")).await).await;
    let index = index.as_str().unwrap();
    assert!(index.contains("There are 2 dashboards.") && index.contains("href=\"/dash/legacy\""), "{index}");
}

/// Where the live parts are built, pages name them and may run them; the public page never does.
#[tokio::test]
async fn pages_run_the_live_parts_where_they_are_built() {
    let site = Site::new(false);
    let built = crate::page::asset("live.js").is_some();
    for (path, live) in [("/", "data-live=\"state\""), ("/dash/dmv", "data-live=\"clock\"")] {
        let response = site.send(page(&site, path)).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let text = read(response).await.1;
        let text = text.as_str().unwrap();
        let script = "<script defer src=\"/assets/live.js?v=";
        assert_eq!((text.contains(script), text.contains(live)), (built, built), "{path}");
        assert_eq!(
            policy.contains("script-src 'self'") && policy.contains("connect-src 'self'"),
            built,
            "{path}"
        );
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    }
    for path in ["/status", "/login", "/?still", "/dash/dmv?still"] {
        let response = site.send(page(&site, path)).await;
        assert!(
            !response.headers()["content-security-policy"].to_str().unwrap().contains("script-src"),
            "{path}"
        );
        assert!(!read(response).await.1.as_str().unwrap().contains("<script"), "{path}");
    }
    let script = site.send(page(&site, "/assets/live.js?v=1")).await;
    assert_eq!(script.status(), if built { 200 } else { 404 });
    let sheet = site.send(page(&site, "/assets/tower.css")).await;
    let tag = sheet.headers()["etag"].clone();
    let again =
        bare(Method::GET, "/assets/tower.css").header("if-none-match", tag).body(Body::empty()).unwrap();
    let again = site.send(again).await;
    assert_eq!(again.status(), 304);
    assert!(again.into_body().collect().await.unwrap().to_bytes().is_empty());
}
