//! Hostile words: paths that mean another, requests that end twice, bodies that unfold, text that would move a terminal's
//! cursor, pages of others.

use super::hostile::{Target, ask, emit, statuses};
use super::http;
use super::kit::Said;
use super::nginx;

/// A request that must never be seen: it would be answered with 200.
const SMUGGLED: &str = "GET /-/healthy HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

/// Where one parser sees one request and another one two.
#[test]
fn requests_that_end_in_two_places_are_refused() {
    let target = Target::start();
    let rest = SMUGGLED.len();
    for at in target.doors() {
        let path = if at == target.site.at { "/hms/v1/deploy" } else { "/v1/emit" };
        let post = format!("POST {path} HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/json\r\n");
        for (what, fields) in [
            ("two lengths", format!("content-length: 0\r\ncontent-length: {rest}\r\n\r\n")),
            ("two lengths in one", format!("content-length: 0, {rest}\r\n\r\n")),
            ("a length with a sign", "content-length: +0\r\n\r\n".into()),
            ("a length below zero", "content-length: -1\r\n\r\n".into()),
            ("a length that is none", "content-length: 0x0\r\n\r\n".into()),
            ("a length beyond 64 bits", "content-length: 18446744073709551616\r\n\r\n".into()),
            ("another coding", "transfer-encoding: xchunked\r\n\r\n".into()),
            ("chunked first", "transfer-encoding: chunked, identity\r\n\r\n".into()),
            ("a length of a chunk that is none", "transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n".into()),
            ("a chunk beyond 64 bits", "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n".into()),
            ("a folded field", "x: a\r\n transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n".into()),
            ("a bare CR", "x: a\rcontent-length: 0\r\n\r\n".into()),
            ("a space before the colon", "content-length : 0\r\n\r\n".into()),
            ("a NUL", "x: a\0b\r\ncontent-length: 0\r\n\r\n".into()),
            ("no name", ": a\r\ncontent-length: 0\r\n\r\n".into()),
        ] {
            let said = statuses(&ask(at, format!("{post}{fields}{SMUGGLED}").as_bytes()));
            assert!(said.len() == 1 && (400..500).contains(&said[0]), "{what}: {said:?}");
        }
        // The coding counts, and nothing is read after it (RFC 9112 §6.1).
        for (what, fields) in [
            ("a length and a coding", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            ("a coding and a length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
            ("an extension of a chunk", "transfer-encoding: chunked\r\n\r\n0;a=\"b\"\r\n\r\n"),
        ] {
            let said = statuses(&ask(at, format!("{post}{fields}{SMUGGLED}").as_bytes()));
            assert!(said.len() == 1, "{what}: {said:?}");
        }
        let extended = format!("{post}transfer-encoding: chunked\r\n\r\n1;{}\r\n", "x".repeat(1 << 20));
        let said = statuses(&ask(at, extended.as_bytes()));
        assert!(said.len() <= 1 && said.iter().all(|status| *status >= 400), "{said:?}");
    }
    target.stays_unharmed();
}

/// A path is what it says, byte by byte: whatever else it could mean is no path of ours.
#[test]
fn tricks_with_paths_reach_nothing() {
    let target = Target::start();
    let (at, token) = (target.site.at, target.site.token());
    for path in [
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/assets/..%2f..%2fadmin.token",
        "/assets/%2e%2e/%2e%2e/admin.token",
        "/assets/..\\..\\admin.token",
        "//hms/v1/services",
        "/hms//v1/services",
        "/hms/v1/services/",
        "/hms/v1/./services",
        "/hms/v1/releases/../services",
        "/hms/v1/services%00",
        "/hms/v1/services/%00",
        "/hms/v1/services/%c0%ae%c0%ae",
        "/hms/v1/services/%ff",
        "/hms/v1/services/%zz",
        "/hms/v1/services/%0d%0aset-cookie:%20a=b",
        "/hms/v1/services;a=b",
        "/HMS/V1/services",
        "*",
    ] {
        for auth in [String::new(), format!("authorization: Bearer {token}\r\n")] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\n{auth}connection: close\r\n\r\n");
            let answer = ask(at, request.as_bytes());
            let said = statuses(&answer);
            assert!(said.len() == 1 && (400..500).contains(&said[0]), "{path}: {answer}");
            assert!(!answer.contains("root:") && !answer.contains(&token), "{path}: {answer}");
            assert!(!answer.to_lowercase().contains("\r\nset-cookie"), "{path}: {answer}");
        }
    }
    // A whole address names the same path; whom it names does not make it another one's.
    let get = |line: &str, host: &str| {
        statuses(&ask(
            at,
            format!("GET {line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
        ))
    };
    assert_eq!(get("http://evil.example/hms/v1/services", "127.0.0.1"), [401]);
    assert_eq!(get(&format!("http://{at}/-/healthy"), "127.0.0.1"), [200]);
    assert_eq!(
        statuses(&ask(at, b"CONNECT evil.example:443 HTTP/1.1\r\nhost: a\r\n\r\n")).first(),
        Some(&401)
    );
    target.stays_unharmed();
}

/// Bodies that are small and would become large, or deep.
#[test]
fn bodies_that_unfold_are_refused_before_they_do() {
    let target = Target::start();
    let (at, collector) = (target.site.at, target.site.collector);
    let token = format!("authorization: Bearer {}", target.site.token());
    let json = "content-type: application/json".to_owned();
    let fields = [token.clone(), json.clone()];
    let deep = ["[".repeat(100_000), "{\"a\":".repeat(100_000)];
    for body in &deep {
        for (door, path) in
            [(at, "/hms/v1/deploy"), (at, "/hms/v1/metrics"), (at, "/hms/v1/apply"), (collector, "/v1/emit")]
        {
            let answer = http::post(door, path, &fields, body.as_bytes()).unwrap();
            assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        }
    }
    let large = vec![b' '; 40 << 20];
    for (door, path) in
        [(at, "/hms/v1/deploy"), (at, "/hms/v1/metrics"), (collector, "/v1/emit"), (at, "/api/v1/query")]
    {
        // Who goes on sending may see the connection broken before it sees the answer.
        let status = http::post(door, path, &fields, &large).map(|answer| answer.status);
        assert!(
            status.as_ref().map_or(true, |status| matches!(status, 400 | 404 | 413 | 415)),
            "{path}: {status:?}"
        );
    }
    // Snappy: a length of 4 GB in five bytes, and one of 32 MB of copies that is as long as it says.
    let write = [
        token.clone(),
        "content-type: application/x-protobuf".to_owned(),
        "content-encoding: snappy".to_owned(),
    ];
    let mut bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 200 << 20]).unwrap();
    for body in [vec![0xff, 0xff, 0xff, 0xff, 0x0f], bomb.clone()] {
        let answer = http::post(at, "/api/v1/write", &write, &body).unwrap();
        assert!([400, 413].contains(&answer.status), "{answer:?}");
    }
    bomb = snap::raw::Encoder::new().compress_vec(&vec![0x0a; 31 << 20]).unwrap();
    for _ in 0..4 {
        let answer = http::post(at, "/api/v1/write", &write, &bomb).unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    // Nobody unpacks anything else.
    for coding in ["gzip", "zstd", "br", "deflate", "gzip, gzip"] {
        let packed = format!("content-encoding: {coding}");
        let answer =
            http::post(at, "/api/v1/write", &[token.clone(), write[1].clone(), packed.clone()], b"x")
                .unwrap();
        assert_eq!(answer.status, 415, "{coding}: {answer:?}");
        let fields = [json.clone(), packed, token.clone()];
        let answer = http::post(collector, "/v1/emit", &fields, &[0x1f, 0x8b, 8, 0]).unwrap();
        assert!((400..500).contains(&answer.status), "{coding}: {answer:?}");
    }
    target.stays_unharmed();
}

/// Files that unfold: deep ones, and lists of lists by name (the "billion laughs").
#[test]
fn files_that_unfold_are_refused() {
    let target = Target::start();
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let before = vec![format!("*a{}", n - 1); 9].join(", ");
        laughs.extend([format!("a{n}: &a{n} [{before}]\n")]);
    }
    let deep = format!("service: {}", "[".repeat(100_000));
    let steps = "- ".repeat(100_000);
    for (what, text) in
        [("laughs", laughs), ("deep", deep), ("steps", steps), ("itself", "a: &a [*a]\n".into())]
    {
        nginx::put(&target.site.path("bad.yaml"), &text);
        let said: Said = target.site.run(&["deploy", "-f", "bad.yaml"]);
        assert_eq!(said.code, Some(2), "{what}: {said:?}");
        assert!(said.err.len() < 20_000, "{what}: {} bytes of errors", said.err.len());
    }
    target.stays_unharmed();
}

