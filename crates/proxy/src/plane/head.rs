//! What is done to the heads of requests and answers on their way through.

use std::borrow::Cow;
use std::net::IpAddr;

use hmsops_model::BadKind;
use hmsops_model::network::Network;
use hmsops_model::route::Route;
use hmsops_model::service::{BadRule, Identity};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request};

use super::answer::Refusal;
use super::caller::{self, Caller, FORWARDED_FOR};
use super::meter::Why;
use super::serve::Arrival;
use super::trace::{self, Parent};

/// Names why the gateway itself answered; on no other answer.
pub(super) const REASON: HeaderName = HeaderName::from_static("hmsops-gateway");

/// The tower's session cookie, as a pair begins.
const SESSION: &[u8] = b"hms_session=";

/// The same where the tower speaks TLS.
const SESSION_HOST: &[u8] = b"__Host-hms_session=";
/// Which version answered; told to trusted proxies alone.
pub(super) const VERSION: HeaderName = HeaderName::from_static("hmsops-version");

/// The longest target of a request, twice the 8 000 that RFC 9112 §3 asks for at least.
const TARGET_BYTES_MAX: usize = 16 << 10;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a client may say of itself only through a proxy that is trusted.
static FORWARDED: [HeaderName; 7] = [
    FORWARDED_FOR,
    FORWARDED_PROTO,
    FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
];

/// RFC 9110 §7.6.1, and what hyper writes anew for each hop.
static HOP_BY_HOP: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// RFC 9110 §7.6.1, and what hyper writes anew for each hop.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether `Connection` says what most say, which names no field.
fn says_nothing(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::CONNECTION).iter();
    let usual = |value: &HeaderValue| matches!(value.as_bytes(), b"keep-alive" | b"close");
    all.next().is_some_and(usual) && all.next().is_none()
}

/// Refuses a target that is too long.
pub(super) fn check_target(parts: &request::Parts) -> Result<(), Refusal> {
    let long = parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX);
    if long {
        Err(Refusal::new(StatusCode::URI_TOO_LONG, Why::TargetSize, "the target is too long"))
    } else {
        Ok(())
    }
}

/// The host that a request is for, lower case and without its port; empty when it names none.
pub(super) fn host(parts: &request::Parts) -> Result<Cow<'_, str>, Refusal> {
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
    let end = match text.bytes().rposition(|byte| byte == b':') {
        Some(colon) if !text.get(colon..).unwrap_or_default().contains(']') => colon,
        _ => text.len(),
    };
    let (name, port) = text.split_at_checked(end).unwrap_or_default();
    let is_port = port.bytes().skip(1).all(|byte| byte.is_ascii_digit());
    let (mut is_host, mut is_lower) = (is_port, true);
    for byte in name.bytes() {
        is_host &= is_host_byte(byte);
        is_lower &= !byte.is_ascii_uppercase();
    }
    if !is_host {
        return Err(bad("the request's host is no host"));
    }
    Ok(if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) })
}

/// RFC 3986 §3.2.2 without what no host of ours has: percent signs and sub-delimiters, which others may read differently.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']')
}

/// The path and query alone, as an origin server is asked.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    match uri.authority() {
        None => uri.clone(),
        Some(_) => uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from),
    }
}

/// Which fields a client's head has of those that something is done about. One look at each field costs less than a
/// search for each name, and most heads have none of them.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that is there or not")]
pub(super) struct Present {
    connection: bool,
    hop_by_hop: bool,
    forwarded: bool,
    forwarded_host: bool,
    forwarded_proto: bool,
    cookie: bool,
    settings: bool,
    expect: bool,
    twin: bool,
    /// `x-forwarded-for`.
    pub(super) chain: bool,
    /// `traceparent` or `tracestate`.
    pub(super) trace: bool,
    /// `content-type`, which may be gRPC's.
    pub(super) content: bool,
}

impl Present {
    pub(super) fn in_head(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => present.connection = true,
                "x-forwarded-host" => (present.forwarded, present.forwarded_host) = (true, true),
                "x-forwarded-proto" => (present.forwarded, present.forwarded_proto) = (true, true),
                "x-forwarded-for" => (present.forwarded, present.chain) = (true, true),
                "traceparent" | "tracestate" => present.trace = true,
                "content-type" => present.content = true,
                "cookie" => present.cookie = true,
                "http2-settings" => present.settings = true,
                "expect" => present.expect = true,
                text if text.contains('_') => present.twin = true,
                "x-forwarded-port" | "x-forwarded-prefix" | "x-real-ip" | "forwarded" => {
                    present.forwarded = true;
                }
                text if is_hop_by_hop(text) => present.hop_by_hop = true,
                _ => {}
            }
        }
        present
    }
}

