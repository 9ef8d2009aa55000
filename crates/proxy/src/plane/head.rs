//! What is done to the heads of requests and answers on their way through.

use std::net::SocketAddr;

use hmsops_model::BadKind;
use hmsops_model::route::Route;
use hmsops_model::service::{BadRule, Identity};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request};

use super::answer::{Refusal, Why};
use super::serve::Arrival;

/// Names why the gateway itself answered; on no other answer.
pub(super) const REASON: HeaderName = HeaderName::from_static("hmsops-gateway");

/// The tower's session cookie, as a pair begins.
const SESSION: &[u8] = b"hms_session=";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// RFC 9110 §7.6.1, and what hyper writes anew for each hop.
const HOP_BY_HOP: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The host that a request is for, lower case and without its port; empty when it names none.
pub(super) fn host(parts: &request::Parts) -> Result<String, Refusal> {
    let bad = |text| Refusal::new(StatusCode::BAD_REQUEST, Why::BadRequest, text);
    let mut named = parts.headers.get_all(header::HOST).iter();
    let first = named.next();
    if named.next().is_some() {
        return Err(bad("the request names more than one host"));
    }
    let text = match (parts.uri.authority(), first) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(value)) => value.to_str().map_err(|_| bad("the request's host can't be read"))?,
        (None, None) if parts.version == Version::HTTP_10 => "",
        (None, None) => return Err(bad("the request names no host")),
    };
    let end = match text.rfind(':') {
        Some(colon) if !text.get(colon..).unwrap_or_default().contains(']') => colon,
        _ => text.len(),
    };
    Ok(text.get(..end).unwrap_or_default().to_ascii_lowercase())
}

/// The path and query alone, as an origin server is asked.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    match uri.authority() {
        None => uri.clone(),
        Some(_) => uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from),
    }
}

/// Makes a client's head ours: hop-by-hop fields go, forwarding fields come. `X-Forwarded-Proto` and `-Host`
/// are kept when a proxy in front has set them; the peer is always added to `X-Forwarded-For`. Returns what
/// the client wants to upgrade to.
pub(super) fn forward(parts: &mut request::Parts, peer: SocketAddr) -> Option<HeaderValue> {
    let scheme = if parts.extensions.get::<Arrival>().is_some() { "https" } else { "http" };
    let headers = &mut parts.headers;
    let upgrade = wants_upgrade(headers).then(|| headers.get(header::UPGRADE).cloned()).flatten();
    strip(headers);
    withhold_session(headers);
    // The gateway has answered `100-continue` itself by reading the body.
    headers.remove(header::EXPECT);
    if let Some(authority) = parts.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, value);
    }
    if !headers.contains_key(&FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
    if !headers.contains_key(&FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    let peer = peer.ip().to_canonical().to_string();
    let before: Vec<_> = headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let list = if before.is_empty() {
        peer.into_bytes()
    } else {
        [before.join(&b", "[..]).as_slice(), b", ", peer.as_bytes()].concat()
    };
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(FORWARDED_FOR, value);
    }
    if let Some(protocol) = &upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    upgrade
}

/// Removes what concerns one hop only, including what `Connection` names.
pub(super) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            // A peer must not make us drop what frames or routes the message.
            .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Browsers send a cookie to every port of a host, so whoever is logged in at the tower brings that session here,
