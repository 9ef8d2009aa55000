//! OTLP over HTTP, as JSON put together by hand; with the real SDK it is tested elsewhere.

use std::io::Write as _;

use serde_json::json;

use super::*;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// An export of one counter.
fn counter(name: &str, temporality: u8, points: &[(i64, f64)]) -> Vec<u8> {
    let points: Vec<_> = points
        .iter()
        .map(|(time, value)| json!({"asDouble": value, "timeUnixNano": (time * 1_000_000).to_string()}))
        .collect();
    let sum = json!({"aggregationTemporality": temporality, "isMonotonic": true, "dataPoints": points});
    let service = json!([{"key": "service.name", "value": {"stringValue": "portal"}}]);
    let scope = json!([{"metrics": [{"name": name, "sum": sum}]}]);
    json!({"resourceMetrics": [{"resource": {"attributes": service}, "scopeMetrics": scope}]})
        .to_string()
        .into()
}

fn floats(site: &Site, name: &str) -> Vec<f64> {
    let series = site.series(name);
    let samples =
        series.iter().flat_map(|series| (0..series.samples.len()).map(|at| series.samples.value(at)));
    let float = |value| if let hmsops_model::Value::Float(value) = value { value } else { f64::NAN };
    samples.map(float).collect()
}

/// Growth adds up, is added once however often it is sent, and goes on from what is stored when nothing is remembered.
#[tokio::test]
async fn growth_adds_up_once() {
    let site = Site::new().await;
    let now = site.now();
    let first = counter("a.b", 1, &[(now - 3000, 2.0), (now - 2000, 3.0)]);
    for _ in 0..2 {
        let answer = site.post("/v1/metrics", &JSON, first.clone()).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({})));
    }
    assert_eq!(floats(&site, "a.b"), [2.0, 5.0]);
    // A sample that is refused: what was remembered is read anew.
    let far = counter("c", 1, &[(now + 3_600_000, 1.0)]);
    let answer = site.post("/api/v1/otlp/v1/metrics", &JSON, far).await.json();
    assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "1", "{answer}");
    let answer = site.post("/v1/metrics", &JSON, counter("a.b", 1, &[(now - 1000, 4.0)])).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(floats(&site, "a.b"), [2.0, 5.0, 9.0]);
    assert_eq!(site.metrics.families().said(Some("a.b"), 1, 1)["a.b"][0].kind, "counter");
}

#[tokio::test]
async fn what_is_no_export_is_refused_and_nothing_of_it_stays() {
    let site = Site::new().await;
    let good = counter("x", 2, &[(site.now(), 1.0)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; 8 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    let packed = [JSON[0], ("content-encoding", "gzip")];
    for (headers, body, status) in [
        (&[("content-type", "text/plain")][..], good.clone(), 415),
        (&[JSON[0], ("content-encoding", "br")], good.clone(), 415),
        (&JSON, b"{".to_vec(), 400),
        (&[("content-type", "application/x-protobuf")], good.clone(), 400),
        (&packed, good.clone(), 400),
        (&packed, bomb, 413),
    ] {
        let answer = site.post("/v1/metrics", headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}: {}", answer.detail());
    }
    assert!(site.series("x").is_empty());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&good).unwrap();
    let answer = site.post("/v1/metrics", &packed, gzip.finish().unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(floats(&site, "x"), [1.0]);
}
