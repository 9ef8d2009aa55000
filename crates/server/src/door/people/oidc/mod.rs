//! Log-in by a provider: OpenID Connect Core 1.0, the authorization code flow (section 3.1) with PKCE (RFC 7636), as
//! RFC 9700 asks for. `state` binds the answer to the browser, `nonce` the token to the request, the verifier the code
//! to us, and `iss` (RFC 9207) the answer to the provider.

mod away;
mod keys;
mod provider;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmsops_config::tower::OidcConfig;
use hmsops_model::person::{FRESH, Identity, plain_name};
use hmsops_model::{Millis, Now, SessionId, UnixMillis};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::login::Come;
use crate::door::Failure;
use crate::door::auth::{Auth, sha256};
use crate::door::authorize::cookie;
use away::{Away, Seal};
use provider::Provider;

/// The cookie that says which browser went to the provider.
pub(super) const COOKIE: &str = "hms_oidc";

/// How long somebody may take there.
const AWAY_MAX: Millis = Millis::from_mins(10);

/// The longest path that is gone on to; with it a cookie stays below the 4 kB that browsers keep (RFC 6265, section 6.1).
const NEXT_BYTES_MAX: usize = 1000;

/// How far the provider's clock may be from ours.
const SKEW: Millis = Millis::from_secs(60);

/// An ID token older than this is not of this log-in, whatever it says of its end.
const AGE_MAX: Millis = Millis::from_mins(10);

/// Groups that are looked at.
const GROUPS_MAX: usize = 1000;

/// The provider.
pub struct Oidc {
    config: OidcConfig,
    provider: Provider,
    seal: Seal,
}

/// Where to send a browser, and what it keeps meanwhile.
pub(super) struct Begun {
    pub(super) url: String,
    pub(super) browser: String,
}

/// What a browser brings back (RFC 6749, section 4.1.2; RFC 9207).
#[derive(Deserialize)]
pub(super) struct Answer {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

impl Oidc {
    /// Asks nobody yet. `secret`: ours at the provider; `ca`: authorities to trust.
    pub fn new(
        config: OidcConfig,
        secret: Option<hmsops_act::channel::Secret>,
        ca: Option<&std::path::Path>,
    ) -> Result<Self, String> {
        let provider = Provider::new(&config, secret, ca)?;
        let seal = Seal::new().map_err(|error| error.to_string())?;
        Ok(Self { config, provider, seal })
    }

    /// The provider's host, for the button.
    pub(super) fn host(&self) -> &str {
        let issuer = self.config.issuer.as_str();
        let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Somebody goes to the provider. `again`: to show once more who they are.
    pub(super) async fn begin(
        &self,
        auth: &Auth,
        now: Now,
        next: String,
        again: Option<SessionId>,
    ) -> Result<Begun, Failure> {
        let endpoint = self.provider.authorization_endpoint(now.steady).await?;
        let [state, nonce, verifier] = [auth.draw(), auth.draw(), auth.draw()];
        let challenge = URL_SAFE_NO_PAD.encode(sha256(&verifier));
        let mut fields = form_urlencoded::Serializer::new(String::new());
        fields
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.config.callback)
            .append_pair("scope", &format!("openid {}", self.config.scopes.join(" ")))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if again.is_some() {
            fields.append_pair("prompt", "login").append_pair("max_age", "0");
        }
        let mark = if endpoint.contains('?') { '&' } else { '?' };
        let url = format!("{endpoint}{mark}{}", fields.finish());
        let next = Some(next).filter(|next| next.len() <= NEXT_BYTES_MAX).unwrap_or_else(|| "/".into());
        let away = Away { until: now.steady + AWAY_MAX, state, nonce, verifier, next, again };
        let browser =
            self.seal.close(&away).ok_or_else(|| Failure::internal("the log-in cannot be sealed"))?;
        Ok(Begun { url, browser })
    }

