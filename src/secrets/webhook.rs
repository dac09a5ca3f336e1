//! A webhook's settings in clear, and the way to and from their sealed form.
//!
//! Only two places hold a [`PlainWebhook`] or what was in it: the API while it writes a destination, and the channel, for the
//! destinations that it used in the last minutes (`channels/prepared.rs`).

use secrecy::{ExposeSecret, SecretString};
use tidings_core::{
    domain::{
        Destination, DestinationId, Secret, TeamId, Webhook,
        address::{UrlFault, parse_url, split_secret},
        destination::Header,
    },
    message::{
        SigningKey, SigningKeyFault,
        header::{HeaderFault, check_header_name, check_header_value},
    },
};
use url::Url;

use super::{KeyRing, OpenError, key_ring::random};

/// Everything a request needs. Has no `Debug`: all of it may be secret.
pub struct PlainWebhook {
    /// With user info and query.
    pub url: Url,
    /// Newest first; at least one.
    pub signing_keys: Vec<SigningKey>,
    pub headers: Vec<(String, SecretString)>,
    pub timeout_ms: u32,
}

/// Why a stored webhook cannot be used. Names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenWebhookError {
    #[error(transparent)]
    Sealed(#[from] OpenError),
    #[error("url: {0}")]
    Url(#[from] UrlFault),
    /// Someone changed one of the two alone.
    #[error("url and url_secret name different places")]
    UrlsDiffer,
    #[error("secrets: none is set; every webhook is signed")]
    NoSigningKey,
    #[error("secrets: {0}")]
    SigningKey(#[from] SigningKeyFault),
    #[error("headers: {0}")]
    Header(#[from] HeaderFault),
}

/// Bytes of a new signing key. Divisible by 3, so that its text has no padding for people to lose.
const NEW_KEY_BYTES: usize = 24;

/// Where in a webhook a secret stands: what it is sealed for, so that it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    Url,
    SigningKey,
    /// The value of the header of this name.
    Header(&'a str),
}

/// A fresh signing key for a destination that was given none.
pub fn new_signing_key() -> SigningKey {
    SigningKey::new(random::<NEW_KEY_BYTES>().to_vec()).expect("24 bytes are a key")
}

// === impl Place ===

impl Place<'_> {
    fn field(self) -> String {
        match self {
            Place::Url => "url".to_owned(),
            Place::SigningKey => "secret".to_owned(),
            // Case means nothing in header names, so it must not decide whether a value opens.
            Place::Header(name) => format!("header.{}", name.to_ascii_lowercase()),
        }
    }
}

impl KeyRing {
    pub fn seal_secret(&self, team: &TeamId, destination: &DestinationId, place: Place<'_>, text: &str) -> Secret {
        Secret::Sealed(self.seal(team, destination, &place.field(), text))
    }

    /// The same secret under the newest key. One that stands there by name has its seal elsewhere.
    pub fn seal_again(
        &self,
        team: &TeamId,
        destination: &DestinationId,
        place: Place<'_>,
        secret: &Secret,
    ) -> Result<Secret, OpenError> {
        match secret {
            Secret::Named { .. } => Ok(secret.clone()),
            Secret::Sealed(sealed) => {
                let text = self.open(team, destination, &place.field(), sealed)?;
                Ok(self.seal_secret(team, destination, place, text.expose_secret()))
            }
        }
    }

    /// The stored form. The URL is split: scheme, host, port and path stay readable, the whole is sealed if there is more.
    pub fn seal_webhook(&self, team: &TeamId, destination: &DestinationId, plain: &PlainWebhook) -> Webhook {
        let seal = |place: Place<'_>, text: &str| self.seal_secret(team, destination, place, text);
        let (url, has_secret) = split_secret(&plain.url);
        Webhook {
            url,
            url_secret: has_secret.then(|| seal(Place::Url, plain.url.as_str())),
            secrets: plain.signing_keys.iter().map(|key| seal(Place::SigningKey, &key.reveal())).collect(),
            headers: plain
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = seal(Place::Header(name), value.expose_secret());
                    Header { name: name.clone(), value }
                })
                .collect(),
            timeout_ms: plain.timeout_ms,
        }
    }

    /// The settings in clear, checked in all that does not depend on this installation's settings: what others wrote
    /// into the directory topic is not trusted to be well formed.
    pub fn open_webhook(&self, destination: &Destination) -> Result<PlainWebhook, OpenWebhookError> {
        let webhook = &destination.webhook;
        let open = |place: Place<'_>, secret: &Secret| match secret {
            Secret::Sealed(sealed) => self.open(&destination.team, &destination.id, &place.field(), sealed),
            Secret::Named { name, value: Some(sealed) } => {
                self.open_named(&destination.team, name, &place.field(), sealed)
            }
            Secret::Named { value: None, .. } => Err(OpenError::NotStored { field: place.field() }),
        };

        let mut url = parse_url(&webhook.url)?;
        if let Some(sealed) = &webhook.url_secret {
            let whole = parse_url(open(Place::Url, sealed)?.expose_secret())?;
            if split_secret(&whole).0 != url.as_str() {
                return Err(OpenWebhookError::UrlsDiffer);
            }
            url = whole;
        }
        let mut signing_keys = Vec::with_capacity(webhook.secrets.len());
        for sealed in &webhook.secrets {
            signing_keys.push(SigningKey::parse(open(Place::SigningKey, sealed)?.expose_secret())?);
        }
        if signing_keys.is_empty() {
            return Err(OpenWebhookError::NoSigningKey);
        }
        let mut headers = Vec::with_capacity(webhook.headers.len());
        for Header { name, value } in &webhook.headers {
            check_header_name(name)?;
            let value = open(Place::Header(name), value)?;
            check_header_value(value.expose_secret())?;
            headers.push((name.clone(), value));
        }
        Ok(PlainWebhook { url, signing_keys, headers, timeout_ms: webhook.timeout_ms })
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::domain::{Limits, RetryPolicy, Sealed, SecretId};

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::parse("a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap()
    }

    fn plain(url: &str) -> PlainWebhook {
        PlainWebhook {
            url: url.parse().unwrap(),
            signing_keys: vec![new_signing_key(), new_signing_key()],
            headers: vec![("Authorization".to_owned(), "Bearer canary".to_owned().into())],
            timeout_ms: 5_000,
        }
    }

    fn stored(plain: &PlainWebhook) -> Destination {
        let (team, id) = (TeamId::new("acme").unwrap(), DestinationId::new("hook").unwrap());
        let webhook = ring().seal_webhook(&team, &id, plain);
        Destination {
            team,
            id,
            revision: 1,
            name: None,
            enabled: true,
            webhook,
            limits: Limits::default(),
            retry: RetryPolicy::default(),
        }
    }

    #[test]
    fn a_webhook_round_trips_and_shows_no_secret_meanwhile() {
        let plain = plain("https://user:canary@example.com/hook?token=canary");
        let stored = stored(&plain);
        let json = serde_json::to_string(&stored).unwrap();
        assert!(!json.contains("canary") && !json.contains("whsec_"), "{json}");
        assert_eq!(stored.webhook.url, "https://example.com/hook");

        let opened = ring().open_webhook(&stored).unwrap();
        assert_eq!(opened.url, plain.url);
        assert!(opened.signing_keys == plain.signing_keys);
        assert_eq!(opened.headers[0].1.expose_secret(), "Bearer canary");
        assert_eq!(opened.timeout_ms, 5_000);
    }

    #[test]
    fn a_url_without_secret_is_not_sealed() {
        let stored = stored(&plain("https://example.com"));
        assert_eq!(stored.webhook.url_secret, None);
        assert!(ring().open_webhook(&stored).is_ok());
    }

    #[test]
    fn a_header_opens_whatever_its_case() {
        let mut stored = stored(&plain("https://example.com/"));
        stored.webhook.headers[0].name = "AUTHORIZATION".to_owned();
        assert!(ring().open_webhook(&stored).is_ok());
    }

    #[test]
    fn records_of_other_writers_are_refused_with_the_reason() {
        let check = |change: fn(&mut Webhook), expected: &str| {
            let mut stored = stored(&plain("https://example.com/hook?token=canary"));
            change(&mut stored.webhook);
            let error = ring().open_webhook(&stored).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("canary"), "{error}");
        };
        check(|w| w.url = "https://other.example/hook".to_owned(), "url and url_secret name different places");
        check(|w| w.url = "ftp://canary.example/".to_owned(), "url: scheme \"ftp\"");
        check(|w| w.secrets.clear(), "secrets: none is set");
        check(|w| w.secrets[0] = Sealed("whsec_canary".to_owned()).into(), "secret is no sealed value");
        check(|w| w.secrets[0] = w.url_secret.clone().unwrap(), "secret does not open");
        check(|w| w.headers[0].name = "Host".to_owned(), "headers: header \"Host\" is set by Tidings");
        check(|w| w.headers[0].name = "X-Other".to_owned(), "header.x-other does not open");
        check(|w| w.secrets[0] = named("hooks", None), "secret refers to a secret that is not stored");
        let elsewhere = |w: &mut Webhook| {
            let team = TeamId::new("acme").unwrap();
            let other = ring().seal_named(&team, &SecretId::new("other").unwrap(), "whsec_canary");
            w.secrets[0] = named("hooks", Some(other));
        };
        check(elsewhere, "secret does not open");
    }

    fn named(name: &str, value: Option<Sealed>) -> Secret {
        Secret::Named { name: SecretId::new(name).unwrap(), value }
    }

    #[test]
    fn a_secret_by_name_opens_where_it_is_referred_to() {
        let mut stored = stored(&plain("https://example.com/hook"));
        let key = new_signing_key();
        let sealed = ring().seal_named(&stored.team, &SecretId::new("hooks").unwrap(), &key.reveal());
        stored.webhook.secrets = vec![named("hooks", Some(sealed))];
        assert!(ring().open_webhook(&stored).unwrap().signing_keys == [key]);
    }
}