/// What the gateway itself says to an arm, beside the fields that came. It is written behind them: to put it among them
/// first costs more than all else that is done with a head.
#[derive(Debug, Clone, Default)]
pub(super) struct Added {
    host: Option<HeaderValue>,
    proto: Option<&'static str>,
    chain: Option<HeaderValue>,
    /// A new trace's.
    pub(super) parent: Option<Parent>,
}

impl Added {
    /// Calls `with` for each field.
    pub(super) fn for_each(&self, mut with: impl FnMut(&HeaderName, &[u8])) {
        if let Some(host) = &self.host {
            with(&FORWARDED_HOST, host.as_bytes());
        }
        if let Some(proto) = self.proto {
            with(&FORWARDED_PROTO, proto.as_bytes());
        }
        if let Some(chain) = &self.chain {
            with(&FORWARDED_FOR, chain.as_bytes());
        }
        if let Some(parent) = &self.parent {
            with(&trace::PARENT, parent);
        }
    }

    /// Puts all of it among a head's fields.
    pub(super) fn put_into(&self, headers: &mut HeaderMap) {
        self.for_each(|name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        });
    }
}

/// Makes a client's head ours: hop-by-hop fields go, forwarding fields come, in `added`. Those that say whom the client
/// asks for are kept of a trusted proxy and of nobody else. Returns what the client wants to upgrade to; HTTP/2 in clear is not
/// among it, because what would follow passes every check here (RFC 9113 §3.1 has withdrawn it).
pub(super) fn forward(
    parts: &mut request::Parts,
    caller: &Caller<'_>,
    mut present: Present,
    added: &mut Added,
) -> Option<HeaderValue> {
    let scheme = if parts.extensions.get::<Arrival>().is_some() { "https" } else { "http" };
    let headers = &mut parts.headers;
    let wants_upgrade = present.connection && wants_upgrade(headers);
    let upgrade = wants_upgrade.then(|| headers.get(header::UPGRADE).cloned()).flatten();
    let upgrade = upgrade.filter(|protocol| !protocol.as_bytes().to_ascii_lowercase().starts_with(b"h2c"));
    if present.connection {
        strip(headers);
        // It may have named any of the others.
        present = Present::in_head(headers);
    } else if present.hop_by_hop {
        strip(headers);
    }
    if present.twin {
        withhold_twins(headers);
    }
    if present.settings {
        headers.remove(HTTP2_SETTINGS);
    }
    if present.forwarded && !caller.is_trusted {
        for name in &FORWARDED {
            headers.remove(name);
        }
        (present.forwarded_host, present.forwarded_proto, present.chain) = (false, false, false);
    }
    if present.cookie {
        withhold_session(headers);
        join_cookies(headers);
    }
    if present.expect {
        // The gateway has answered `100-continue` itself by reading the body.
        headers.remove(header::EXPECT);
    }
    if let Some(authority) = parts.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, value);
    }
    if !present.forwarded_host {
        added.host = headers.get(header::HOST).cloned();
    }
    added.proto = (!present.forwarded_proto).then_some(scheme);
    added.chain = caller::chain(headers, caller, present.chain);
    if present.chain {
        headers.remove(&FORWARDED_FOR);
    }
    if let Some(protocol) = &upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    upgrade
}

/// Makes an arm's head ours: what concerns one hop goes, and what only the gateway says.
pub(super) fn back(headers: &mut HeaderMap) {
    let (mut connection, mut hop, mut ours) = (false, false, false);
    for name in headers.keys() {
        match name.as_str() {
            "connection" => connection = true,
            "hmsops-gateway" | "hmsops-version" => ours = true,
            text => hop |= is_hop_by_hop(text),
        }
    }
    if connection && !hop && says_nothing(headers) {
        headers.remove(header::CONNECTION);
    } else if connection || hop {
        strip(headers);
    }
    if ours {
        headers.remove(REASON);
        headers.remove(VERSION);
    }
}

