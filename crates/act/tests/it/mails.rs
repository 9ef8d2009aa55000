use std::time::Duration;

use hmsops_act::channel::mail::{Mail, MailSettings, MailTls};
use hmsops_act::channel::{ChannelError, Message, Secret, TimeLimits};
use hmsops_model::UnixMillis;
use tokio::time::timeout;

use crate::script::{Full, Script, Step, certificate};
use crate::world::PATIENCE;

const QUICK: TimeLimits =
    TimeLimits { connect: Duration::from_millis(300), whole: Duration::from_millis(600) };
const EHLO: &str = "250-mail.csac.gov\r\n250 SIZE 1000000\r\n";

fn settings(addr: std::net::SocketAddr) -> MailSettings {
    MailSettings {
        server: addr.to_string(),
        tls: MailTls::None,
        from: "HMS <hms@csac.gov>".into(),
        user: None,
        password: None,
        ca_file: None,
    }
}

fn message() -> Message {
    Message {
        key: "n-9".into(),
        subject: "dmv-photo 2.4.1 taken back".into(),
        text: "Why: errors.\n.\nQUIT\n".into(),
        json: serde_json::Value::Null,
        at: UnixMillis(1_763_818_502_000),
    }
}

async fn send(settings: MailSettings, limits: TimeLimits) -> Result<String, ChannelError> {
    let mail = Mail::new(&settings).unwrap().with_limits(limits);
    timeout(PATIENCE, mail.send("oncall@csac.gov", &message())).await.expect("it ends in time")
}

fn conversation(after_data: &'static str) -> Vec<Step> {
    use Step::{Letter, Line, Say};
    let ok = "250 ok\r\n";
    let start = [Say("220 hi\r\n"), Line, Say(EHLO), Line, Say(ok), Line, Say(ok), Line, Say("354 go\r\n")];
    start.into_iter().chain([Letter, Say(after_data)]).collect()
}

#[tokio::test]
async fn a_mail_is_handed_over_and_its_receipt_is_the_server_s_word() {
    let server = Script::new(conversation("250-2.0.0 OK\r\n250 queued as 7F2\r\n")).await;
    let addr = server.addr;
    assert_eq!(send(settings(addr), TimeLimits::default()).await.unwrap(), "250 2.0.0 OK queued as 7F2");
    let heard = server.heard().await;
    let start = "EHLO [127.0.0.1]\r\nMAIL FROM:<hms@csac.gov>\r\nRCPT TO:<oncall@csac.gov>\r\nDATA\r\n";
    assert!(heard.starts_with(start), "{heard}");
    // RFC 5321, section 4.5.2: a dot at a line's start is doubled, so it does not end the mail.
    assert!(heard.ends_with("Why: errors.\r\n..\r\nQUIT\r\n\r\n.\r\n"), "{heard}");
}

