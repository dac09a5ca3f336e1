//! A webhook as callers write it → as it stands in the directory: every secret sealed, or there by the name that it is stored
//! under.
//!
//! Wherever a secret may stand in clear there may be `{"secret_ref": <name>}` instead. What is not said of secrets stays as it
//! is, in whichever of the two forms.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tidings_core::{
    directory::Directory,
    domain::{
        Destination, DestinationId, Secret, SecretId, TeamId, Webhook,
        address::{UrlRules, check_url, split_secret},
        destination::Header,
    },
    filter::Fault,
    message::{
        SigningKey,
        header::{check_header_name, check_header_value},
    },
};

use super::{ApiError, error::fault};
use crate::secrets::{KeyRing, OpenError, OpenWebhookError, Place, new_signing_key};

/// Has no `Debug`: it holds secrets in clear.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookInput {
    /// With user info and query, if it has any.
    url: String,
    /// `url` is the shown part of a URL whose user info or query stay as they are.
    #[serde(default)]
    url_has_secret: bool,
    /// Under which name the whole URL is stored; `url` is its shown part.
    url_secret: Option<SecretInput>,
    /// `whsec_…`; one to sign with.
    secret: Option<SecretInput>,
    /// Several to sign with, newest first: for rotation.
    secrets: Option<Vec<SecretInput>>,
    /// Shown, so accepted.
    #[serde(default, rename = "secret_fingerprints")]
    _secret_fingerprints: Vec<Value>,
    #[serde(default)]
    headers: Vec<HeaderInput>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderInput {
    name: String,
    /// Absent: the value that is there stays.
    value: Option<SecretInput>,
    /// Shown, so accepted.
    #[serde(default, rename = "fingerprint")]
    _fingerprint: Option<Value>,
}

enum SecretInput {
    Clear(String),
    Named(SecretId),
}

/// What a webhook is made with.
pub struct Sealing<'a> {
    pub keys: &'a KeyRing,
    pub rules: &'a UrlRules,
    /// Has the secrets that are stored.
    pub directory: &'a Directory,
    pub team: &'a TeamId,
    pub destination: &'a DestinationId,
    /// The destination as it is, of which secrets may be kept.
    pub current: Option<&'a Destination>,
}

fn default_timeout_ms() -> u32 {
    15_000
}

// === impl Sealing ===

