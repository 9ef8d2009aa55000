use std::time::Duration;

use hmsops_act::channel::webhook::{Webhook, WebhookSettings};
use hmsops_act::channel::{ChannelError, Message, Secret, TimeLimits};
use hmsops_model::UnixMillis;
use rcgen::{BasicConstraints, IsCa};
use tokio::time::timeout;

use crate::script::{Full, Script, Step, certificate, certificate_of};
use crate::world::PATIENCE;

const QUICK: TimeLimits =
    TimeLimits { connect: Duration::from_millis(300), whole: Duration::from_millis(600) };
/// Of the specification's reference libraries, and another.
const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="];
const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn settings(url: String) -> WebhookSettings {
    WebhookSettings {
        url,
        secrets: SECRETS.map(Secret::new).to_vec(),
        allow_private: Vec::new(),
        ca_file: None,
    }
}

fn message() -> Message {
    Message {
        key: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
        subject: String::new(),
        text: String::new(),
        json: serde_json::json!({ "test": 2_432_232_314_u32 }),
        at: UnixMillis(1_614_265_000_000),
    }
}

async fn send(settings: &WebhookSettings, limits: TimeLimits) -> Result<String, ChannelError> {
    let webhook = Webhook::new(settings).unwrap().with_limits(limits);
    let (message, now) = (message(), UnixMillis(1_614_265_330_999));
    timeout(PATIENCE, webhook.send(&message, now)).await.expect("it ends in time")
}

async fn answered(answer: &'static str) -> (String, Result<String, ChannelError>) {
    let server = Script::new(vec![Step::Request, Step::Say(answer)]).await;
    let sent =
        send(&settings(format!("http://{}/hook?token=hunter2", server.addr)), TimeLimits::default()).await;
    (server.heard().await, sent)
}

#[tokio::test]
async fn a_webhook_is_a_signed_post_of_the_message_s_json() {
    let (heard, sent) = answered(OK).await;
    assert_eq!(sent.unwrap(), "204");
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"test":2432232314}"#);
    assert!(head.starts_with("POST /hook?token=hunter2 HTTP/1.1\r\n"), "{head}");
    // Computed with Python's hmac over "ID.1614265330.BODY", once with each key.
    let signatures =
        "v1,Vif40peJBP7Iyl0XGmu61n4MwdrcHov5CFREBpE0svs= v1,pdY93Mv/rl7lSuXvtePW1L00bBT3C2pcaOgXPFcveGs=";
    for line in [
        "content-type: application/json",
        "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp: 1614265330",
        &format!("webhook-signature: {signatures}"),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
}

#[tokio::test]
async fn an_answer_decides_whether_it_is_tried_again_and_when() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (answer, expected, is_final, retry_after) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n",
            "302: redirects are not followed; set `url` to where this one leads",
            true,
            None,
        ),
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nwhat", "400 what", true, None),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404", true, None),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", "410: it wants no more webhooks", true, None),
        ("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", "408", false, None),
        ("HTTP/1.1 425 Too Early\r\ncontent-length: 0\r\n\r\n", "425", false, None),
        ("HTTP/1.1 429 Slow\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n", "429", false, seconds(120)),
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: Thu, 25 Feb 2021 15:03:10 GMT\r\ncontent-length: 0\r\n\r\n",
            "503",
            false,
            Some(Duration::from_millis(59_001)),
        ),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\na\r\nb\x1b[1mc", "500 a b [1mc", false, None),
    ] {
        let (_, sent) = answered(answer).await;
        let error = sent.unwrap_err();
        assert!(error.why.ends_with(&format!("it answers {expected}")), "{error}");
        assert!(!error.why.contains("hunter2") && !error.why.contains("hook?"), "{error}");
        assert_eq!((error.is_final, error.retry_after), (is_final, retry_after), "{error}");
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_or_babbles_is_left_in_time() {
    use Step::{Flood, Hang, Request, Say};
    for (steps, expected) in [
        (vec![Hang], ": no answer in 600"),
        (vec![Request, Hang], ": no answer in 600"),
        (vec![Request, Say("HTTP/1.1 200 OK\r\n"), Hang], ": no answer in 600"),
        (vec![Request], ": it closed the connection without an answer"),
        (vec![Request, Say("220 hi\r\n")], ": what it answers is not HTTP"),
        (vec![Request, Say("HTTP/1.1 200 OK\r\n"), Flood("x: xxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")], ": "),
    ] {
        let server = Script::new(steps).await;
        let error = send(&settings(format!("http://{}/", server.addr)), QUICK).await.unwrap_err();
        assert!(error.why.contains(expected) && !error.is_final, "{error}");
    }
    // The status stands, whatever comes after it.
    for rest in [Hang, Flood("400\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")] {
        let chunked = Say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n");
        let server = Script::new(vec![Request, chunked, rest]).await;
        let sent = send(&settings(format!("http://{}/", server.addr)), TimeLimits::default()).await.unwrap();
        assert!(sent.starts_with("200") && sent.len() < 300, "{sent}");
    }
    let full = Full::new().await;
    let error = send(&settings(format!("http://{}/", full.addr)), QUICK).await.unwrap_err();
    assert!(error.why.contains(": no connection in 300") && !error.is_final, "{error}");
}

#[tokio::test]
async fn https_reaches_only_who_has_the_right_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, tls) = certificate(&folder);
    let server = Script::encrypted(vec![Step::Tls, Step::Request, Step::Say(OK)], Some(tls)).await;
    let mut settings = settings(format!("https://{}/", server.addr));
    settings.ca_file = Some(ca_file);
    assert_eq!(send(&settings, TimeLimits::default()).await.unwrap(), "204");

    let other = tempfile::tempdir().unwrap();
    let (_, tls) = certificate(&other);
    let server = Script::encrypted(vec![Step::Tls, Step::Request, Step::Say(OK)], Some(tls)).await;
    settings.url = format!("https://{}/", server.addr);
    let error = send(&settings, TimeLimits::default()).await.unwrap_err();
    assert!(error.why.contains(": no TLS: invalid peer certificate") && !error.is_final, "{error}");
    assert_eq!(server.heard().await, "");
}

#[tokio::test]
async fn the_usual_mistakes_with_certificates_come_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let hello = || vec![Step::Tls, Step::Hang];
    let (ca_file, authority) = certificate_of(&folder, IsCa::Ca(BasicConstraints::Unconstrained));
    let server = Script::encrypted(hello(), Some(authority)).await;
    let mut settings = settings(format!("https://{}/", server.addr));
    settings.ca_file = Some(ca_file);
    let error = send(&settings, TimeLimits::default()).await.unwrap_err();
    assert!(
        error.why.ends_with("; it is an authority's (`CA:TRUE`): give the server one that is `CA:FALSE`"),
        "{error}"
    );

    let other = tempfile::tempdir().unwrap();
    let (_, unknown) = certificate(&other);
    let server = Script::encrypted(hello(), Some(unknown)).await;
    settings.url = format!("https://{}/", server.addr);
    let error = send(&settings, TimeLimits::default()).await.unwrap_err();
    assert!(error.why.ends_with("; set `ca_file` to the authority that signed it"), "{error}");
}
