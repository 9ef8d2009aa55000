//! Webhooks as Standard Webhooks 1.0.0 has them (<https://www.standardwebhooks.com>, `spec/standard-webhooks.md`):
//! a signed POST of JSON, one connection a message.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use hmsops_model::UnixMillis;
use hmsops_model::network::Network;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::confidence::Confidences;
use super::tls::{self, Trust};
use super::{ChannelError, Message, Secret, TimeLimits, one_line, span_text};
use crate::guard::{Guard, GuardError};

/// "Signing secret": at least 24 bytes, at most 64.
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;
/// Two are needed while one takes the other's place.
const KEYS_MAX: usize = 4;
/// The specification wants payloads "on the smaller side"; what is longer is no notice.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Status line and headers of an answer are some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// So much of the answer's body is read, for what it says to people.
const ANSWER_BYTES_MAX: usize = 1024;
/// And so long is waited for it: the status stands already.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Whoever asks for more than a day asks for never.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Where webhooks go and how they are signed.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// `https://hooks.csac.gov/hms`. Kept out of errors but for its host: paths and queries may hold tokens.
    pub url: String,
    /// `whsec_` and 24 to 64 bytes in base64. The first signs first; two while one takes the other's place.
    pub secrets: Vec<Secret>,
    /// Networks that are not public in which the receiver may be; an address that `url` writes out is allowed by that.
    pub allow_private: Vec<Network>,
    /// Authorities to trust, in PEM form; `None` for those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// Sends webhooks.
#[derive(Debug)]
pub struct Webhook {
    uri: Uri,
    host: String,
    port: u16,
    guard: Guard,
    keys: Vec<Key>,
    /// For `https`.
    trust: Option<Trust>,
    limits: TimeLimits,
}

/// A signing key's bytes; not printed.
struct Key(Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Key {
    /// "base64 encoded, prefixed with `whsec_`".
    fn parse(secret: &Secret) -> Option<Self> {
        let bytes = BASE64.decode(secret.expose().strip_prefix("whsec_")?).ok()?;
        (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// "Signature scheme": HMAC-SHA256 of `{msg_id}.{timestamp}.{payload}`, with the identifier of its kind.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("invariant: HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

impl Webhook {
    /// Checks the settings and, for `https`, reads the list of authorities. Connects to nobody.
    pub fn new(settings: &WebhookSettings) -> Result<Self, ChannelError> {
        let wrong = |why: &str| ChannelError::lasting(format!("cannot send webhooks: {why}"));
        let uri: Uri = settings.url.parse().map_err(|_| wrong("its `url` is not a URL"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("its `url` has to start with `https://` or `http://`")),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("its `url` holds a user or password; receivers check the signature instead"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("its `url` names no host"));
        }
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let keys: Option<Vec<Key>> = settings.secrets.iter().map(Key::parse).collect();
        let keys = keys.filter(|keys| !keys.is_empty() && keys.len() <= KEYS_MAX).ok_or_else(|| {
            wrong(&format!(
                "it needs 1 to {KEYS_MAX} secrets, each `whsec_` and {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes in base64; `openssl rand -base64 32` makes the bytes"
            ))
        })?;
        let trust = if is_https { Some(Trust::load(settings.ca_file.as_deref())?) } else { None };
        let guard = Guard::written(&host, settings.allow_private.clone());
        Ok(Self { uri, host, port, guard, keys, trust, limits: TimeLimits::default() })
    }

    /// With other time limits than 5 s and 20 s.
    #[must_use]
    pub fn with_limits(mut self, limits: TimeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Posts the message's JSON once. `now` is the moment of this attempt: receivers refuse what is some minutes old
    /// ("Webhook metadata"). Returns the answer's status and first words.
    pub async fn send(&self, message: &Message, now: UnixMillis) -> Result<String, ChannelError> {
        message.check()?;
        let request = self.request(message, now)?;
        let ends_at = Instant::now() + self.limits.whole;
        let mut connection = JoinSet::new();
        let answer = timeout_at(ends_at, self.exchange(request, &mut connection)).await;
        let response =
            answer.map_err(|_| self.passing(&format!("no answer in {}", span_text(self.limits.whole))))??;
        let (status, headers) = (response.status(), response.headers().clone());
        let said = timeout(ANSWER_WAIT, some_of_body(response)).await.unwrap_or_default();
        let said = Confidences::of_address(&self.uri).without(&String::from_utf8_lossy(&said));
        let said = one_line(&format!("{} {said}", status.as_u16()));
        self.judge(status, &headers, said, now)
    }

    /// "Webhook headers".
    fn request(&self, message: &Message, now: UnixMillis) -> Result<Request<Full<Bytes>>, ChannelError> {
        let cannot = |why: String| ChannelError::lasting(self.cannot(&why));
        let body = serde_json::to_vec(&message.json).map_err(|error| cannot(error.to_string()))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(cannot(format!("`{}` is longer than {} KiB", message.key, BODY_BYTES_MAX >> 10)));
        }
        let timestamp = now.0.div_euclid(1000);
        let signatures: Vec<String> =
            self.keys.iter().map(|key| key.sign(&message.key, timestamp, &body)).collect();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        Request::post(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("hmsops/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.key)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures.join(" "))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| cannot(error.to_string()))
    }

    /// The answer's head. The connection lives in `connection` as long as the caller keeps that.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        connection: &mut JoinSet<()>,
    ) -> Result<Response<Incoming>, ChannelError> {
        let connect = self.guard.connect(&self.host, self.port);
        let stream = match timeout(self.limits.connect, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error @ GuardError::Refused { .. })) => {
                return Err(ChannelError::lasting(self.cannot(&error.to_string())));
            }
            Ok(Err(error)) => return Err(self.passing(&format!("cannot connect: {error}"))),
            Err(_) => {
                let limit = span_text(self.limits.connect);
                return Err(self.passing(&format!("no connection in {limit}")));
            }
        };
        // One small request: it should not wait for more to send.
        let _ = stream.set_nodelay(true);
        let Some(trust) = &self.trust else { return self.speak(stream, request, connection).await };
        let stream = trust.encrypt(stream, &self.host).await;
        let stream = stream.map_err(|error| self.passing(&format!("no TLS: {}", tls::trouble(&error))))?;
        self.speak(stream, request, connection).await
    }

    async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
        connection: &mut JoinSet<()>,
    ) -> Result<Response<Incoming>, ChannelError> {
        let (mut sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.passing(&http_trouble(&error)))?;
        // Its errors reach the sender, too.
        connection.spawn(async move { drop(driver.await) });
        sender.send_request(request).await.map_err(|error| self.passing(&http_trouble(&error)))
    }

    /// "Delivery success and failure"; what the sender did wrong (4xx) it would do wrong again.
    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        said: String,
        now: UnixMillis,
    ) -> Result<String, ChannelError> {
        if status.is_success() {
            return Ok(said);
        }
        let answers = self.cannot(&format!("it answers {said}"));
        Err(match status.as_u16() {
            300..=399 => ChannelError::lasting(format!(
                "{answers}: redirects are not followed; set `url` to where this one leads"
            )),
            410 => ChannelError::lasting(format!("{answers}: it wants no more webhooks")),
            408 | 425 | 429 | 500..=599 => {
                let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = retry_after.and_then(|text| parse_retry_after(text, now));
                ChannelError { retry_after, ..ChannelError::passing(answers) }
            }
            400..=499 => ChannelError::lasting(answers),
            _ => ChannelError::passing(answers),
        })
    }

    fn cannot(&self, why: &str) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        format!("cannot send a webhook to `{scheme}://{authority}`: {why}")
    }

    fn passing(&self, why: &str) -> ChannelError {
        ChannelError::passing(self.cannot(why))
    }
}