/// Text that would move a cursor, colour what follows, end a line or turn it around.
const MOVING: [&str; 6] = [
    "\u{1b}[2J\u{1b}[31mall is well",
    "ok\nERROR tower: forged",
    "ok\r\nforged: yes",
    "bell\u{7}back\u{8}",
    "right\u{202e}tfel\u{2066}",
    "line\u{2028}paragraph\u{2029}next\u{85}",
];

/// Whatever a name holds: it reaches no log, no terminal and no line of the ledger as it is.
#[test]
fn text_that_moves_a_cursor_reaches_no_terminal() {
    let target = Target::start();
    let (at, collector) = (target.site.at, target.site.collector);
    let json = ["content-type: application/json".to_owned()];
    let admin = [json[0].clone(), format!("authorization: Bearer {}", target.site.token())];
    for text in MOVING {
        let quoted = serde_json::to_string(text).unwrap();
        let batch = format!(
            "{{\"source\":{quoted},\"sequence\":1,\"labels\":{{\"service\":{quoted}}},\"metrics\":[{{\"name\":{quoted},\
             \"labels\":{{\"a\":{quoted}}},\"time\":1,\"sum\":1,\"count\":1,\"min\":1,\"max\":1,\"last\":1}}]}}"
        );
        let _any = http::post(collector, "/v1/emit", &json, batch.as_bytes()).unwrap();
        for (path, body) in [
            ("/hms/v1/rules", format!("{{\"name\":{quoted},\"expr\":{quoted},\"service\":{quoted}}}")),
            ("/hms/v1/silences", format!("{{\"rule\":{quoted},\"reason\":{quoted},\"for\":{quoted}}}")),
            (
                "/hms/v1/tokens",
                format!("{{\"name\":{quoted},\"owner\":{quoted},\"scopes\":[\"metrics:write\"]}}"),
            ),
            ("/hms/v1/deploy", format!("{{\"service\":{quoted},\"reason\":{quoted}}}")),
            ("/hms/v1/heals/pause", format!("{{\"reason\":{quoted}}}")),
        ] {
            let answer = http::post(at, path, &admin, body.as_bytes()).unwrap();
            is_data(&answer.body, &format!("the answer of {path} to {quoted}"));
        }
        let encoded = text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
        for path in [
            format!("/hms/v1/services/{encoded}"),
            format!("/{encoded}"),
            format!("/api/v1/query?query={encoded}"),
        ] {
            let answer = http::get(at, &path, &admin[1..]).unwrap();
            is_data(&answer.body, &format!("the answer of {path}"));
        }
        let reason = format!("because {text}");
        for verb in [
            &["heal", "pause", "--reason", &reason][..],
            &["service", "show", text],
            &["release", "show", text],
            &["rule", "show", text],
            &["query", text],
            &["audit", "list", "--actor", text],
        ] {
            let said = target.site.run(verb);
            is_still(&said.out, &format!("the output of {verb:?}"));
            // One's own words come back as they are, but for what a terminal obeys.
            let moving = |c: char| c.is_ascii_control() && !matches!(c, '\n' | '\r' | '\t');
            assert!(!said.err.contains(moving), "the talk of {verb:?}: {:?}", said.err);
        }
    }
    // As user agent, and in place of a name of a log-in: only bytes that a field may hold come that far.
    let agent =
        format!("GET / HTTP/1.1\r\nhost: {at}\r\nuser-agent: \u{1b}[31m\r\nconnection: close\r\n\r\n");
    assert_eq!(statuses(&ask(at, agent.as_bytes())), [400]);
    let said = target.site.run(&["audit", "list"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    is_still(&said.out, "the audit");
    target.stays_unharmed();
}

/// Is JSON in which all that moves a cursor is written as JSON writes it; what turns the direction is data like any other.
fn is_data(text: &str, what: &str) {
    assert!(!text.chars().any(|c| c.is_ascii_control() && c != '\n'), "{what}: {text:?}");
}

/// Has nothing that a terminal would obey.
fn is_still(text: &str, what: &str) {
    let moving = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert_eq!(text.chars().find(|c| moving(*c)), None, "{what}: {text:?}");
    assert!(
        !text.lines().any(|line| line.starts_with("ERROR tower: forged") || line.starts_with("forged:")),
        "{what}: {text}"
    );
}

/// Pages of others in a browser of this machine, which knows cookies and stands behind loopback.
#[test]
fn pages_of_others_change_nothing() {
    let target = Target::start();
    let (at, collector) = (target.site.at, target.site.collector);
    let link = target.site.done(&["login", "--link"]);
    let path = link.lines().last().unwrap().strip_prefix(&format!("http://{at}")).unwrap().to_owned();
    let own = [format!("origin: http://{at}"), "sec-fetch-site: same-origin".to_owned()];
    let mut answer = http::get(at, &path, &[]).unwrap();
    if answer.header("set-cookie").is_none() {
        answer = http::post(at, &path, &own, b"").unwrap();
    }
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite="), "{cookie}");
    let cookie = format!("cookie: {}", cookie.split(';').next().unwrap());
    let pause = "/hms/v1/heals/pause";
    let json = "content-type: application/json".to_owned();
    let form = "content-type: application/x-www-form-urlencoded".to_owned();
    for (what, fields) in [
        ("another origin", vec!["origin: https://evil.example".to_owned()]),
        ("no origin of its own", vec!["origin: null".to_owned()]),
        ("another port of this machine", vec!["origin: http://127.0.0.1:1".to_owned()]),
        ("another site", vec!["sec-fetch-site: cross-site".to_owned()]),
        ("a site beside", vec!["sec-fetch-site: same-site".to_owned()]),
        ("a site that is none", vec!["sec-fetch-site: none".to_owned()]),
        ("nothing said", vec![]),
        (
            "a name that is given our address",
            vec!["origin: http://evil.example".to_owned(), "host: evil.example".to_owned()],
        ),
    ] {
        for (media, body) in [(&json, "{\"reason\":\"forged\"}"), (&form, "reason=forged")] {
            let fields = [fields.clone(), vec![cookie.clone(), media.clone()]].concat();
            let answer = http::post(at, pause, &fields, body.as_bytes()).unwrap();
            assert!([400, 401, 403].contains(&answer.status), "{what}: {answer:?}");
        }
        if what != "nothing said" {
            let answer = emit(collector, &fields).unwrap();
            assert!([400, 401, 403].contains(&answer.status), "{what} emits: {answer:?}");
        }
    }
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer = http::post(collector, "/v1/emit", &[format!("content-type: {media}")], b"{}").unwrap();
        assert_eq!(answer.status, 415, "{media}: {answer:?}");
    }
    let held = target.site.done(&["audit", "list"]);
    assert!(!held.contains("forged"), "{held}");
    // A page of ours may.
    let fields = [own.to_vec(), vec![cookie, json]].concat();
    let answer = http::post(at, pause, &fields, b"{\"reason\":\"mended by hand\"}").unwrap();
    assert!(answer.status < 300, "{answer:?}");
    target.stays_unharmed();
}
