//! Signatures of ID tokens: JSON Web Signature, compact (RFC 7515, section 7.1), by the provider's keys (RFC 7517), with
//! the two algorithms of RFC 7518 that providers use: RS256 and ES256. Whatever else a token's head asks for is refused:
//! `none`, secrets that both know, keys and addresses of keys that the token brings along.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// Keys of one provider: two or three, while one follows the other.
const KEYS_MAX: usize = 64;

/// The longest token: groups of a large house fill some tens of kilobytes.
const TOKEN_BYTES_MAX: usize = 128 << 10;

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Form,
    Algorithm,
    UnknownKey,
    Signature,
}

impl Wrong {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Form => "it has not the form of one",
            Self::Algorithm => "it is not signed by RS256 or ES256",
            Self::UnknownKey => "it is signed by a key that the provider does not name",
            Self::Signature => "its signature is wrong",
        }
    }
}

/// The provider's keys.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed: 4, x, y.
    P256(Vec<u8>),
}

impl Keys {
    /// Those of a key set that we can use; others are left out.
    pub(super) fn read(set: &Value) -> Self {
        let all = set.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Self(all.iter().take(KEYS_MAX).filter_map(read).collect())
    }
}

fn read(key: &Value) -> Option<Key> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    if text("use").is_some_and(|for_what| for_what != "sig") {
        return None;
    }
    let public = match text("kty")? {
        "RSA" if text("alg").is_none_or(|alg| alg == "RS256") => {
            Public::Rsa { n: bytes("n")?, e: bytes("e")? }
        }
        "EC" if text("crv") == Some("P-256") => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            Public::P256([&[4_u8][..], &x, &y].concat())
        }
        _ => return None,
    };
    Some(Key { id: text("kid").map(str::to_owned), public })
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// What must be understood (RFC 7515, section 4.1.11): we understand nothing of it.
    crit: Option<Value>,
}

/// What a token says, if one of the keys signed it.
pub(super) fn verify(token: &str, keys: &Keys) -> Result<Value, Wrong> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Wrong::Form);
    }
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Wrong::Form);
    };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Wrong::Form);
    let parsed: Head = serde_json::from_slice(&decoded(head)?).map_err(|_| Wrong::Form)?;
    if parsed.crit.is_some() {
        return Err(Wrong::Form);
    }
    let (signed, signature) = (format!("{head}.{body}"), decoded(signature)?);
    let is_rsa = match parsed.alg.as_str() {
        "RS256" => true,
        "ES256" => false,
        _ => return Err(Wrong::Algorithm),
    };
    let fitting: Vec<&Key> = keys
        .0
        .iter()
        .filter(|key| matches!(key.public, Public::Rsa { .. }) == is_rsa)
        .filter(|key| parsed.kid.is_none() || key.id == parsed.kid)
        .collect();
    if fitting.is_empty() {
        return Err(Wrong::UnknownKey);
    }
    let is_good = fitting.iter().any(|key| match &key.public {
        Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }
            .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
            .is_ok(),
        Public::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &signature)
            .is_ok(),
    });
    if !is_good {
        // Without a name it may be by a key that we have not heard of.
        return Err(if parsed.kid.is_none() { Wrong::UnknownKey } else { Wrong::Signature });
    }
    serde_json::from_slice(&decoded(body)?).map_err(|_| Wrong::Form)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7515, appendix A.3: the key, and the token that it signed.
    #[test]
    fn the_example_of_the_specification_is_good_and_nothing_near_it() {
        let keys = Keys::read(&json!({"keys": [{
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]}));
        let (head, body) = (
            "eyJhbGciOiJFUzI1NiJ9",
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        );
        let signature =
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let claims = verify(&format!("{head}.{body}.{signature}"), &keys).unwrap();
        assert_eq!(claims["iss"], "joe");
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let other = encoded("{\"iss\":\"eve\"}");
        let none = encoded("{\"alg\":\"none\"}");
        let shared = encoded("{\"alg\":\"HS256\"}");
        let critical = encoded("{\"alg\":\"ES256\",\"crit\":[\"x\"]}");
        for (token, why) in [
            (format!("{head}.{other}.{signature}"), Wrong::UnknownKey),
            (format!("{head}.{body}."), Wrong::UnknownKey),
            (format!("{none}.{body}."), Wrong::Algorithm),
            (format!("{shared}.{body}.{signature}"), Wrong::Algorithm),
            (format!("{critical}.{body}.{signature}"), Wrong::Form),
            (format!("{head}.{body}"), Wrong::Form),
            (format!("{head}.{body}.{signature}.x"), Wrong::Form),
            (format!("{head}.{body}.!"), Wrong::Form),
            ("x".repeat(TOKEN_BYTES_MAX + 1), Wrong::Form),
            (String::new(), Wrong::Form),
        ] {
            assert_eq!(verify(&token, &keys).unwrap_err(), why, "{token:.80}");
        }
        let named = encoded("{\"alg\":\"ES256\",\"kid\":\"new\"}");
        assert_eq!(verify(&format!("{named}.{body}.{signature}"), &keys).unwrap_err(), Wrong::UnknownKey);
    }

    #[test]
    fn keys_that_are_for_something_else_are_left_out() {
        let rsa = |more: Value| {
            let mut key = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Keys::read(&json!({"keys": [key]})).0.len()
        };
        assert_eq!(rsa(json!({"use": "sig", "alg": "RS256"})), 1);
        assert_eq!(rsa(json!({"use": "enc"})), 0);
        assert_eq!(rsa(json!({"alg": "RS512"})), 0);
        assert_eq!(Keys::read(&json!({"keys": [{"kty": "oct", "k": "AAAA"}, 7, {}]})).0.len(), 0);
        assert_eq!(Keys::read(&json!("?")).0.len(), 0);
    }
}
