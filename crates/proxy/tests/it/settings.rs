//! How settings reach a gateway, and stay.

use hmsops_model::Millis;
use hmsops_model::gateway::GatewaySettings;
use hmsops_wire::gateway::{FromGateway, ToGateway};

use crate::world::{Reply, Tower, backend, gateway, route};

pub(crate) async fn settle(tower: &mut Tower, settings: GatewaySettings) -> Result<(), String> {
    tower.say(ToGateway::Settings { settings }).await;
    tower
        .wait("an answer to the settings", |message| match message {
            FromGateway::SettingsApplied => Some(Ok(())),
            FromGateway::SettingsRefused { why } => Some(Err(why.clone())),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_taken_without_a_failed_request_and_kept_over_a_restart() {
    let stable = backend(Reply::Status(200, "stable")).await;
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &stable.address, 0)).await;
    let mut client = gateway.client().await;
    let settings = GatewaySettings { tunnel_idle: Millis::from_secs(7), ..GatewaySettings::default() };
    for second in 7..27 {
        let settings = GatewaySettings { tunnel_idle: Millis::from_secs(second), ..settings.clone() };
        settle(&mut tower, settings).await.unwrap();
        assert_eq!(client.get("/").await.status, 200);
    }
    settle(&mut tower, settings.clone()).await.unwrap();
    let stopped = gateway.stop().await;
    let kept: serde_json::Value =
        serde_json::from_slice(&stopped.file("gateway-public.settings.json")).unwrap();
    assert_eq!(kept["settings"]["tunnel_idle"], 7000, "the last one counts");
    stopped.start().await;
}
