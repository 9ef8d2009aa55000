//! What HAProxy can't do is refused where it is asked for.

use hmsops_model::gateway::{GatewaySettings, HaproxySettings};
use tokio::sync::watch;

use super::*;

fn services(route: &str, canary_at: &str) -> String {
    let forms = FORMS.replace("[\"127.0.0.1:2\"]", canary_at);
    format!("{forms}    route: {route}\n")
}

/// A site whose gateway `edge` drives HAProxy.
fn site() -> (Site, watch::Sender<GatewaySettings>) {
    let mut site = Site::new(false);
    let text = |text: &str| text.to_owned();
    let haproxy = HaproxySettings {
        socket: text("/run/haproxy/admin.sock"),
        backend: text("portal"),
        stable: text("srv_stable"),
        canary: text("srv_canary"),
        map: None,
    };
    let settings = GatewaySettings { haproxy: Some(Box::new(haproxy)), ..GatewaySettings::default() };
    let (sender, settings) = watch::channel(settings);
    site.context.gateways = Arc::new([("edge".to_owned(), settings)].into());
    site.router = router(site.context.clone());
    (site, sender)
}

#[expect(clippy::disallowed_methods, reason = "a test lays out what a person would have written")]
fn put(path: &std::path::Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

async fn declare(site: &Site, text: &str) -> (StatusCode, String) {
    let (status, answer) = site.post("/hms/v1/apply", file("services.yaml", text)).await;
    (
        status,
        answer["title"].as_str().unwrap_or_default().to_owned()
            + answer["detail"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_share_that_haproxy_cannot_give_is_refused_before_anything_begins() {
    let small = CANARY.replace("weight: 1\n", "weight: 0.1\n");
    let (site, settings) = site();
    assert_eq!(declare(&site, &services("{gateway: edge}", "[\"127.0.0.1:2\"]")).await.0, 200);
    let adopted = json!({"version": "1.7.3", "upstreams": ["127.0.0.1:1"]});
    assert_eq!(site.post("/hms/v1/services/legacy-forms/adopt", adopted).await.0, 200);
    let deploy = |is_dry: bool| json!({"name": "c.yaml", "text": small, "dry_run": is_dry});
    for is_dry in [true, false] {
        let (status, answer) = site.post("/hms/v1/deploy", deploy(is_dry)).await;
        assert_eq!(status, 409, "{answer}");
        assert!(answer.to_string().contains("can't give a canary 0.1 %"), "{answer}");
    }
    assert!(site.context.engine.snapshot().state.releases.is_empty());
    // With a map, from which shares are drawn, it can.
    settings.send_modify(|settings| {
        settings.haproxy.as_mut().unwrap().map = Some("/etc/haproxy/canary.map".to_owned());
    });
    for is_dry in [true, false] {
        let (status, answer) = site.post("/hms/v1/deploy", deploy(is_dry)).await;
        assert!(status.is_success(), "{answer}");
    }
}

#[tokio::test]
async fn one_service_and_one_address_a_version_is_what_haproxys_two_servers_carry() {
    let (site, _settings) = site();
    let (status, why) =
        declare(&site, &services("{gateway: edge}", "[\"127.0.0.1:2\", \"127.0.0.1:3\"]")).await;
    assert!(status == 409 && why.contains("version `1.8.0` has 2 addresses"), "{status}: {why}");
    let (status, why) = declare(&site, &services("{gateway: edge}", "[\"portal.csac.gov:80\"]")).await;
    assert!(status == 409 && why.contains("`IP:PORT`"), "{status}: {why}");
    let well = services("{gateway: edge}", "[\"127.0.0.1:2\"]");
    assert_eq!(declare(&site, &well).await.0, 200);
    assert_eq!(declare(&site, &well).await.0, 200, "declared again it is still the only one");
    let (status, why) = declare(&site, &well.replace("legacy-forms", "photo-forms")).await;
    assert!(status == 409 && why.contains("backend `portal` carries `legacy-forms`"), "{status}: {why}");
    let (status, _) =
        declare(&site, &well.replace("legacy-forms", "photo-forms").replace("edge", "other")).await;
    assert_eq!(status, 200, "another gateway is another matter");
}

#[tokio::test]
async fn two_services_that_come_together_are_two() {
    let (site, _settings) = site();
    let one = services("{gateway: edge, host: a.csac.gov}", "[\"127.0.0.1:2\"]");
    let two = services("{gateway: edge, host: b.csac.gov}", "[\"127.0.0.1:2\"]");
    let both = format!("{one}{}", two.replace("services:\n", "").replace("legacy-forms", "photo-forms"));
    let (status, why) = declare(&site, &both).await;
    assert!(status == 409 && why.contains("backend `portal` carries `legacy-forms`"), "{status}: {why}");
    assert!(site.context.engine.snapshot().state.services.is_empty());
}

#[tokio::test]
async fn what_runs_already_is_adopted_at_one_address_in_numbers() {
    let (site, _settings) = site();
    assert_eq!(declare(&site, &services("{gateway: edge}", "[\"127.0.0.1:2\"]")).await.0, 200);
    let adopt = async |at: Value| {
        let takeover = json!({"version": "1.7.3", "upstreams": at});
        site.post("/hms/v1/services/legacy-forms/adopt", takeover).await
    };
    let (status, answer) = adopt(json!(["127.0.0.1:1", "127.0.0.1:3"])).await;
    assert!(status == 409 && answer.to_string().contains("version `1.7.3` has 2 addresses"), "{answer}");
    let (status, answer) = adopt(json!(["localhost:1"])).await;
    assert!(status == 409 && answer.to_string().contains("`IP:PORT`"), "{answer}");
    assert_eq!(adopt(json!(["127.0.0.1:1"])).await.0, 200);
}

/// What a repo's file declares is checked as what is sent, and is taken once what stood in its way has gone.
#[tokio::test]
async fn a_file_of_a_repo_that_its_gateway_cannot_carry_changes_nothing() {
    let (site, settings) = site();
    let repo = site.dir.path().join("repo");
    let file = repo.join(crate::repo::SERVICES_FILE);
    let two = services("{gateway: edge}", "[\"127.0.0.1:2\", \"127.0.0.1:3\"]");
    put(&file, &two);
    let (scrapes, _) = watch::channel(crate::repo::Scrapes::new());
    let (recordings, _) = watch::channel(crate::evaluate::record::Recordings::new());
    let (troubles, told) = watch::channel(crate::repo::Troubles::new());
    let (reload, reloads) = tokio::sync::mpsc::channel(1);
    let (engine, gateways) = (site.context.engine.clone(), site.context.gateways.clone());
    tokio::spawn(crate::repo::watch(engine, vec![repo], (scrapes, recordings, troubles), gateways, reloads));
    // The second is taken once the first has been seen to.
    for _ in 0..2 {
        reload.send(()).await.unwrap();
    }
    reload.reserve().await.unwrap();
    assert!(site.context.engine.snapshot().state.services.is_empty());
    let (name, why) = told.borrow().first_key_value().map(|(name, why)| (name.clone(), why.clone())).unwrap();
    assert!(name.ends_with(crate::repo::SERVICES_FILE) && !why.is_empty(), "{name}: {why}");
    settings.send_modify(|settings| settings.haproxy = None);
    let declared = |snapshot: &Arc<hmsops_tower::Snapshot>| snapshot.state.services.len() == 1;
    assert!(
        super::super::wait_until(&site.context.engine, std::time::Duration::from_secs(20), declared).await
    );
}
