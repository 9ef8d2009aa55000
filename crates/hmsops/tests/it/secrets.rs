//! A run with a known secret in every place that takes one, and a search of all that the run leaves behind or shows.
//!
//! A new place takes a line in [`GIVEN`] or [`Run::made`], and a use of it in one of the acts.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::haystack::{Needle, Search};
use super::http::{self, Answer};
use super::kit::{SHOP, Site, is, send};
use super::nginx::{self, Build};
use super::receiver::Echo;

/// What this test itself writes down, as an administrator would.
const OWN: &[&str] = &["given/"];

/// The log of a start shows a link that works once, as documented; commands remember tokens in their contexts.
const CONTEXTS: &[&str] = &[".config/hmsops/config.yaml"];

/// Every place where a secret is configured or given, and the files that are documented to hold it.
const GIVEN: [(&str, &[&str]); 18] = [
    ("the password of the mail server", OWN),
    ("the signing key of a webhook, by its file", OWN),
    ("the signing key of a webhook, by a variable", &[]),
    // The address is in hmsops.yaml, which belongs to the administrator.
    ("the path of a webhook's address", &["hmsops.yaml"]),
    ("the query of a webhook's address", &["hmsops.yaml"]),
    ("the client secret at the provider", OWN),
    ("the code that a provider gave a browser", &[]),
    ("the password of an account", OWN),
    ("a wrong password", OWN),
    ("the password of a scrape", &["data/scrape-secrets/"]),
    ("the bearer token of a scrape", &["data/scrape-secrets/"]),
    ("a token that is none", &[]),
    ("a token in an address", &[]),
    ("Authorization of a user's request", &[]),
    ("a cookie of a user's request", &[]),
    ("the query of a user's request", &[]),
    ("the body of a user's request", &[]),
    ("the password in an address of the command line", &[]),
];

/// A site with secrets everywhere.
struct Run {
    site: Site,
    echo: Echo,
    given: Vec<Needle>,
    /// What the tower made: tokens, log-ins, links, keys.
    made: Vec<Needle>,
    /// What commands printed and doors answered.
    said: Vec<(String, String)>,
}

impl Run {
    fn lay_out() -> Self {
        let given = GIVEN.iter().map(|(what, own)| Needle::new(what, own)).collect();
        let (site, echo) = (Site::lay_out(SHOP), Echo::start());
        Self { site, echo, given, made: Vec::new(), said: Vec::new() }
    }

    fn value(&self, what: &str) -> String {
        let found = self.given.iter().find(|needle| needle.what == what);
        found.unwrap_or_else(|| panic!("`{what}` is not in the table")).value.clone()
    }

    /// Standard Webhooks' form; what is searched for is the key's text.
    fn signing_key(&self, what: &str) -> String {
        // 24 bytes in base64.
        format!("whsec_{}Ab", self.value(what))
    }