#[tokio::test]
async fn a_server_that_hangs_is_left_in_time_and_the_phase_is_named() {
    use Step::{Hang, Letter, Line, Say};
    let ok = "250 ok\r\n";
    let all = [
        (vec![], "the greeting"),
        (vec![Say("220 hi\r\n"), Line], "EHLO"),
        (vec![Say("220 hi\r\n"), Line, Say("250-mail")], "EHLO"),
        (vec![Say("220 hi\r\n"), Line, Say(EHLO), Line], "MAIL FROM"),
        (vec![Say("220 hi\r\n"), Line, Say(EHLO), Line, Say(ok), Line], "RCPT TO"),
        (vec![Say("220 hi\r\n"), Line, Say(EHLO), Line, Say(ok), Line, Say(ok), Line], "DATA"),
        (
            vec![
                Say("220 hi\r\n"),
                Line,
                Say(EHLO),
                Line,
                Say(ok),
                Line,
                Say(ok),
                Line,
                Say("354 go\r\n"),
                Letter,
            ],
            "the mail itself",
        ),
    ];
    let sends = all.into_iter().map(|(mut steps, phase)| async move {
        steps.push(Hang);
        let server = Script::new(steps).await;
        let error = send(settings(server.addr), QUICK).await.unwrap_err();
        let why = format!("cannot send mail through `{}`: no answer to {phase} within 600ms", server.addr);
        assert_eq!((error.why.replace("600 ms", "600ms"), error.is_final), (why, false));
    });
    let tasks: Vec<_> = sends.map(tokio::spawn).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_left_in_time() {
    let full = Full::new().await;
    let error = send(settings(full.addr), QUICK).await.unwrap_err();
    assert!(error.why.contains(": no connection in 300") && !error.is_final, "{error}");
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = send(settings(refusing), QUICK).await.unwrap_err();
    assert!(error.why.contains(": cannot connect: ") && !error.is_final, "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_after_it_took_the_mail_does_not_undo_that() {
    let mut steps = conversation("250 ok\r\n");
    steps.extend([Step::Line, Step::Hang]);
    let server = Script::new(steps).await;
    assert_eq!(send(settings(server.addr), TimeLimits::default()).await.unwrap(), "250 ok");
}

#[tokio::test]
async fn what_the_server_refuses_for_good_is_final_and_anything_else_is_not() {
    use Step::{Line, Say};
    let greeted = || vec![Say("220 hi\r\n"), Line, Say(EHLO), Line];
    let with = |mut steps: Vec<Step>, more: Vec<Step>| {
        steps.extend(more);
        steps
    };
    let ok = || Say("250 ok\r\n");
    for (steps, expected, is_final) in [
        (vec![Say("554 no service\r\n")], "it answers the greeting with 554 no service", true),
        (vec![Say("421 busy\r\n")], "it answers the greeting with 421 busy", false),
        (vec![Say("220 hi\r\n"), Line, Say("500 what\r\n")], "it answers EHLO with 500 what", true),
        (
            with(greeted(), vec![Say("550-no\r\n550 sender \x1b[31m\r\n")]),
            "it answers MAIL FROM with 550 no sender [31m",
            true,
        ),
        (
            with(greeted(), vec![ok(), Line, Say("450 4.2.1 greylisted\r\n")]),
            "it answers RCPT TO with 450 4.2.1 greylisted",
            false,
        ),
        (
            with(greeted(), vec![ok(), Line, Say("550 5.1.1 no such user\r\n")]),
            "it answers RCPT TO with 550 5.1.1 no such user",
            true,
        ),
        (conversation("552 too much\r\n"), "it answers the mail itself with 552 too much", true),
        (conversation(""), "the mail itself failed: incomplete response", false),
        (vec![Say("HTTP/1.1 400 Bad Request\r\n\r\n")], "the greeting failed: ", false),
    ] {
        let server = Script::new(steps).await;
        let error = send(settings(server.addr), TimeLimits::default()).await.unwrap_err();
        let start = format!("cannot send mail through `{}`: {expected}", server.addr);
        assert!(error.why.starts_with(&start) && error.is_final == is_final, "{error:?}, {start}");
    }
}

#[tokio::test]
async fn a_server_that_talks_without_end_is_left() {
    let server =
        Script::new(vec![Step::Flood("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")])
            .await;
    let error = send(settings(server.addr), TimeLimits::default()).await.unwrap_err();
    assert!(error.why.ends_with("its answers are too long") && !error.is_final, "{error}");
}

fn required(addr: std::net::SocketAddr, ca_file: std::path::PathBuf, tls: MailTls) -> MailSettings {
    let password = Some(Secret::new("hunter2"));
    MailSettings { tls, user: Some("hms".into()), password, ca_file: Some(ca_file), ..settings(addr) }
}

/// After TLS: the login of user `hms` with `hunter2` (RFC 4616) and a mail.
fn login_and_mail() -> Vec<Step> {
    use Step::{Letter, Line, Say};
    let ok = "250 ok\r\n";
    let ehlo = "250-mail.csac.gov\r\n250 AUTH PLAIN LOGIN\r\n";
    let login = [Line, Say(ehlo), Line, Say("235 welcome\r\n")];
    let mail = [Line, Say(ok), Line, Say(ok), Line, Say("354 go\r\n"), Letter, Say("250 queued\r\n")];
    login.into_iter().chain(mail).collect()
}

#[tokio::test]
async fn nothing_is_sent_before_the_connection_is_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, tls) = certificate(&folder);
    let mut steps = vec![
        Step::Say("220 hi\r\n"),
        Step::Line,
        Step::Say("250-mail.csac.gov\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"),
        Step::Line,
        Step::Say("220 go\r\n"),
        Step::Tls,
    ];
    steps.extend(login_and_mail());
    let server = Script::encrypted(steps, Some(tls.clone())).await;
    let sent = send(required(server.addr, ca_file.clone(), MailTls::Required), TimeLimits::default()).await;
    assert_eq!(sent.unwrap(), "250 queued");
    let heard = server.heard().await;
    let start =
        "EHLO [127.0.0.1]\r\nSTARTTLS\r\nEHLO [127.0.0.1]\r\nAUTH PLAIN AGhtcwBodW50ZXIy\r\nMAIL FROM:";
    assert!(heard.starts_with(start), "{heard}");

    let mut steps = vec![Step::Tls, Step::Say("220 hi\r\n")];
    steps.extend(login_and_mail());
    let server = Script::encrypted(steps, Some(tls)).await;
    let sent = send(required(server.addr, ca_file, MailTls::Implicit), TimeLimits::default()).await;
    assert_eq!(sent.unwrap(), "250 queued");
}