impl Sealing<'_> {
    /// The stored form, and the signing key if one had to be made. All faults at once.
    pub fn webhook(&self, input: &WebhookInput) -> Result<(Webhook, Option<SigningKey>), ApiError> {
        let mut faults = Vec::new();
        let url = self.url(input, &mut faults)?;
        let headers = self.headers(&input.headers, &mut faults)?;
        let given = self.signing_keys(input, &mut faults);
        let (secrets, generated) = match (given, self.current) {
            (Some(secrets), _) => (secrets, None),
            (None, Some(current)) => {
                let kept = current.webhook.secrets.iter().map(|secret| self.kept(Place::SigningKey, secret));
                (kept.collect::<Result<_, _>>()?, None)
            }
            (None, None) => {
                let key = new_signing_key();
                (vec![self.sealed(Place::SigningKey, &key.reveal())], Some(key))
            }
        };
        match url {
            Some((url, url_secret)) if faults.is_empty() => {
                let webhook = Webhook { url, url_secret, secrets, headers, timeout_ms: input.timeout_ms };
                Ok((webhook, generated))
            }
            _ => Err(ApiError::invalid("the destination", faults)),
        }
    }

    /// Whether what the names of a new webhook stand for fits where they stand. What is not stored was looked at before: it
    /// may be missing only where it was missing already.
    pub fn check_named(&self, destination: Destination) -> Result<(), ApiError> {
        let opened = self.keys.open_webhook(&self.directory.resolved(destination.into()));
        let (path, allowed) = match opened {
            Ok(_) | Err(OpenWebhookError::Sealed(OpenError::NotStored { .. })) => return Ok(()),
            Err(OpenWebhookError::UrlsDiffer | OpenWebhookError::Url(_)) => {
                ("webhook.url_secret", "the whole of webhook.url")
            }
            Err(OpenWebhookError::SigningKey(_) | OpenWebhookError::NoSigningKey) => {
                ("webhook.secrets", "names of signing keys: whsec_ and base64 of 24 to 64 bytes")
            }
            Err(OpenWebhookError::Header(_)) => ("webhook.headers", "names of values of visible ASCII"),
            Err(OpenWebhookError::Sealed(error)) => return Err(not_kept(&error)),
        };
        let found = "a reference to a secret of another form";
        Err(ApiError::invalid("the destination", vec![fault(path, found, allowed)]))
    }

    fn url(&self, input: &WebhookInput, faults: &mut Vec<Fault>) -> Result<Option<(String, Option<Secret>)>, ApiError> {
        let same = self.current.map(|current| &current.webhook).filter(|webhook| webhook.url == input.url);
        if input.url_has_secret && same.is_none() && input.url_secret.is_none() {
            faults.push(fault("webhook.url_has_secret", "true", "false, or true with the url unchanged"));
            return Ok(None);
        }
        let whole = match check_url(&input.url, self.rules) {
            Ok(url) => url,
            Err(refused) => {
                // It never repeats the URL, which may hold a password.
                faults.push(fault("webhook.url", refused.to_string(), "an https URL of a public address"));
                return Ok(None);
            }
        };
        let (url, has_secret) = split_secret(&whole);
        let secret = match (&input.url_secret, same) {
            (Some(_), _) if has_secret => {
                let allowed = "scheme, host, port and path, beside a webhook.url_secret";
                faults.push(fault("webhook.url", "user info or a query", allowed));
                None
            }
            (Some(SecretInput::Clear(_)), _) => {
                let allowed = "{\"secret_ref\": <name>}; the whole URL in clear is webhook.url";
                faults.push(fault("webhook.url_secret", "a text", allowed));
                None
            }
            (Some(SecretInput::Named(name)), _) => self.named("webhook.url_secret", name, faults),
            (None, Some(webhook)) if input.url_has_secret => {
                webhook.url_secret.as_ref().map(|secret| self.kept(Place::Url, secret)).transpose()?
            }
            (None, _) => has_secret.then(|| self.sealed(Place::Url, whole.as_str())),
        };
        Ok(Some((url, secret)))
    }

    fn headers(&self, input: &[HeaderInput], faults: &mut Vec<Fault>) -> Result<Vec<Header>, ApiError> {
        let current = self.current.map_or(&[][..], |current| &current.webhook.headers);
        let mut headers = Vec::with_capacity(input.len());
        for (index, HeaderInput { name, value, .. }) in input.iter().enumerate() {
            let path = |key: &str| format!("webhook.headers[{index}].{key}");
            if let Err(refused) = check_header_name(name) {
                faults.push(fault(path("name"), refused.to_string(), "a header name that is not reserved"));
                continue;
            }
            let place = Place::Header(name);
            let kept = current.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            let value = match (value, kept) {
                (Some(SecretInput::Named(secret)), _) => self.named(&path("value"), secret, faults),
                (Some(SecretInput::Clear(value)), _) => match check_header_value(value) {
                    Ok(()) => Some(self.sealed(place, value)),
                    Err(refused) => {
                        faults.push(fault(path("value"), refused.to_string(), "visible ASCII"));
                        None
                    }
                },
                (None, Some(header)) => Some(self.kept(place, &header.value)?),
                (None, None) => {
                    faults.push(fault(path("value"), "nothing", "a value; there is none to be kept"));
                    None
                }
            };
            headers.extend(value.map(|value| Header { name: name.clone(), value }));
        }
        Ok(headers)
    }

    /// The keys that the body names; `None` if it names none.
    fn signing_keys(&self, input: &WebhookInput, faults: &mut Vec<Fault>) -> Option<Vec<Secret>> {
        let given: Vec<(String, &SecretInput)> = match (&input.secret, &input.secrets) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                faults.push(fault("webhook.secret", "both secret and secrets", "one of them"));
                return None;
            }
            (Some(secret), None) => vec![("webhook.secret".to_owned(), secret)],
            (None, Some(secrets)) => {
                (0..).zip(secrets).map(|(i, secret): (usize, _)| (format!("webhook.secrets[{i}]"), secret)).collect()
            }
        };
        if given.is_empty() {
            faults.push(fault("webhook.secrets", "an empty list", "at least one; every webhook is signed"));
        }
        let mut keys = Vec::with_capacity(given.len());
        for (path, secret) in given {
            match secret {
                SecretInput::Named(name) => keys.extend(self.named(&path, name, faults)),
                SecretInput::Clear(text) => match SigningKey::parse(text) {
                    Ok(key) => keys.push(self.sealed(Place::SigningKey, &key.reveal())),
                    Err(refused) => {
                        faults.push(fault(path, refused.to_string(), "whsec_ and base64 of 24 to 64 bytes"))
                    }
                },
            }
        }
        Some(keys)
    }

    fn sealed(&self, place: Place<'_>, text: &str) -> Secret {
        self.keys.seal_secret(self.team, self.destination, place, text)
    }

    fn kept(&self, place: Place<'_>, secret: &Secret) -> Result<Secret, ApiError> {
        self.keys.seal_again(self.team, self.destination, place, secret).map_err(|error| not_kept(&error))
    }

    /// A name is of the destination's own team, so that no other's secret can be meant.
    fn named(&self, path: &str, name: &SecretId, faults: &mut Vec<Fault>) -> Option<Secret> {
        let secret = Secret::Named { name: name.clone(), value: None };
        let mut current = self.current.into_iter().flat_map(|current| current.webhook.secrets());
        if self.directory.secret(self.team, name).is_none() && !current.any(|(_, found)| *found == secret) {
            let allowed = "the name of a secret that this team has stored; PUT it to its secrets first";
            // Not repeated: it may be a secret that somebody took for a name.
            faults.push(fault(path, "a reference to a secret that is not stored", allowed));
            return None;
        }
        Some(secret)
    }
}

fn not_kept(error: &OpenError) -> ApiError {
    ApiError::Conflict(format!("its present secrets cannot be kept ({error}); give all secrets anew"))
}

// === impl SecretInput ===

impl<'de> Deserialize<'de> for SecretInput {
    /// As the directory reads it, whose errors quote no value. A text is in clear here.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretInput, D::Error> {
        Ok(match Secret::deserialize(deserializer)? {
            Secret::Sealed(text) => SecretInput::Clear(text.0),
            Secret::Named { name, .. } => SecretInput::Named(name),
        })
    }
}