/// Removes what concerns one hop only, including what `Connection` names.
pub(super) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            // What most say; the field `keep-alive` goes anyway, and none has the reserved name `close`.
            .filter(|token| !["keep-alive", "close"].iter().any(|usual| token.eq_ignore_ascii_case(usual)))
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            // A peer must not make us drop what frames or routes the message.
            .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    // Most heads have none: looking at each field once costs less than a search for each name.
    if headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

/// Removes fields whose names are those of ours with `_` for `-`: behind a CGI-like interface the two are one.
fn withhold_twins(headers: &mut HeaderMap) {
    let is_twin = |name: &&HeaderName| {
        let text = name.as_str();
        text.contains('_') && {
            let text = text.replace('_', "-");
            FORWARDED.iter().any(|name| *name == *text)
                || [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
                    .iter()
                    .any(|name| *name == *text)
        }
    };
    let twins: Vec<HeaderName> = headers.keys().filter(is_twin).cloned().collect();
    for twin in twins {
        headers.remove(twin);
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
        .filter(|pair| !pair.is_empty() && !pair.starts_with(SESSION) && !pair.starts_with(SESSION_HOST))
        .map(<[u8]>::to_vec)
        .collect();
    headers.remove(header::COOKIE);
    if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
        && !kept.is_empty()
    {
        headers.insert(header::COOKIE, value);
    }
}

/// HTTP/2 may send each cookie in a field of its own; HTTP/1.1 has one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else { return };
    let all: Vec<_> = [first, second].into_iter().chain(cookies).collect();
    if let Ok(value) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
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

/// Calls `with` with the bytes that say who asks; `None` when the request doesn't say. `trusted` are the proxies whose
/// `X-Forwarded-For` counts; `None`: the peer is not one of them.
pub(super) fn with_client<T>(
    identity: &Identity,
    headers: &HeaderMap,
    peer: IpAddr,
    trusted: Option<&[Network]>,
    with: impl FnOnce(Option<&[u8]>) -> T,
) -> T {
    match identity {
        Identity::Request => with(None),
        Identity::Cookie(name) => with(cookie(headers, name).filter(|value| !value.is_empty())),
        Identity::Header(name) => {
            with(headers.get(name.as_str()).map(HeaderValue::as_bytes).filter(|value| !value.is_empty()))
        }
        Identity::Xff => match trusted.and_then(|trusted| caller::named(headers, trusted)) {
            Some(named) => with(Some(named)),
            None => with(Some(peer.to_string().as_bytes())),
        },
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
    use proptest::prelude::*;

    use super::super::caller::Peer;
    use super::*;

    fn parts(fields: &[(&str, &str)]) -> request::Parts {
        let request = http::Request::get("/a?b");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn sent_on(parts: &mut request::Parts, caller: &Caller<'_>) -> Option<HeaderValue> {
        let (present, mut added) = (Present::in_head(&parts.headers), Added::default());
        let upgrade = forward(parts, caller, present, &mut added);
        added.put_into(&mut parts.headers);
        upgrade
    }

    fn peer() -> Peer {
        Peer::new("[::ffff:192.0.2.7]:4000".parse().unwrap())
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
        for wrong in ["a b", "a/b", "b@a", "a?b", "a#b", "a,b", "a:b", "a\\b", "a:80:x", "a%2e", "a:-1"] {
            assert!(host(&parts(&[("host", wrong)])).is_err(), "{wrong}");
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
        let peer = peer();
        let proxy = Caller::new(&parts.headers, &peer, &["192.0.2.7".parse().unwrap()], true);
        assert_eq!(sent_on(&mut parts, &proxy), None);
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
            let peer = peer();
            let stranger = Caller::new(&parts.headers, &peer, &[], true);
            sent_on(&mut parts, &stranger);
            parts.headers.get("cookie").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(sent("a=1; hms_session=s3cret; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(sent("hms_session=s3cret"), None);
        assert_eq!(sent("__Host-hms_session=s3cret; b=2").as_deref(), Some("b=2"));
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
        let proxies: [Network; 2] = ["192.0.2.7".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let peer = peer().address;
        let ask = |identity: Identity, headers: &HeaderMap, trusted| {
            with_client(&identity, headers, peer, trusted, |key| key.map(<[u8]>::to_vec))
        };
        let key = |identity, headers: &HeaderMap| ask(identity, headers, Some(&proxies[..]));
        assert_eq!(key(Identity::Cookie("session".into()), &parts.headers).unwrap(), b"abc");
        assert_eq!(key(Identity::Header("X-User".into()), &parts.headers).unwrap(), b"u1");
        assert_eq!(key(Identity::Xff, &parts.headers).unwrap(), b"198.51.100.1");
        assert_eq!(ask(Identity::Xff, &parts.headers, None).unwrap(), b"192.0.2.7", "anybody can write it");
        assert_eq!(key(Identity::Request, &parts.headers), None);
        assert_eq!(key(Identity::Xff, &HeaderMap::new()).unwrap(), b"192.0.2.7");
        assert_eq!(key(Identity::Cookie("session".into()), &HeaderMap::new()), None);
    }

    #[test]
    fn what_strangers_say_of_themselves_is_replaced() {
        let mut parts = parts(&[
            ("host", "a"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/admin"),
            ("x-real-ip", "198.51.100.1"),
            ("forwarded", "for=198.51.100.1"),
            ("x_forwarded_for", "198.51.100.1"),
            ("content_length", "3"),
            ("my_field", "stays"),
            ("connection", "upgrade, http2-settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ]);
        let peer = peer();
        let stranger = Caller::new(&parts.headers, &peer, &["10.0.0.0/8".parse().unwrap()], true);
        assert_eq!(sent_on(&mut parts, &stranger), None, "no HTTP/2 in clear");
        let mut left: Vec<_> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        let expected = [
            ("host", "a"),
            ("my_field", "stays"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "a"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(left, expected);
    }

    fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let known = prop::sample::select(vec![
            "connection",
            "Keep-Alive",
            "TE",
            "transfer-encoding",
            "upgrade",
            "trailer",
            "proxy-connection",
            "x-forwarded-for",
            "x_forwarded_for",
            "forwarded",
            "host",
            "content-length",
            "cookie",
            "traceparent",
            "tracestate",
            "http2-settings",
            "x-a",
        ]);
        let name = prop_oneof![known.prop_map(str::to_owned), "[a-z_-]{1,8}"];
        let word = prop::sample::select(vec![
            "close",
            "x-a",
            "upgrade",
            "h2c",
            "websocket",
            ",",
            " ",
            "chunked",
            "10.0.0.1",
            "hms_session=x;",
            "content-length",
        ]);
        let value = prop_oneof![
            prop::collection::vec(word, 0..6).prop_map(|words| words.concat().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        prop::collection::vec((name, value), 0..12)
    }

    proptest! {
        /// Whatever a client sends: no panic, nothing of one hop goes further, and a stranger's word for itself neither.
        #[test]
        fn heads_of_any_kind_are_made_ours(fields in fields(), trusted: bool) {
            let mut parts = parts(&[]);
            for (name, value) in &fields {
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                    parts.headers.append(name, value);
                }
            }
            let named: Vec<HeaderName> = tokens(&parts.headers, &header::CONNECTION)
                .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
                .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::UPGRADE].contains(name))
                .filter(|name| !name.as_str().starts_with("x-forwarded"))
                .collect();
            let _ = host(&parts);
            let proxies: &[Network] = if trusted { &["192.0.2.0/24".parse().unwrap()] } else { &[] };
            let peer = peer();
            let caller = Caller::new(&parts.headers, &peer, proxies, true);
            let upgrade = sent_on(&mut parts, &caller);
            trace::join(&mut parts.headers, 1, || 1, true);
            for name in HOP_BY_HOP.iter().filter(|name| **name != header::UPGRADE) {
                prop_assert!(!parts.headers.contains_key(name), "{name}");
            }
            prop_assert_eq!(parts.headers.contains_key(header::CONNECTION), upgrade.is_some());
            prop_assert!(named.iter().all(|name| *name == header::CONNECTION
                || name.as_str() == "traceparent" || !parts.headers.contains_key(name)));
            let session = parts.headers.get_all(header::COOKIE).iter().any(|value| {
                value.as_bytes().split(|byte| *byte == b';').any(|pair| pair.trim_ascii().starts_with(SESSION))
            });
            prop_assert!(!session);
            let chain = parts.headers.get(&FORWARDED_FOR).unwrap().as_bytes();
            prop_assert!(chain.ends_with(b"192.0.2.7") && (trusted || chain == b"192.0.2.7"));
        }
    }
}