    /// Somebody comes back. Each answer counts once.
    pub(super) async fn come_back(
        &self,
        headers: &HeaderMap,
        answer: Answer,
        now: Now,
    ) -> Result<Come, Failure> {
        let away = self.away_of(headers, &answer, now)?;
        if let Some(error) = answer.error {
            return Err(Failure::forbidden(format!("the provider let nobody in: `{}`", plain_name(&error))));
        }
        if answer.iss.as_ref().is_some_and(|iss| *iss != self.config.issuer) {
            return Err(Failure::forbidden("the answer is another provider's"));
        }
        let code = answer.code.filter(|code| code.len() <= 4096);
        let code = code.ok_or_else(|| Failure::argument("the provider's answer has no code"))?;
        let token = self.provider.redeem(&self.config, &code, &away.verifier, now.steady).await?;
        // The provider takes a code once; whoever it gave a token for the same code again is not believed.
        if !self.seal.once(&away, now.steady) {
            return Err(unknown());
        }
        let claims = self.provider.verified(&token, now.steady).await?;
        let claims = Claims { config: &self.config, all: &claims, now: now.wall };
        claims.check(&away.nonce)?;
        if away.again.is_some() {
            claims.check_fresh()?;
        }
        let identity = Identity {
            issuer: self.config.issuer.clone(),
            subject: claims.text("sub").unwrap_or_default().to_owned(),
        };
        if !identity.is_well_formed() {
            return Err(wrong("it says not whose it is, or at too great length"));
        }
        let name = ["name", "preferred_username", "email"].iter().find_map(|key| claims.text(key));
        let name = plain_name(name.unwrap_or(&identity.subject));
        let (groups, proven_at) = (claims.groups(), claims.proven_at());
        Ok(Come { identity, name, groups, next: away.next, again: away.again, proven_at })
    }

    /// Who this is that comes back: the same browser, within its time.
    fn away_of(&self, headers: &HeaderMap, answer: &Answer, now: Now) -> Result<Away, Failure> {
        let state = answer.state.as_deref().filter(|state| state.len() <= 200).ok_or_else(unknown)?;
        let away = cookie(headers, COOKIE).and_then(|sealed| self.seal.open(sealed)).ok_or_else(unknown)?;
        let fits = sha256(&away.state) == sha256(state) && away.until > now.steady;
        fits.then_some(away).ok_or_else(unknown)
    }
}

fn unknown() -> Failure {
    Failure::forbidden("this browser did not begin a log-in here, or took more than ten minutes")
        .hint("begin again at /login")
}

fn wrong(why: &str) -> Failure {
    Failure::forbidden(format!("the provider's token is not good: {why}"))
}

/// What an ID token says.
struct Claims<'a> {
    config: &'a OidcConfig,
    all: &'a Value,
    now: UnixMillis,
}

