//! What comes to the collector's port stands in receipts, by whichever protocol.

use hmsops_control::access::{Party, Receipt};
use hmsops_wire::collector::json;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};

use super::emitting::{EMIT, batch, call, metric};
use super::*;

fn receipts(site: &Site) -> BTreeMap<String, Receipt> {
    let now = hmsops_model::UnixMillis(site.now());
    site.auth.receipts().take(now).into_iter().map(|receipt| (receipt.door.clone(), receipt)).collect()
}

#[tokio::test]
async fn what_comes_over_plain_http_and_grpc_is_counted_by_who_and_what_became_of_it() {
    let site = Site::new().await;
    let good = batch(1, vec![metric("photo.upload.ok", site.now(), 1.0)]);
    let post = |path: &str| {
        Request::post(path.to_owned()).header(HOST, "127.0.0.1").header(CONTENT_TYPE, "application/json")
    };
    let body = || Full::new(Bytes::from(json::encode(&good)));
    assert_eq!(send(site.at, post("/v1/emit").body(body()).unwrap()).await.status, 200);
    let wrong = post("/v1/emit").header(AUTHORIZATION, "Bearer hms_sa_x");
    assert_eq!(send(site.at, wrong.body(body()).unwrap()).await.status, 401);
    assert_eq!(send(site.at, post("/made/up").body(body()).unwrap()).await.status, 404);
    let admin = post("/v1/emit").header(AUTHORIZATION, format!("Bearer {}", site.token));
    assert_eq!(send(site.at, admin.body(body()).unwrap()).await.status, 200);
    let sent = prost::Message::encode_to_vec(&batch(7, vec![metric("photo.upload.ok", site.now(), 1.0)]));
    call(&site, EMIT, sent, None).await.unwrap();
    call(&site, EMIT, vec![0xff; 9], None).await.unwrap_err();
    let refused = call(&site, EMIT, Vec::new(), Some("hms_admin_x")).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unauthenticated);

    let found = receipts(&site);
    let emit = &found["emit"];
    assert_eq!((emit.requests, emit.refused), (4, 2), "{emit:?}");
    assert_eq!(emit.statuses, [(200, 2), (401, 1), (404, 1)]);
    assert_eq!(emit.denials.len(), 1, "{emit:?}");
    assert!(emit.denials[0].why.contains("mistyped"), "{emit:?}");
    let local = Party::Source([127, 0, 0, 1].into());
    let who: Vec<(&Party, u64)> = emit.callers.iter().map(|calls| (&calls.who, calls.requests)).collect();
    assert_eq!(who, [(&local, 3), (&Party::Person("admin".into()), 1)]);
    let grpc = &found["grpc"];
    assert_eq!((grpc.requests, grpc.refused), (3, 2), "{grpc:?}");
    assert_eq!(grpc.statuses, [(200, 1), (400, 1), (401, 1)]);
    assert!(grpc.denials[0].why.contains("mistyped"), "{grpc:?}");
    assert!(receipts(&site).is_empty(), "counted once");
}
