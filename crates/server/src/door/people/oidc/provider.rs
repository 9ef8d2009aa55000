//! What the provider says of itself (OpenID Connect Discovery 1.0), its keys, and the exchange of a code for a token.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmsops_act::channel::Secret;
use hmsops_act::channel::fetch::Fetch;
use hmsops_config::tower::OidcConfig;
use hmsops_model::Millis;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::keys::{self, Keys};
use crate::door::Failure;

/// What the provider says of itself is asked for again after so long.
const LIFE: Millis = Millis::from_mins(60);

/// An unknown key makes us ask for the keys again, at most so often: whoever makes tokens up does not make us flood the
/// provider.
const KEYS_AGAIN: Millis = Millis::from_secs(10);

/// The provider.
pub(super) struct Provider {
    issuer: String,
    client_id: String,
    secret: Option<Secret>,
    fetch: Fetch,
    said: Mutex<Said>,
}

/// What it has said, and when it last said nothing.
#[derive(Default)]
struct Said {
    known: Option<Known>,
    failed_at: Option<Millis>,
}

/// What it said of itself, and when.
struct Known {
    at: Millis,
    metadata: Metadata,
    keys: Keys,
    keys_at: Millis,
}

/// Discovery, section 3: what of it we use.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
}

fn away(why: impl std::fmt::Display) -> Failure {
    tracing::warn!("people: {why}");
    Failure::unavailable("the provider cannot be asked at the moment")
        .hint("an account of the tower's own, or `hmsops login`, lets in all the same")
}

impl Provider {
    pub(super) fn new(
        config: &OidcConfig,
        secret: Option<Secret>,
        ca: Option<&Path>,
    ) -> Result<Self, String> {
        let fetch = Fetch::new(ca, &config.issuer).map_err(|error| error.why)?;
        Ok(Self {
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            secret,
            fetch,
            said: Mutex::default(),
        })
    }

    pub(super) async fn authorization_endpoint(&self, steady: Millis) -> Result<String, Failure> {
        let mut said = self.said.lock().await;
        Ok(self.fresh(&mut said, steady).await?.metadata.authorization_endpoint.clone())
    }

    /// What is known, asked for anew when it is old. One who asks does so for all.
    async fn fresh<'k>(&self, said: &'k mut Said, steady: Millis) -> Result<&'k mut Known, Failure> {
        let is_fresh = said.known.as_ref().is_some_and(|known| steady.since(known.at) < LIFE);
        // Who waits behind somebody who waited in vain does not wait as long again.
        let is_away = said.failed_at.is_some_and(|at| steady.since(at) < KEYS_AGAIN);
        if !is_fresh && !is_away {
            match self.ask(steady).await {
                Ok(new) => *said = Said { known: Some(new), failed_at: None },
                // What it said before is better than nothing.
                Err(failure) => {
                    said.failed_at = Some(steady);
                    if said.known.is_none() {
                        return Err(failure);
                    }
                }
            }
        }
        said.known.as_mut().ok_or_else(|| away("the provider did not answer a moment ago"))
    }

    async fn ask(&self, steady: Millis) -> Result<Known, Failure> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.json(&url).await?;
        // Discovery, section 4.3: exactly the same.
        if metadata.issuer != self.issuer {
            return Err(away(format!(
                "the provider calls itself `{:.200}`, and hmsops.yaml `{}`",
                metadata.issuer, self.issuer
            )));
        }
        let is_https = self.issuer.starts_with("https://");
        for url in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            if url.starts_with("https://") != is_https || url.chars().any(|c| c.is_control() || c == ' ') {
                return Err(away("the provider names an address that is not one of HTTPS"));
            }
        }
        let keys = self.keys(&metadata).await?;
        Ok(Known { at: steady, metadata, keys, keys_at: steady })
    }

    async fn keys(&self, metadata: &Metadata) -> Result<Keys, Failure> {
        let value: Value = self.json(&metadata.jwks_uri).await?;
        Ok(Keys::read(&value))
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, Failure> {
        let (status, body) = self.fetch.get(url).await.map_err(|error| away(error.why))?;
        if status != StatusCode::OK {
            return Err(away(format!("the provider answers {status} at `{url}`")));
        }
        serde_json::from_slice(&body)
            .map_err(|error| away(format!("what the provider says at `{url}` cannot be read: {error}")))
    }

    /// The ID token for a code (Core, section 3.1.3).
    pub(super) async fn redeem(
        &self,
        config: &OidcConfig,
        code: &str,
        verifier: &str,
        steady: Millis,
    ) -> Result<String, Failure> {
        let metadata = {
            let mut said = self.said.lock().await;
            self.fresh(&mut said, steady).await?.metadata.clone()
        };
        let (form, authorization) = self.exchange(config, &metadata, code, verifier);
        let answer = self.fetch.post_form(&metadata.token_endpoint, form, authorization).await;
        let (status, body) = answer.map_err(|error| away(error.why))?;
        if status.is_client_error() {
            tracing::warn!("people: the provider gives no token for a code: {status}");
            return Err(Failure::forbidden("the provider does not take its own code back")
                .hint("begin again at /login; if it stays so, `client_id` or `client_secret` is wrong"));
        }
        let tokens: Option<Tokens> = serde_json::from_slice(&body).ok().filter(|_| status.is_success());
        tokens
            .and_then(|tokens| tokens.id_token)
            .ok_or_else(|| away(format!("the provider answers {status} without an ID token")))
    }

    /// The form, and the header by which we show who we are.
    fn exchange(
        &self,
        config: &OidcConfig,
        metadata: &Metadata,
        code: &str,
        verifier: &str,
    ) -> (String, Option<String>) {
        let mut fields = form_urlencoded::Serializer::new(String::new());
        fields
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &config.callback)
            .append_pair("code_verifier", verifier)
            .append_pair("client_id", &self.client_id);
        let Some(secret) = &self.secret else { return (fields.finish(), None) };
        // Discovery, section 3: left out means `client_secret_basic`.
        let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
        if methods.is_some_and(|all| !all.iter().any(|method| method == "client_secret_basic")) {
            fields.append_pair("client_secret", secret.expose());
            return (fields.finish(), None);
        }
        // RFC 6749, section 2.3.1: each part as in a form, then together.
        let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", part(&self.client_id), part(secret.expose()));
        (fields.finish(), Some(format!("Basic {}", STANDARD.encode(pair))))
    }

    /// What a token says, if one of the provider's keys signed it. A key that is not known may be a new one.
    pub(super) async fn verified(&self, token: &str, steady: Millis) -> Result<Value, Failure> {
        let mut said = self.said.lock().await;
        let known = self.fresh(&mut said, steady).await?;
        match keys::verify(token, &known.keys) {
            Err(keys::Wrong::UnknownKey)
                if steady.since(known.keys_at) >= KEYS_AGAIN || known.keys_at == known.at =>
            {
                known.keys_at = steady.max(known.at + Millis(1));
                known.keys = self.keys(&known.metadata).await?;
                keys::verify(token, &known.keys).map_err(|wrong| super::wrong(wrong.words()))
            }
            other => other.map_err(|wrong| super::wrong(wrong.words())),
        }
    }
}