/// RFC 9110, section 10.2.3: seconds or a date.
fn parse_retry_after(text: &str, now: UnixMillis) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let ms = at.as_millisecond().saturating_sub(now.0);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(RETRY_AFTER_MAX))
}

async fn some_of_body(response: Response<Incoming>) -> Vec<u8> {
    let mut body = response.into_body();
    let mut kept = Vec::new();
    while kept.len() < ANSWER_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(ANSWER_BYTES_MAX - kept.len())]);
        }
    }
    kept
}

fn http_trouble(error: &hyper::Error) -> String {
    use std::error::Error as _;
    if error.is_parse_too_large() {
        format!("its answer's head is longer than {} KiB", HEAD_BYTES_MAX >> 10)
    } else if error.is_parse() {
        "what it answers is not HTTP".into()
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "it closed the connection without an answer".into()
    } else {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        one_line(&format!("{error}{cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret, message and signature of the specification's reference libraries
    /// (standard-webhooks/standard-webhooks, `libraries/*/…test`).
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn settings(url: &str, secrets: &[&str]) -> WebhookSettings {
        let secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        WebhookSettings { url: url.into(), secrets, allow_private: Vec::new(), ca_file: None }
    }

    #[test]
    fn the_reference_libraries_message_is_signed_as_they_sign_it() {
        let key = Key::parse(&Secret::new(SECRET)).unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_and_print_no_secret() {
        let short = "whsec_c2hvcnQ=";
        for (url, secrets) in [
            ("", vec![SECRET]),
            ("hooks.csac.gov", vec![SECRET]),
            ("ftp://hooks.csac.gov/", vec![SECRET]),
            ("http://user:hunter2@hooks.csac.gov/", vec![SECRET]),
            ("http://hooks.csac.gov/", vec![]),
            ("http://hooks.csac.gov/", vec![short]),
            ("http://hooks.csac.gov/", vec![SECRET, "hunter2"]),
            ("http://hooks.csac.gov/", vec![SECRET; 5]),
        ] {
            let error = Webhook::new(&settings(url, &secrets)).unwrap_err();
            assert!(error.is_final && !error.why.contains("hunter2"), "{url}: {error}");
        }
        let settings = settings("http://hooks.csac.gov/T0/B0?token=hunter2", &[SECRET, SECRET]);
        let webhook = Webhook::new(&settings).unwrap();
        assert!(!webhook.passing("x").why.contains("T0"), "{}", webhook.passing("x"));
        assert!(!format!("{settings:?} {webhook:?}").contains("MfKQ"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = UnixMillis(784_111_777_000 - 90_000);
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999", Some(86_400)),
            // RFC 9110, section 5.6.7.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 01 Jan 2100 00:00:00 GMT", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(parse_retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
