//! What all requests to one destination share: its settings opened, checked and parsed once, not for each attempt.
//!
//! Opening and parsing took a seventh of the sender's time. What was opened is used again only for settings that are equal to those
//! it was opened from, seals and all, so that a change shows with the next attempt. What was not used for [`UNUSED`] is let go.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hashlink::LruCache;
use hyper::{
    Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tidings_core::{
    domain::{
        Destination, DestinationId, ErrorClass, TeamId,
        address::{UrlFault, UrlRules},
    },
    message::SigningKey,
};
use tokio::time::Instant;
use url::Url;

use super::Failure;
use crate::secrets::{KeyRing, OpenWebhookError, PlainWebhook};

/// A destination's part of a request. Has no `Debug`: all of it may be secret.
pub struct Prepared {
    /// With its query, without user info.
    pub uri: Uri,
    /// What every request carries.
    pub headers: HeaderMap,
    /// Newest first; at least one.
    pub signing_keys: Vec<SigningKey>,
}

/// Prepares, and remembers what was used last.
pub struct Preparing {
    rules: UrlRules,
    keys: Arc<KeyRing>,
    kept: Mutex<LruCache<(TeamId, DestinationId), Kept>>,
}

struct Kept {
    destination: Arc<Destination>,
    prepared: Arc<Prepared>,
    used: Instant,
}

/// The most destinations that are kept prepared, 1 to 2 KB each as a rule; what was not used for longest goes first.
const MAX_KEPT: usize = 4_096;
/// The most bytes of URL and headers of one that is kept (4 KiB); larger ones are prepared each time.
const MAX_KEPT_BYTES: usize = 4 * 1024;
/// How long a destination stays prepared without being used. A destination that is gone is not used.
const UNUSED: Duration = Duration::from_secs(600);
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Tidings/", env!("CARGO_PKG_VERSION")));

// === impl Preparing ===

impl Preparing {
    pub fn new(rules: UrlRules, keys: Arc<KeyRing>) -> Preparing {
        Preparing { rules, keys, kept: Mutex::new(LruCache::new(MAX_KEPT)) }
    }

    pub fn rules(&self) -> &UrlRules {
        &self.rules
    }

    /// The destination's part of its requests. Fails, for the customer to read, if its settings cannot be opened or used.
    pub fn of(&self, destination: &Arc<Destination>) -> Result<Arc<Prepared>, Failure> {
        let key = (destination.team.clone(), destination.id.clone());
        let now = Instant::now();
        let kept = self.used(&key, now);
        if let Some((of, prepared)) = &kept
            && Arc::ptr_eq(of, destination)
        {
            return Ok(prepared.clone());
        }
        // Not under the lock: it may be long, and two tasks may prepare the same, which does no harm.
        let prepared = match kept.filter(|(of, _)| of.webhook == destination.webhook) {
            Some((_, prepared)) => prepared,
            None => Arc::new(self.prepare(destination).inspect_err(|_| drop(self.kept().remove(&key)))?),
        };
        if prepared.bytes() <= MAX_KEPT_BYTES {
            let kept = Kept { destination: destination.clone(), prepared: prepared.clone(), used: now };
            self.kept().insert(key, kept);
        } else {
            self.kept().remove(&key);
        }
        Ok(prepared)
    }

    /// What is kept of a destination, which may have changed since; and what nobody uses any more goes.
    fn used(&self, key: &(TeamId, DestinationId), now: Instant) -> Option<(Arc<Destination>, Arc<Prepared>)> {
        let mut all = self.kept();
        while all.iter().next().is_some_and(|(_, oldest)| now.duration_since(oldest.used) > UNUSED) {
            all.remove_lru();
        }
        let kept = all.get_mut(key)?;
        kept.used = now;
        Some((kept.destination.clone(), kept.prepared.clone()))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, LruCache<(TeamId, DestinationId), Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self, destination: &Destination) -> Result<Prepared, Failure> {
        let PlainWebhook { mut url, signing_keys, headers, .. } =
            self.keys.open_webhook(destination).map_err(|error| {
                let class = match error {
                    OpenWebhookError::Sealed(_) => ErrorClass::Secret,
                    _ => ErrorClass::Configuration,
                };
                Failure::new(class, error.to_string())
            })?;
        self.rules.check(&url).map_err(|fault| {
            let class = match fault {
                UrlFault::Address(_) => ErrorClass::BlockedAddress,
                _ => ErrorClass::Configuration,
            };
            Failure::new(class, fault.to_string())
        })?;
        let authorization = take_user_info(&mut url);
        let headers = headers_of(&headers, authorization)?;
        let no_request = |_| Failure::new(ErrorClass::Configuration, "no request can be made of this URL");
        Ok(Prepared { uri: url.as_str().parse().map_err(no_request)?, headers, signing_keys })
    }
}

// === impl Prepared ===

impl Prepared {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        self.uri.path_and_query().map_or(0, |path| path.as_str().len()) + headers.sum::<usize>()
    }
}

/// The team's own headers may replace those that only tell who asks, not the body's type.
fn headers_of(own: &[(String, SecretString)], authorization: Option<SecretString>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::with_capacity(own.len() + HEADERS_OF_OURS);
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, sensitive("authorization", &value)?);
    }
    for (name, value) in own {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable(name))?;
        headers.insert(key, sensitive(name, value)?);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

/// Those above, and the three of the signature.
const HEADERS_OF_OURS: usize = 7;

/// User info in a URL is sent as basic authorization, and not as part of the URL.
fn take_user_info(url: &mut Url) -> Option<SecretString> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    // They fail for URLs without a host only, which have no user info.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(format!("Basic {}", STANDARD.encode(pair)).into())
}

