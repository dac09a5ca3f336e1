//! Signatures as Standard Webhooks 1.0.0 defines them, version `v1`: HMAC-SHA256 over `id.timestamp.body`.
//!
//! Every key signs, newest first, so that a receiver that still knows only the old one goes on verifying while keys
//! are rotated. The asymmetric `v1a` is not made: no official library verifies it.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The `webhook-signature` value: one token per key, separated by single spaces.
///
/// Libraries split the value at each space and each token at its comma, some without care for anything else; so there
/// is nothing else in it. `timestamp_s` is the time of this attempt, in seconds.
pub fn sign<K: AsRef<[u8]>>(keys: &[K], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let tokens: Vec<String> = keys.iter().map(|key| token(key.as_ref(), id, timestamp_s, body)).collect();
    tokens.join(" ")
}

/// A signing key: 24 to 64 bytes, shown as `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

/// Why a text is no [`SigningKey`]. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyFault {
    #[error("a signing secret starts with {PREFIX}")]
    Prefix,
    #[error("a signing secret is {PREFIX} and standard base64 with its padding")]
    Base64,
    #[error("a signing secret of {0} bytes; {MIN_KEY} to {MAX_KEY} are allowed")]
    Length(usize),
}

/// Starts every signing secret's text.
pub const PREFIX: &str = "whsec_";
/// The least and the most bytes of a key.
pub const MIN_KEY: usize = 24;
pub const MAX_KEY: usize = 64;

fn token(key: &[u8], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(id.as_bytes());
    mac.update(format!(".{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

// === impl SigningKey ===

impl SigningKey {
    /// Reads `whsec_…`. Strict about base64, as the strictest of the receivers' libraries are.
    pub fn parse(text: &str) -> Result<SigningKey, SigningKeyFault> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SigningKeyFault::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SigningKeyFault::Base64)?;
        SigningKey::new(bytes)
    }

    pub fn new(bytes: Vec<u8>) -> Result<SigningKey, SigningKeyFault> {
        match bytes.len() {
            MIN_KEY..=MAX_KEY => Ok(SigningKey(bytes)),
            length => Err(SigningKeyFault::Length(length)),
        }
    }

    /// The text that people copy to their receivers.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }
}

impl AsRef<[u8]> for SigningKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn check(keys: &[&str], id: &str, timestamp_s: i64, body: &str, expected: &str) {
        let keys: Vec<SigningKey> = keys.iter().map(|key| SigningKey::parse(key).unwrap()).collect();
        assert_eq!(sign(&keys, id, timestamp_s, body.as_bytes()), expected);
    }

    #[test]
    fn golden_vectors_of_the_official_libraries() {
        // Go and Python.
        check(
            &[FIRST],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        );
        // Rust.
        check(
            &[SECOND],
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        );
    }

    #[test]
    fn several_keys_make_one_token_each_in_their_order() {
        let both = sign(&[SigningKey::parse(FIRST).unwrap(), SigningKey::parse(SECOND).unwrap()], "id", 1, b"");
        let tokens: Vec<&str> = both.split(' ').collect();
        check(&[FIRST], "id", 1, "", tokens[0]);
        check(&[SECOND], "id", 1, "", tokens[1]);
        assert_eq!(tokens.len(), 2);
        assert!(tokens.iter().all(|token| token.split(',').count() == 2));
    }

    #[test]
    fn secrets_that_receivers_could_not_use_are_refused() {
        let fault = |text: &str| SigningKey::parse(text).unwrap_err();
        assert_eq!(fault(""), SigningKeyFault::Prefix);
        assert_eq!(fault("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), SigningKeyFault::Prefix);
        assert_eq!(fault("whsec_"), SigningKeyFault::Length(0));
        assert_eq!(fault("whsec_YQ=="), SigningKeyFault::Length(1));
        assert_eq!(fault("whsec_not base64"), SigningKeyFault::Base64);
        assert_eq!(fault(&format!("whsec_{}", STANDARD.encode([0; 23]))), SigningKeyFault::Length(23));
        assert_eq!(fault(&format!("whsec_{}", STANDARD.encode([0; 65]))), SigningKeyFault::Length(65));
        assert_eq!(fault(&format!("whsec_{}", STANDARD.encode([0; 10_240]))), SigningKeyFault::Length(10_240));
        // 25 bytes end in padding, which some libraries insist on and people lose when copying.
        assert_eq!(fault(format!("whsec_{}", STANDARD.encode([0; 25])).trim_end_matches('=')), SigningKeyFault::Base64);
    }

    #[test]
    fn a_key_round_trips_and_hides_from_debug() {
        let key = SigningKey::parse(FIRST).unwrap();
        assert_eq!(key.reveal(), FIRST);
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
