//! What browsers are told by every answer of every route, and what never stands in an address or a page.

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap};

use super::*;
use crate::tls::Arrival;

/// Directives of a policy: the name and what it allows.
fn directives(headers: &HeaderMap) -> BTreeMap<String, String> {
    let policy = headers["content-security-policy"].to_str().unwrap();
    let parts = policy.split(';').map(|part| part.trim().split_once(' ').unwrap());
    parts.map(|(name, allowed)| (name.to_owned(), allowed.to_owned())).collect()
}

/// Whether an answer tells browsers all that ours has to.
fn check_headers(headers: &HeaderMap, about: &str) {
    let policy = directives(headers);
    let allowed = |name: &str| policy.get(name).map(String::as_str);
    for (name, least) in [
        ("default-src", Some("'none'")),
        ("base-uri", Some("'none'")),
        ("frame-ancestors", Some("'none'")),
        ("form-action", Some("'self'")),
        ("style-src", Some("'self'")),
    ] {
        assert_eq!(allowed(name), least, "{about}: {name}");
    }
    for name in ["script-src", "connect-src"] {
        assert!(matches!(allowed(name), None | Some("'self'")), "{about}: {name}");
    }
    let known = ["default-src", "base-uri", "frame-ancestors", "form-action", "style-src", "script-src"];
    let known = [known.as_slice(), &["connect-src", "img-src"]].concat();
    assert!(policy.keys().all(|name| known.contains(&name.as_str())), "{about}: {policy:?}");
    let is_badge = about.contains("/status/badge/");
    for (name, wanted) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(headers.get(name).map(|value| value.to_str().unwrap()), Some(wanted), "{about}: {name}");
    }
    let shared = headers["cross-origin-resource-policy"].to_str().unwrap();
    assert!(shared == "same-origin" || (is_badge && shared == "cross-origin"), "{about}: {shared}");
    let features = headers["permissions-policy"].to_str().unwrap();
    assert!(
        features.contains("camera=()") && features.split(", ").all(|one| one.ends_with("=()")),
        "{about}"
    );
    let kept = headers[CACHE_CONTROL].to_str().unwrap();
    let is_asset = about.contains("/assets/") && kept == "public, max-age=31536000, immutable";
    assert!(kept == "no-store" || is_asset, "{about}: {kept}");
    for line in headers.get_all(SET_COOKIE) {
        check_cookie(line.to_str().unwrap(), false, about);
    }
}

fn check_cookie(line: &str, is_tls: bool, about: &str) {
    let flags: Vec<&str> = line.split(';').skip(1).map(str::trim).collect();
    assert!(
        flags.contains(&"HttpOnly") && flags.iter().any(|flag| flag.starts_with("Path=/")),
        "{about}: {line}"
    );
    assert!(!flags.iter().any(|flag| flag.to_ascii_lowercase().starts_with("domain")), "{about}: {line}");
    assert_eq!(flags.contains(&"Secure"), is_tls, "{about}: {line}");
}

/// Tags of a page, each with its attributes.
fn tags(page: &str) -> impl Iterator<Item = &str> {
    page.split('<').skip(1).map(|tag| tag.split('>').next().unwrap_or_default())
}

/// Whether a page runs and loads nothing but what this tower serves.
fn check_page(page: &str, about: &str) {
    for tag in tags(page) {
        let lower = tag.to_ascii_lowercase();
        let names =
            lower.split_ascii_whitespace().filter_map(|part| part.split_once("=\"")).map(|(name, _)| name);
        for name in names {
            assert!(!name.starts_with("on") && name != "style", "{about}: <{tag}>");
        }
        assert!(!lower.contains("javascript:"), "{about}: <{tag}>");
        if lower.starts_with("script") {
            assert!(lower.contains(" src=\"/assets/"), "{about}: <{tag}>");
        }
        if let Some((_, source)) = lower.split_once(" src=\"") {
            assert!(source.starts_with("/assets/") || source.starts_with("/status/"), "{about}: <{tag}>");
        }
    }
    for script in page.split("<script").skip(1) {
        let (_, inside) = script.split_once('>').unwrap();
        assert!(inside.starts_with("</script>"), "{about}: a script stands in the page");
    }
}

/// Asks, and looks at the answer from all sides. Returns its status.
async fn look_at(site: &Site, method: &Method, path: &str, token: Option<&str>, accept: &str) -> StatusCode {
    let mut request = bare(method.clone(), path).header(ACCEPT, accept);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = site.send(request.body(Body::empty()).unwrap()).await;
    let status = response.status();
    let about = format!("{method} {path} as {} for {accept}: {status}", token.map_or("nobody", |_| "admin"));
    check_headers(response.headers(), &about);
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    if kind.as_deref() == Some("text/event-stream") {
        return status;
    }
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.is_empty() || kind.is_some(), "{about}: what it is, is left to guess");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains(&site.token), "{about}: the token stands in it");
    if kind.is_some_and(|kind| kind.starts_with("text/html")) {
        check_page(&text, &about);
    }
    status
}