fn sensitive(name: &str, value: &SecretString) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| unusable(name))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A header whose name or value HTTP cannot carry.
pub fn unusable(header: &str) -> Failure {
    Failure::new(ErrorClass::Configuration, format!("header {header:?} cannot be sent"))
}

#[cfg(test)]
mod tests {
    use tidings_core::domain::{Limits, RetryPolicy, Secret, SecretId};

    use super::*;
    use crate::secrets::new_signing_key;

    fn ring() -> Arc<KeyRing> {
        Arc::new(KeyRing::parse("a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap())
    }

    fn plain(url: &str) -> PlainWebhook {
        let headers = vec![("X-Key".to_owned(), "canary".to_owned().into())];
        PlainWebhook { url: url.parse().unwrap(), signing_keys: vec![new_signing_key()], headers, timeout_ms: 5_000 }
    }

    fn destination(id: &str, plain: &PlainWebhook) -> Destination {
        let (team, id) = (TeamId::new("acme").unwrap(), DestinationId::new(id).unwrap());
        Destination {
            webhook: ring().seal_webhook(&team, &id, plain),
            team,
            id,
            revision: 1,
            name: None,
            enabled: true,
            limits: Limits::default(),
            retry: RetryPolicy::default(),
        }
    }

    fn preparing() -> Preparing {
        Preparing::new(UrlRules::default(), ring())
    }

    #[test]
    fn what_has_not_changed_is_prepared_once() {
        let preparing = preparing();
        let hook = destination("hook", &plain("https://example.com/"));
        let first = preparing.of(&Arc::new(hook.clone())).unwrap();
        // Of a later state of the directory, with other limits.
        let again = preparing.of(&Arc::new(Destination { revision: 2, ..hook.clone() })).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other = preparing.of(&Arc::new(destination("other", &plain("https://example.com/")))).unwrap();
        assert!(!Arc::ptr_eq(&first, &other) && first.signing_keys != other.signing_keys);
    }

    #[test]
    fn a_change_shows_at_once() {
        let preparing = preparing();
        let before = plain("https://example.com/");
        preparing.of(&Arc::new(destination("hook", &before))).unwrap();
        for url in ["https://example.com/?token=1", "https://example.com/?token=2", "https://example.com/"] {
            let after = plain(url);
            let prepared = preparing.of(&Arc::new(destination("hook", &after))).unwrap();
            assert_eq!(prepared.uri, url);
            assert!(prepared.signing_keys == after.signing_keys && prepared.signing_keys != before.signing_keys);
        }
        // What became unusable is refused, though it was usable before.
        let mut broken = destination("hook", &before);
        broken.webhook.secrets.clear();
        assert_eq!(preparing.of(&Arc::new(broken)).err().unwrap().class, ErrorClass::Configuration);
    }

    #[test]
    fn another_secret_under_the_same_name_is_used_at_once() {
        let (preparing, ring) = (preparing(), ring());
        let (name, hook) = (SecretId::new("signing").unwrap(), destination("hook", &plain("https://example.com/")));
        for key in [new_signing_key(), new_signing_key()] {
            let mut hook = hook.clone();
            let value = Some(ring.seal_named(&hook.team, &name, &key.reveal()));
            hook.webhook.secrets = vec![Secret::Named { name: name.clone(), value }];
            assert!(preparing.of(&Arc::new(hook)).unwrap().signing_keys == [key]);
        }
    }

    #[test]
    fn what_became_unusable_or_is_large_is_not_kept() {
        let preparing = preparing();
        let hook = destination("hook", &plain("https://example.com/"));
        preparing.of(&Arc::new(hook.clone())).unwrap();
        assert_eq!(preparing.kept().len(), 1);
        let mut broken = hook.clone();
        broken.webhook.secrets.clear();
        assert!(preparing.of(&Arc::new(broken)).is_err());
        assert_eq!(preparing.kept().len(), 0);

        let mut large = plain("https://example.com/");
        large.headers.push(("X-Large".to_owned(), "x".repeat(MAX_KEPT_BYTES).into()));
        assert!(preparing.of(&Arc::new(destination("hook", &large))).is_ok());
        assert_eq!(preparing.kept().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_let_go() {
        let preparing = preparing();
        let [gone, used] = ["gone", "used"].map(|id| Arc::new(destination(id, &plain("https://example.com/"))));
        preparing.of(&gone).unwrap();
        let first = preparing.of(&used).unwrap();
        for _ in 0..3 {
            tokio::time::advance(UNUSED / 2).await;
            assert!(Arc::ptr_eq(&first, &preparing.of(&used).unwrap()));
        }
        assert_eq!(preparing.kept().len(), 1);
    }

    #[test]
    fn user_info_becomes_a_header_unless_the_team_has_its_own() {
        let mut plain = plain("https://us%20er:p%40ss@example.com/hook?a=b");
        let prepared = preparing().of(&Arc::new(destination("hook", &plain))).unwrap();
        assert_eq!(prepared.uri, "https://example.com/hook?a=b");
        let value = &prepared.headers[AUTHORIZATION];
        assert_eq!(value, &format!("Basic {}", STANDARD.encode("us er:p@ss")));
        assert!(value.is_sensitive() && prepared.headers["x-key"].is_sensitive());

        plain.headers.push(("Authorization".to_owned(), "Bearer canary".to_owned().into()));
        let prepared = preparing().of(&Arc::new(destination("hook", &plain))).unwrap();
        assert_eq!(prepared.headers[AUTHORIZATION], "Bearer canary");
        assert_eq!(prepared.headers.get_all(AUTHORIZATION).iter().count(), 1);
    }
}