/// too. It is no service's business, least of all a canary's.
fn withhold_session(headers: &mut HeaderMap) {
    let brings = |value: &HeaderValue| value.as_bytes().windows(SESSION.len()).any(|part| part == SESSION);
    if !headers.get_all(header::COOKIE).iter().any(brings) {
        return;
    }
    let kept: Vec<Vec<u8>> = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !pair.starts_with(SESSION))
        .map(<[u8]>::to_vec)
        .collect();
    headers.remove(header::COOKIE);
    if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
        && !kept.is_empty()
    {
        headers.insert(header::COOKIE, value);
    }
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a request may be asked twice without harm (RFC 9110 §9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Calls `with` with the bytes that say who asks; `None` when the request doesn't say.
pub(super) fn with_client<T>(
    identity: &Identity,
    headers: &HeaderMap,
    peer: SocketAddr,
    with: impl FnOnce(Option<&[u8]>) -> T,
) -> T {
    let known = |key: Option<&[u8]>| key.filter(|key| !key.is_empty()).map(<[u8]>::to_vec);
    match identity {
        Identity::Request => with(None),
        Identity::Cookie(name) => with(cookie(headers, name).filter(|value| !value.is_empty())),
        Identity::Header(name) => {
            with(headers.get(name.as_str()).map(HeaderValue::as_bytes).filter(|value| !value.is_empty()))
        }
        Identity::Xff => {
            let first =
                headers.get(&FORWARDED_FOR).and_then(|value| value.as_bytes().split(|b| *b == b',').next());
            let key = known(first.map(<[u8]>::trim_ascii));
            with(Some(&key.unwrap_or_else(|| peer.ip().to_canonical().to_string().into_bytes())))
        }
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs =
        headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    pairs
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")))
}

/// Why an answer is bad for the version that gave it, by the service's rules.
pub(super) fn judge(route: &Route, path: &str, status: StatusCode) -> Option<BadKind> {
    let broken = |rule: &BadRule| match rule {
        BadRule::Status5xx => status.is_server_error().then_some(BadKind::Status),
        BadRule::Timeout => None,
        BadRule::Answer { path: on, status: statuses } => {
            let here = on.as_deref().is_none_or(|on| on == path);
            (here && statuses.contains(&status.as_u16())).then_some(BadKind::Declared)
        }
    };
    route.bad.iter().find_map(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&str, &str)]) -> request::Parts {
        let request = http::Request::get("/a?b");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn peer() -> SocketAddr {
        "[::ffff:192.0.2.7]:4000".parse().unwrap()
    }

    #[test]
    fn hosts_are_compared_without_case_and_port() {
        for (given, found) in [
            ("Portal.CSAC.gov:8080", "portal.csac.gov"),
            ("a", "a"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host(&parts(&[("host", given)])).unwrap(), found);
        }
        assert!(host(&parts(&[])).is_err());
        assert!(host(&parts(&[("host", "a"), ("host", "b")])).is_err());
    }

    #[test]
    fn what_concerns_one_hop_stays_on_it() {
        let mut parts = parts(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Secret, content-length"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("content-length", "0"),
            ("traceparent", "00-1-2-3"),
            ("x-forwarded-for", "198.51.100.1"),
        ]);
        assert_eq!(forward(&mut parts, peer()), None);
        let names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        for gone in ["connection", "x-secret", "keep-alive", "te"] {
            assert!(!names.contains(&gone), "{gone}");
        }
        assert_eq!(parts.headers["content-length"], "0");
        assert_eq!(parts.headers["traceparent"], "00-1-2-3");
        assert_eq!(parts.headers["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
        assert_eq!(parts.headers["x-forwarded-host"], "a");
        assert_eq!(parts.headers["x-forwarded-proto"], "http");
    }

    #[test]
    fn a_session_at_the_tower_stays_with_the_tower() {
        let sent = |cookie: &str| {
            let mut parts = parts(&[("cookie", cookie)]);
            forward(&mut parts, peer());
            parts.headers.get("cookie").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(sent("a=1; hms_session=s3cret; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(sent("hms_session=s3cret"), None);
        assert_eq!(sent("a=1;b=2").as_deref(), Some("a=1;b=2"), "others are as they were");
    }

    #[test]
    fn clients_are_told_apart_as_the_service_declares() {
        let parts = parts(&[
            ("cookie", "sessions=x; session=abc"),
            ("cookie", "session=later"),
            ("x-user", "u1"),
            ("x-forwarded-for", " 198.51.100.1 , 10.0.0.1"),
        ]);
        let key = |identity: Identity, headers: &HeaderMap| {
            with_client(&identity, headers, peer(), |key| key.map(<[u8]>::to_vec))
        };
        assert_eq!(key(Identity::Cookie("session".into()), &parts.headers).unwrap(), b"abc");
        assert_eq!(key(Identity::Header("X-User".into()), &parts.headers).unwrap(), b"u1");
        assert_eq!(key(Identity::Xff, &parts.headers).unwrap(), b"198.51.100.1");
        assert_eq!(key(Identity::Request, &parts.headers), None);
        assert_eq!(key(Identity::Xff, &HeaderMap::new()).unwrap(), b"192.0.2.7");
        assert_eq!(key(Identity::Cookie("session".into()), &HeaderMap::new()), None);
    }
}
