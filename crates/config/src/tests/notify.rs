//! Who is told and how: secrets are referred to, never written, never shown.

use super::{each_has_one_error, errors, rendered, warnings};
use crate::parse_tower;
use crate::tower::{HealMode, MailConfig, MailTls, SecretRef, WebhookConfig};

pub(super) const TOLD: &str = "\
notify:
  mail:
    server: \"smtp.csac.gov:587\"
    from: hmsops@csac.gov
    tls: required
    user: hmsops
    password: \"file:smtp.password\"
    ca: ca.pem
  webhooks:
    pager: {url: \"https://pager.csac.gov/hook?x=1\", secrets: [\"file:pager.secret\", \"env:PAGER_NEXT\"], ca: ca.pem}
heal: {rollback: auto, restart: off}
retention: {metrics: 30d}
metrics: {series_max: 20000, out_of_order_window: 0 s}
";

#[test]
fn everything_is_read_and_nothing_is_said() {
    let checked = parse_tower(TOLD);
    assert_eq!(checked.diagnostics, []);
    let config = checked.value.unwrap();
    let file = |path: &str| SecretRef::File(path.to_owned());
    let mail = MailConfig {
        server: "smtp.csac.gov:587".to_owned(),
        from: "hmsops@csac.gov".to_owned(),
        tls: MailTls::Required,
        user: Some("hmsops".to_owned()),
        password: Some(file("smtp.password")),
        ca: Some("ca.pem".to_owned()),
    };
    assert_eq!(config.notify.mail, Some(mail));
    let pager = WebhookConfig {
        url: "https://pager.csac.gov/hook?x=1".to_owned(),
        secrets: vec![file("pager.secret"), SecretRef::Env("PAGER_NEXT".to_owned())],
        allow_private: Vec::new(),
        ca: Some("ca.pem".to_owned()),
    };
    assert_eq!(config.notify.webhooks["pager"], pager);
    assert_eq!((config.heal.rollback, config.heal.restart), (HealMode::Auto, HealMode::Off));
    assert_eq!((config.retention.metrics.0, config.metrics.series_max), (30 * 86_400_000, 20_000));
    assert_eq!(config.metrics.out_of_order_window.0, 0);
    let least = parse_tower("notify: {mail: {server: \"[::1]:25\", from: a@b, tls: none}}").value.unwrap();
    let mail = least.notify.mail.unwrap();
    assert_eq!((mail.server.as_str(), mail.tls, mail.user), ("[::1]:25", MailTls::None, None));
    assert_eq!((least.metrics.series_max, least.metrics.out_of_order_window.0), (1_000_000, 3_600_000));
}

#[test]
fn each_mistake_has_its_place() {
    let mail = |keys: &str| format!("notify: {{mail: {{server: \"a.gov:25\", from: a@b, {keys}}}}}");
    let hook = |keys: &str| format!("notify: {{webhooks: {{p: {{{keys}}}}}}}");
    let secrets = "secrets: [\"env:A\"]";
    each_has_one_error(
        "hmsops.yaml",
        [
            (mail("tls: none"), "1:53 mail to `a.gov` would go out in clear"),
            (mail("tls: requird"), "1:53 `requird` does not say how mail is protected"),
            (mail("user: a"), "1:48 `user` stands without `password`"),
            (mail("password: \"env:A\""), "1:48 `password` stands without `user`"),
            (mail("user: a, password: \"file:\""), "1:67 `file:` is followed by no path"),
            (mail("user: a, password: \"env:1\""), "1:67 `env:` is followed by no variable's name"),
            (mail("usr: a, password: \"env:A\""), "1:48 unknown key `usr` in the mail server"),
            ("notify: {mail: {from: a@b}}".into(), "1:10 `server` is missing: mail goes through a server"),
            ("notify: {mail: {server: a, from: a@b}}".into(), "1:25 `a` has no port"),
            ("notify: {mail: {server: \"a:1\", from: me}}".into(), "1:38 `me` is not a mail address"),
            (
                "notify: {mial: {server: \"a:1\", from: a@b}}".into(),
                "1:10 unknown key `mial` in how people are told",
            ),
            ("notify: oncall@csac.gov".into(), "1:9 how people are told is a map, not a text"),
            (hook(secrets), "1:21 `url` is missing: a webhook says where it is"),
            (hook("url: \"https://a.gov\""), "1:21 `secrets` is missing: what is sent is signed"),
            (hook(&format!("url: \"ftp://a.gov\", {secrets}")), "1:30 `url` is no URL of HTTP"),
            (
                hook(&format!("url: \"http://a.gov/x\", {secrets}")),
                "1:30 what is sent to `a.gov` would go out in clear",
            ),
            (hook(&format!("url: \"https://a b/x\", {secrets}")), "1:30 `url` is not whole"),
            (hook(&format!("url: \"https://a.gov:0/\", {secrets}")), "1:30 `url` is not whole"),
            (hook("url: \"https://a.gov\", secrets: []"), "1:56 `secrets` is an empty list"),
            (
                "notify: {webhooks: {Pager: {url: \"https://a.gov\", secrets: [\"env:A\"]}}}".into(),
                "1:21 `Pager` is not a webhook's name",
            ),
            ("notify: {webhooks: {p: ~}}".into(), "1:21 webhook `p` has no keys"),
            ("notify: {webhooks: [p]}".into(), "1:20 `webhooks` is a list, a map was expected"),
        ],
    );
    for url in [
        "http://127.0.0.1:8080/x",
        "http://localhost/",
        "http://[::1]:80",
        "https://10.0.0.1",
        "https://a.gov:8443?x",
    ] {
        let text = hook(&format!("url: \"{url}\", {secrets}"));
        assert_eq!(errors("hmsops.yaml", &text), Vec::<String>::new(), "{url}");
    }
}

#[test]
fn a_secret_written_out_is_refused_and_shown_nowhere() {
    for text in [
        "notify: {mail: {server: \"a:1\", from: nobody, user: a, password: hunter2secret}}",
        "notify:\n  mail:\n    server: \"a:1\"\n    from: a@b\n    user: a\n    password: 'hunter2secret'\n",
        "notify: {webhooks: {p: {url: \"https://a.gov\", secrets: [hunter2secret]}}}",
        "notify: {webhooks: {p: {url: \"https://a.gov\", secrets: hunter2secret}}}",
        "notify: {mail: {server: \"a:1\", from: a@b, user: a, passwrd: [hunter2secret]}}",
        "notify: {webhooks: {p: {url: \"slack.com/hunter2secret\", secrets: [\"env:A\"]}}}",
        "notify: {webhooks: {p: {url: \"https://me:hunter2secret@a.gov\", secrets: [\"env:A\"]}}}",
    ] {
        let said = rendered("hmsops.yaml", text);
        assert!(said.contains("****") && said.contains("hint: "), "{said}");
        assert!(!said.contains("hunter2secret"), "{said}");
        let config = parse_tower(text);
        assert!(config.value.is_none() && !format!("{config:?}").contains("hunter2secret"));
    }
}

#[test]
fn approvals_are_off_and_that_is_said_where_it_stands() {
    let text = "heal: {rollback: approve, restart: auto}";
    assert_eq!(warnings("hmsops.yaml", text), ["1:18 approvals are not built yet: treated as off"]);
    assert_eq!(parse_tower(text).value.unwrap().heal.rollback, HealMode::Approve);
    let kept = "retention: {metrics: 30d, logs: 30d}";
    assert_eq!(warnings("hmsops.yaml", kept), ["1:27 `logs` is read but not acted on yet"]);
}

#[test]
fn a_secret_may_be_a_credential_of_systemd() {
    let read = |from: &str| {
        let text = format!(
            "notify: {{webhooks: {{pager: {{url: \"https://pager.csac.gov/hook\", secrets: [\"{from}\"], allow_private: [10.0.0.0/8]}}}}}}\n"
        );
        crate::parse_tower(&text).value.map(|config| config.notify.webhooks["pager"].clone())
    };
    let webhook = read("credential:pager").unwrap();
    assert_eq!(webhook.secrets, [SecretRef::Credential("pager".to_owned())]);
    assert_eq!(webhook.allow_private, ["10.0.0.0/8".parse().unwrap()]);
    for wrong in
        ["credential:", "credential:../pager", "credential:a/b", "credential:.pager", "Credential:pager"]
    {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}