impl Claims<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.all.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// A moment in seconds, as JSON has it.
    fn moment(&self, key: &str) -> Option<UnixMillis> {
        let seconds = self.all.get(key)?.as_f64()?;
        (0.0..1e11).contains(&seconds).then_some(UnixMillis((seconds * 1000.0) as i64))
    }

    /// Core, section 3.1.3.7.
    fn check(&self, nonce: &str) -> Result<(), Failure> {
        if self.text("iss") != Some(&self.config.issuer) {
            return Err(wrong("its issuer is another"));
        }
        let own = self.config.client_id.as_str();
        let audience: Vec<&str> = match self.all.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !audience.contains(&own) {
            return Err(wrong("it is for another client"));
        }
        let party = self.all.get("azp").and_then(Value::as_str);
        if (audience.len() > 1 || party.is_some()) && party != Some(own) {
            return Err(wrong("it was given to another client"));
        }
        if self.text("nonce") != Some(nonce) {
            return Err(wrong("it belongs to another log-in"));
        }
        let (Some(exp), Some(iat)) = (self.moment("exp"), self.moment("iat")) else {
            return Err(wrong("it does not say from when to when it is good"));
        };
        let after = |at: UnixMillis, span: Millis| UnixMillis(at.0.saturating_add_unsigned(span.0));
        if self.now >= after(exp, SKEW) || self.now >= after(iat, AGE_MAX) {
            return Err(wrong("it has ended; is a clock wrong?"));
        }
        let begins = self.moment("nbf").map_or(iat, |nbf| nbf.max(iat));
        if begins > after(self.now, SKEW) {
            return Err(wrong("it is of the future; is a clock wrong?"));
        }
        Ok(())
    }

    /// Whether the provider has asked anew who that is, and not only remembered.
    /// When somebody showed the provider who they are: with a provider that does not say so, long ago.
    fn proven_at(&self) -> UnixMillis {
        self.moment("auth_time").unwrap_or(UnixMillis(0)).min(self.now)
    }

    fn check_fresh(&self) -> Result<(), Failure> {
        let at = self
            .moment("auth_time")
            .ok_or_else(|| wrong("it does not say when somebody showed who they are (`auth_time`)"))?;
        let limit = FRESH + SKEW;
        if self.now.since(at) > limit {
            return Err(wrong("the provider did not ask anew who you are"));
        }
        Ok(())
    }

    fn groups(&self) -> Vec<String> {
        match self.all.get(&self.config.groups_claim) {
            Some(Value::Array(all)) => {
                let texts = all.iter().take(GROUPS_MAX).filter_map(Value::as_str);
                texts.map(str::to_owned).collect()
            }
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> OidcConfig {
        OidcConfig {
            issuer: "https://id".into(),
            client_id: "hmsops".into(),
            client_secret: None,
            callback: "https://t/login/oidc/callback".into(),
            groups_claim: "groups".into(),
            scopes: vec!["profile".into()],
            ca: None,
        }
    }

    #[test]
    fn each_claim_is_held_against_what_it_has_to_be() {
        let config = config();
        let good =
            json!({"iss": "https://id", "aud": "hmsops", "nonce": "n", "iat": 1000, "exp": 1300, "sub": "u"});
        let at = |claims: &Value, secs: i64| {
            Claims { config: &config, all: claims, now: UnixMillis(secs * 1000) }
                .check("n")
                .map_err(|wrong| wrong.words())
        };
        at(&good, 1001).unwrap();
        at(&good, 941).unwrap();
        at(&good, 1359).unwrap();
        for late in [939, 1360, 4601] {
            assert!(at(&good, late).is_err(), "{late}: clocks a minute apart are fine, an hour is not");
        }
        for (key, value) in [
            ("iss", json!("https://evil")),
            ("iss", json!(null)),
            ("aud", json!("other")),
            ("aud", json!([])),
            ("aud", json!(["other", "x"])),
            ("aud", json!(["hmsops", "other"])),
            ("azp", json!("other")),
            ("nonce", json!("m")),
            ("nonce", json!(null)),
            ("exp", json!("soon")),
            ("exp", json!(1e300)),
            ("iat", json!(null)),
            ("nbf", json!(2000)),
        ] {
            let mut bad = good.clone();
            bad[key] = value.clone();
            assert!(at(&bad, 1001).is_err(), "{key} {value}");
        }
        let mut two = good;
        (two["aud"], two["azp"]) = (json!(["hmsops", "other"]), json!("hmsops"));
        at(&two, 1001).unwrap();
    }

    #[test]
    fn to_show_it_again_the_provider_has_to_ask() {
        let config = config();
        let claims = |auth_time: Value| json!({"auth_time": auth_time});
        let fresh = |value: &Value| {
            Claims { config: &config, all: value, now: UnixMillis(10_000_000) }.check_fresh().is_ok()
        };
        assert!(fresh(&claims(json!(9_990))));
        assert!(!fresh(&claims(json!(9_000))) && !fresh(&json!({})));
    }
}