/// A route that is added to the table is held to this by itself: as anybody and as the admin, for browsers and for
/// programs, rightly and wrongly asked.
#[tokio::test]
async fn every_answer_of_every_route_tells_browsers_what_they_may() {
    let site = Site::new(false).with_forms().await;
    let token = site.token.clone();
    let mut seen = std::collections::BTreeSet::new();
    for route in table().all() {
        let path = filled(route.path);
        for method in [&route.method, &Method::HEAD, &Method::OPTIONS, &Method::PATCH] {
            for accept in ["text/html", "*/*"] {
                for token in [None, Some(token.as_str())] {
                    seen.insert(look_at(&site, method, &path, token, accept).await.as_u16());
                }
            }
        }
    }
    for path in
        ["/nothing", "/hms/v1/nothing", "/%2e%2e/x", "/status/badge/legacy-forms.svg", "/dash/legacy-forms"]
    {
        for accept in ["text/html", "*/*"] {
            for token in [None, Some(token.as_str())] {
                seen.insert(look_at(&site, &Method::GET, path, token, accept).await.as_u16());
            }
        }
    }
    for status in [200, 400, 401, 404, 405] {
        assert!(seen.contains(&status), "{status} was never answered: {seen:?}");
    }
}

/// What everybody sees says nothing to a browser that it would have to keep, and runs nothing.
#[tokio::test]
async fn the_public_page_has_no_script_and_no_cookie() {
    let site = Site::new(false).with_forms().await;
    for path in ["/status", "/status/feed.atom", "/status/status.json", "/status/badge/legacy-forms.svg"] {
        let response = site.send(bare(Method::GET, path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        assert!(!response.headers().contains_key(SET_COOKIE), "{path}");
        assert!(!directives(response.headers()).contains_key("script-src"), "{path}");
        let text = read(response).await.1.to_string();
        assert!(!text.contains("<script") && !text.contains("127.0.0.1"), "{path}: {text}");
    }
}

/// An address may end up in histories, logs and the lists of proxies. The one secret that stands in one is a log-in
/// link's, which lets in once and for ten minutes.
#[tokio::test]
async fn no_secret_stands_in_an_address() {
    for route in table().all() {
        let parameters = route.path.split(['{', '}']).skip(1).step_by(2);
        for parameter in parameters {
            let is_link = route.path == "/login/{nonce}";
            assert!(is_link || matches!(parameter, "id" | "name" | "file" | "title"), "{}", route.path);
        }
    }
    let site = Site::new(false);
    for address in [
        "/api/v1/query?token=TOKEN",
        "/api/v1/query?access_token=TOKEN",
        "/api/v1/query?a=1&TOKEN",
        "/api/v1/query?query=up%7Bx%3D%22TOKEN%22%7D",
        "/hms/v1/services/TOKEN",
        "/TOKEN/x",
    ] {
        let path = address.replace("TOKEN", &site.token);
        let page = bare(Method::GET, &path).header(ACCEPT, "text/html").body(Body::empty()).unwrap();
        let page = site.send(page).await.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&page).contains(&site.token), "{address}");
        for right in [false, true] {
            let mut request = bare(Method::GET, &path);
            if right {
                request = request.header("authorization", format!("Bearer {}", site.token));
            }
            let (status, problem) = read(site.send(request.body(Body::empty()).unwrap()).await).await;
            assert_eq!(status, 400, "{address}");
            assert!(problem["detail"].as_str().unwrap().contains("in the address"), "{problem}");
            assert!(!problem.to_string().contains(&site.token), "{problem}");
        }
    }
    let (status, _) = site.get("/api/v1/query?query=hms_sa_is_a_name").await;
    assert_eq!(status, 200, "what only looks like one is asked for");
}

/// RFC 6265bis, section 4.1.3.2: over TLS the cookie is of this host alone.
#[tokio::test]
async fn a_log_in_over_tls_is_kept_for_tls() {
    let site = Site::new(false);
    for is_tls in [false, true] {
        let link = site.context.auth.login_link(site.context.clock.now());
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let request = bare(Method::GET, &link).extension(Arrival { peer, is_tls, client: None });
        let response = site.send(request.body(Body::empty()).unwrap()).await;
        let line = response.headers()[SET_COOKIE].to_str().unwrap();
        check_cookie(line, is_tls, "a log-in");
        assert_eq!(line.starts_with("__Host-"), is_tls, "{line}");
        assert!(line.contains("SameSite=Strict"), "{line}");
    }
}