    fn settings(&self) {
        let (site, secret) = (&self.site, |name: &str, text: &str| {
            self.site.put_secret(&format!("given/{name}"), text);
        });
        let echo = self.echo.at();
        secret("mail", &self.value("the password of the mail server"));
        secret("hook", &self.signing_key("the signing key of a webhook, by its file"));
        secret("oidc", &self.value("the client secret at the provider"));
        secret("password", &self.value("the password of an account"));
        secret("wrong", &self.value("a wrong password"));
        site.put_secret("data/scrape-secrets/basic", &self.value("the password of a scrape"));
        site.put_secret("data/scrape-secrets/bearer", &self.value("the bearer token of a scrape"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args(["-days", "2", "-subj", "/CN=localhost"]).args(["-keyout", "given/key.pem"]);
        openssl.args(["-out", "cert.pem"]).current_dir(site.path("")).stderr(std::process::Stdio::null());
        assert!(openssl.status().unwrap().success());
        let (gateway, shut, mail) = (site.gateway, super::kit::free_port(), refuser());
        let (path, query) =
            (self.value("the path of a webhook's address"), self.value("the query of a webhook's address"));
        let config = format!(
            "gateways:
  public: {{listen: \"{gateway}\", access_log: access.log}}
  shut: {{listen: \"{shut}\", tls: {{cert: cert.pem, key: \"file:given/key.pem\"}}}}
notify:
  mail: {{server: \"{mail}\", from: hmsops@csac.gov, tls: none, user: hmsops, password: \"file:given/mail\"}}
  webhooks:
    pager: {{url: \"http://{echo}/{path}?key={query}\", secrets: [\"file:given/hook\", \"env:PAGER_NEXT\"]}}
people:
  oidc: {{issuer: \"http://{echo}\", client_id: hmsops, client_secret: \"file:given/oidc\", callback: \"http://{at}/login/oidc/callback\"}}
  roles: {{csac-sre: operator}}
",
            at = site.at,
        );
        nginx::put(&site.path("hmsops.yaml"), &config);
        let scrape = format!(
            "scrape_configs:
  - {{job_name: basic, scrape_interval: 1s, static_configs: [{{targets: [\"{echo}\"]}}], basic_auth: {{username: prom, password_file: basic}}}}
  - {{job_name: bearer, scrape_interval: 1s, static_configs: [{{targets: [\"{echo}\"]}}], authorization: {{credentials_file: bearer}}}}
"
        );
        nginx::put(&site.path("repo/ops/scrape/all.yaml"), &scrape);
    }

    fn start(&mut self) {
        let next = self.signing_key("the signing key of a webhook, by a variable");
        self.site.spawn_tower_with(&[
            ("PAGER_NEXT", &next),
            ("RUST_BACKTRACE", "1"),
            ("HMSOPS_LOG", "debug"),
        ]);
        self.site.wait_ready();
    }

    fn made(&mut self, what: &'static str, text: &str, own: &'static [&'static str]) {
        self.made.push(Needle::found(what, text, own));
    }

    /// Runs a command and keeps what it said; what it was asked to show is taken out of that.
    fn runs(&mut self, args: &[&str], variables: &[(&str, &str)], shows: &str) -> String {
        let output = self.site.command(args).envs(variables.iter().copied()).output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let pick = |text: &str| if shows.is_empty() { text.to_owned() } else { text.replacen(shows, "", 1) };
        let name = args.iter().filter(|arg| !arg.contains("Zq")).copied().collect::<Vec<_>>().join(" ");
        self.said.push((format!("what `{name}` printed"), pick(&out)));
        self.said.push((format!("what `{name}` complained of"), err));
        out
    }

    /// Makes a token, which its command shows once, and remembers what it shows.
    fn token(&mut self, what: &'static str, args: &[&str]) -> String {
        let args = [&["token", "create", "--reason", "a test", "--json"], args].concat();
        let made: Value = serde_json::from_str(&self.site.done(&args)).unwrap();
        let text = made["text"].as_str().unwrap().to_owned();
        self.made(what, secret_of(&text), &[]);
        text
    }

    fn ask(&mut self, at: std::net::SocketAddr, path: &str, fields: &[String]) -> Option<Answer> {
        let answer = http::get(at, path, fields).ok()?;
        self.said.push((format!("the answer of {}", plain(path)), format!("{answer:?}")));
        Some(answer)
    }
}

/// What is secret of a token: without its kind.
fn secret_of(token: &str) -> &str {
    token.rsplit('_').next().unwrap()
}

/// A path without what is secret in it.
fn plain(path: &str) -> &str {
    path.split(['?', ';']).next().unwrap().split("/login/").next().unwrap()
}

fn bearer(token: &str) -> Vec<String> {
    vec![format!("authorization: Bearer {token}")]
}

/// A mail server that repeats what it was sent while it refuses it. Ends with the test.
fn refuser() -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = stream.write_all(b"220 here\r\n");
            for line in lines.map_while(Result::ok) {
                let answer = match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                    "EHLO" => "250-here\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
                    "QUIT" => break,
                    _ => format!("535 5.7.8 I do not take {line}\r\n"),
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    at
}

/// Tokens of each kind are made, used rightly and wrongly, and ended.
fn act_of_tokens(run: &mut Run) {
    let at = run.site.at;
    let own = run.token("a service's token", &["--scope", "state:read"]);
    let ended = run.token("a token that was revoked", &["--scope", "state:read", "--expires", "1d"]);
    let join = run.token("a token to join with", &["--kind", "agt", "--scope", "metrics:write"]);
    let emit = run.token("a token to emit with", &["--scope", "metrics:write"]);
    run.runs(&["token", "revoke", "k-2", "--reason", "a test"], &[], "");
    let none = run.value("a token that is none");
    let mistyped = format!("{}x", &own[..own.len() - 1]);
    for token in [&own, &ended, &join, &emit, &none, &mistyped] {
        for path in ["/hms/v1/services", "/hms/v1/audit", "/nowhere"] {
            run.ask(at, path, &bearer(token)).unwrap();
        }
        run.runs(&["service", "list", "--json"], &[("HMSOPS_TOKEN", token)], "");
    }
    let inside = run.value("a token in an address");
    for path in ["/hms/v1/services?token=", "/?access_token=", "/nowhere/", "/login/", "/metrics?key="] {
        run.ask(at, &format!("{path}{inside}"), &[]);
    }
    run.runs(&["login", "--token", &own], &[], "");
    let place = format!("http://me:{}@{at}", run.value("the password in an address of the command line"));
    run.runs(&["service", "list"], &[("HMSOPS_SERVER", &place)], "");
    for needle in run.made.iter_mut().filter(|needle| needle.what == "a service's token") {
        needle.own = CONTEXTS;
    }
    run.runs(&["token", "lint", &own], &[], "");
    let admin = run.site.token();
    run.made("the admin token", secret_of(&admin), &["data/admin.token"]);
}

/// People log in, rightly and wrongly, by a link, a password and a provider that refuses.
fn act_of_people(run: &mut Run) {
    let at = run.site.at;
    let ann = [
        "account",
        "set",
        "ann",
        "--role",
        "operator",
        "--reason",
        "a test",
        "--password-file",
        "given/password",
    ];
    run.runs(&ann, &[], "");
    for file in ["given/wrong", "given/password"] {
        run.runs(&["login", "--user", "ann", "--password-file", file, "--context", "ann"], &[], "");
    }
    let contexts = fs::read_to_string(run.site.path(CONTEXTS[0])).unwrap();
    let session = contexts.split('"').find(|text| text.starts_with("hms_ses_"));
    let session = session.unwrap_or_else(|| panic!("no log-in in {contexts}")).to_owned();
    run.made("a log-in by password", secret_of(&session), CONTEXTS);
    run.runs(&["service", "list"], &[], "");
    run.site.done(&["login", "--token", &run.site.token()]);
    let said = run.site.run(&["login", "--link"]);
    let link = said.out.trim().rsplit_once("/login/").unwrap().1.to_owned();
    run.made("a link that logs in", &link, &[]);
    let answer = http::get(at, &format!("/login/{link}"), &[]).unwrap();
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    run.made("the cookie of a log-in", secret_of(cookie.split_once('=').unwrap().1), &[]);
    run.ask(at, "/", &[format!("cookie: {cookie}")]);
    run.ask(at, &format!("/login/{link}"), &[]);
    let sent = http::get(at, "/login/oidc", &[]).unwrap();
    let to = sent.header("location").unwrap_or_else(|| panic!("{sent:?}\n{}", run.site.log())).to_owned();
    let state = to.split(['?', '&']).find_map(|part| part.strip_prefix("state=")).unwrap().to_owned();
    let begun = sent.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let code = run.value("the code that a provider gave a browser");
    run.ask(at, &format!("/login/oidc/callback?code={code}&state={state}"), &[format!("cookie: {begun}")]);
    run.made("the state of a log-in that was begun", &state, &[]);
}

/// Messages go out by peers that refuse them and repeat what they were sent; exporters refuse to be scraped.
fn act_of_peers(run: &mut Run) {
    for receiver in ["oncall@csac.gov", "pager"] {
        let asked = format!("{{\"receiver\":\"{receiver}\"}}");
        let json = [bearer(&run.site.token()), vec!["content-type: application/json".into()]].concat();
        let answer = http::post(run.site.at, "/hms/v1/notices/test", &json, asked.as_bytes()).unwrap();
        assert!(answer.status < 300, "{answer:?}");
    }
    let is_tried = |notice: &Value| {
        notice["receiver"] == "pager" && !notice["last_error"].is_null()
            || notice["receiver"] == "oncall@csac.gov" && !notice["last_error"].is_null()
    };
    run.site.wait("both messages were refused", 30, |site| {
        let notices = site.api("/hms/v1/notices")?;
        (notices["items"].as_array()?.iter().filter(|notice| is_tried(notice)).count() == 2).then_some(())
    });
    let (echo, site) = (&run.echo, &run.site);
    site.wait("the scrapes", 30, |_| {
        let heard = echo.heard();
        (heard.contains("Basic ") && heard.contains("Bearer ")).then_some(())
    });
}

/// Users pass through the gateway to both arms, and a release goes up and comes back.
fn act_of_traffic(run: &mut Run) {
    run.site.build("1.1", Build::BROKEN);
    let file = run.site.release_file("1.1", "[{weight: 50, for: 60s}, {weight: 100}]", "1s");
    run.runs(&["deploy", "-f", &file, "--json"], &[], "");
    let fields = [
        format!("authorization: Bearer {}", run.value("Authorization of a user's request")),
        format!("cookie: session={}", run.value("a cookie of a user's request")),
    ];
    let path = format!("/basket?card={}", run.value("the query of a user's request"));
    let body = run.value("the body of a user's request");
    let gateway = run.site.gateway;
    run.site.wait("1.1 is taken back", 60, |site| {
        let _bad = http::post(gateway, &path, &fields, body.as_bytes());
        let _good = http::get(gateway, &path, &fields);
        site.api("/hms/v1/releases/r-1").filter(is("rolled-back"))
    });
    http::get(gateway, &format!("{path} HTTP/9.9"), &fields).ok();
}

/// Every route that reads, with whatever it could be about, and every command that prints.
fn act_of_reading(run: &mut Run) -> usize {
    let (at, admin) = (run.site.at, bearer(&run.site.token()));
    let known = run.site.api("/hms/v1/openapi.json").unwrap();
    let paths: Vec<String> = known["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, verbs)| {
            verbs.get("get").is_some() && !path.ends_with("stream") && !path.contains("login")
        })
        .map(|(path, _)| path.clone())
        .collect();
    let mut answered = 0;
    for path in &paths {
        let subjects: &[&str] = if path.contains('{') {
            &["r-1", "k-1", "n-1", "s-1", "p-1", "l-1", "1", "2", "shop", "pager", "ann", "job"]
        } else {
            &[""]
        };
        for subject in subjects {
            let parts = path.split('/').map(|part| if part.starts_with('{') { subject } else { part });
            let asked = parts.collect::<Vec<_>>().join("/");
            answered += usize::from(run.ask(at, &asked, &admin).is_some_and(|answer| answer.status == 200));
        }
    }
    for path in
        ["/api/v1/targets", "/api/v1/query?query=up", "/api/v1/series?match[]=up", "/metrics", "/nowhere"]
    {
        run.ask(at, path, &admin);
    }
    for verb in [
        "service list",
        "release list",
        "release show r-1",
        "release why r-1",
        "token list",
        "session list",
        "account list",
        "notify list",
        "probe list",
        "heal list",
        "alert list",
        "ticket list",
        "audit list",
        "doctor",
    ] {
        let words: Vec<&str> = verb.split(' ').collect();
        run.runs(&words, &[], "");
        run.runs(&[&words[..], &["--json"]].concat(), &[], "");
        run.runs(
            &[&words[..1], &["--help"]].concat(),
            &[("HMSOPS_TOKEN", &run.value("a token that is none"))],
            "",
        );
    }
    answered
}

/// Lines of private keys that lie below a folder of the site.
fn keys_below(run: &mut Run, folder: &'static str, own: &'static [&'static str]) -> usize {
    let mut keys = Vec::new();
    for entry in fs::read_dir(run.site.path(folder)).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        if text.contains("PRIVATE KEY-----") {
            keys.extend(text.lines().filter(|line| line.len() == 64).map(str::to_owned));
        }
    }
    for key in &keys {
        run.made("a private key", key, own);
    }
    keys.len()
}

#[test]
#[ignore = "it finds what is not mended yet: what a peer repeats of a request in its refusal is kept as the reason of a notice, gateways inherit the tower's environment, and an address of nowhere is repeated"]
fn a_known_secret_in_every_place_is_found_nowhere() {
    let mut run = Run::lay_out();
    run.settings();
    run.site.build("1.0", Build::GOOD);
    run.start();
    run.site.wait("1.0 is served", 30, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
    act_of_tokens(&mut run);
    act_of_people(&mut run);
    act_of_peers(&mut run);
    act_of_traffic(&mut run);
    // It crashes, and goes on.
    let tower = run.site.processes().into_iter().find(|process| process.role == "serve").unwrap();
    send(tower.pid, Signal::ABORT);
    run.site.kill_tower();
    run.start();
    let answered = act_of_reading(&mut run);
    assert!(answered > 30, "{answered} answers");
    assert!(keys_below(&mut run, "given", OWN) > 0);
    keys_below(&mut run, "data/tls", &["data/tls/"]);
    let heard = run.echo.heard();
    for what in [
        "the path of a webhook's address",
        "the query of a webhook's address",
        "the bearer token of a scrape",
    ] {
        assert!(heard.contains(&run.value(what)), "{what} was not used");
    }

    let mut search = Search::new([run.given.clone(), run.made.clone()].concat());
    let processes = search.look_at_processes(&run.site);
    let files = search.look_into_files(&run.site);
    for (place, text) in &run.said {
        search.look(place, text.as_bytes());
    }
    assert!(processes >= 4 && files > 20, "{processes} processes, {files} files");
    assert!(search.found.is_empty(), "{} finds:\n{}", search.found.len(), search.found.join("\n"));
}

/// The search finds what is there, in each form and in each kind of place.
#[test]
fn a_value_that_is_planted_is_found() {
    let mut site = Site::lay_out(super::kit::SHOPLESS);
    let needle = Needle::new("planted", &["given/"]);
    for (form, bytes) in needle.forms() {
        let mut search = Search::new(vec![needle.clone()]);
        search.look("an answer", &[b"{\"a\": \"", bytes.as_slice(), b"\"}"].concat());
        // The two base64 are the same where neither has its own letters.
        assert!(!search.found.is_empty(), "{form}");
    }
    site.put_secret("given/secret", &needle.value);
    let mut search = Search::new(vec![needle.clone()]);
    search.look_into_files(&site);
    assert!(search.found.is_empty(), "where it is documented to be: {:?}", search.found);
    nginx::put(&site.path("data/ledger/00.log"), &format!("\0\u{1}{}", needle.value));
    nginx::put(&site.path("work/packed"), &needle.value);
    assert!(Command::new("gzip").arg(site.path("work/packed")).status().unwrap().success());
    File::create(site.path(&format!("work/{}", needle.value))).unwrap();
    let mut waits = Command::new("/usr/bin/python3");
    waits
        .args(["-c", "import threading; threading.Event().wait()", &needle.value])
        .env("PLANTED", &needle.value);
    site.keep(&mut waits);
    site.wait("what it was started with", 10, |site| {
        let mut search = Search::new(vec![needle.clone()]);
        search.look_at_processes(site);
        (search.found.len() == 2).then_some(())
    });
    let mut search = Search::new(vec![needle]);
    search.look_into_files(&site);
    assert_eq!(search.found.len(), 3, "{:?}", search.found);
}