#[tokio::test]
async fn a_server_without_starttls_or_with_another_s_certificate_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, _) = certificate(&folder);
    let other = tempfile::tempdir().unwrap();
    let (_, other_tls) = certificate(&other);
    let plain = vec![Step::Say("220 hi\r\n"), Step::Line, Step::Say(EHLO), Step::Hang];
    let server = Script::new(plain).await;
    let sent = send(required(server.addr, ca_file.clone(), MailTls::Required), QUICK).await;
    let error = sent.unwrap_err();
    assert!(error.why.ends_with("it does not offer STARTTLS, and without TLS nothing is sent"), "{error}");
    assert_eq!(server.heard().await, "EHLO [127.0.0.1]\r\n");

    let steps = vec![
        Step::Say("220 hi\r\n"),
        Step::Line,
        Step::Say("250-mail.csac.gov\r\n250 STARTTLS\r\n"),
        Step::Line,
        Step::Say("220 go\r\n"),
        Step::Tls,
        Step::Hang,
    ];
    let server = Script::encrypted(steps, Some(other_tls.clone())).await;
    let sent = send(required(server.addr, ca_file.clone(), MailTls::Required), TimeLimits::default()).await;
    let error = sent.unwrap_err();
    assert!(error.why.contains("STARTTLS failed: invalid peer certificate") && !error.is_final, "{error}");
    assert!(!server.heard().await.contains("AUTH"));

    let server = Script::encrypted(vec![Step::Tls, Step::Hang], Some(other_tls)).await;
    let sent = send(required(server.addr, ca_file.clone(), MailTls::Implicit), TimeLimits::default()).await;
    let error = sent.unwrap_err();
    assert!(error.why.contains("no TLS: invalid peer certificate") && !error.is_final, "{error}");

    let server = Script::new(vec![Step::Hang]).await;
    let error = send(required(server.addr, ca_file, MailTls::Implicit), QUICK).await.unwrap_err();
    assert!(error.why.contains("no answer to the TLS handshake within 600"), "{error}");
}

#[tokio::test]
async fn a_refused_login_is_final_and_does_not_print_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, tls) = certificate(&folder);
    let ehlo = "250-mail.csac.gov\r\n250 AUTH PLAIN LOGIN\r\n";
    let steps = vec![
        Step::Tls,
        Step::Say("220 hi\r\n"),
        Step::Line,
        Step::Say(ehlo),
        Step::Line,
        Step::Say("535 5.7.8 bad credentials\r\n"),
    ];
    let server = Script::encrypted(steps, Some(tls)).await;
    let settings = required(server.addr, ca_file, MailTls::Implicit);
    assert!(!format!("{settings:?}").contains("hunter2"));
    let error = send(settings, TimeLimits::default()).await.unwrap_err();
    assert!(
        error.why.ends_with("it answers AUTH with 535 5.7.8 bad credentials") && error.is_final,
        "{error}"
    );
}
