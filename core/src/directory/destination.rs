//! What a valid destination is.

use std::collections::BTreeSet;

use super::subscription::display_name;
use crate::{
    domain::{Destination, Limits, RetryPolicy, Sealed, Secret, Webhook, address, destination::Header},
    filter::{Fault, Faults, Path},
    message::header::{MAX_HEADERS, check_header_name},
};

/// Attempts per second.
pub const PER_SECOND: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;
/// Attempts at once after a pause.
pub const BURST: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Requests waiting for an answer at one time.
pub const IN_FLIGHT: std::ops::RangeInclusive<u32> = 1..=256;
/// The whole attempt, in milliseconds.
pub const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 1_000..=30_000;
/// The most retries.
pub const MAX_RETRIES: usize = 32;
/// One entry of a retry schedule: up to a week, in seconds.
pub const RETRY_DELAY_S: std::ops::RangeInclusive<u32> = 1..=604_800;
/// The part of a delay by which it may vary to either side.
pub const JITTER: std::ops::RangeInclusive<f64> = 0.0..=0.5;
/// Signing keys of one webhook: more than one only while keys are changed.
pub const MAX_SECRETS: usize = 10;
/// The longest sealed secret, in bytes: a header value of 4 KiB, in Base64.
pub const MAX_SEALED: usize = 8_192;

const SEALED_FORM: &str = "a reference {\"secret_ref\": <name>}, or a sealed secret: v1.<key id>.<Base64>";
/// What a signing key begins with.
pub(super) const SIGNING_KEY_PREFIX: &str = "whsec_";

/// Everything that is wrong with a destination, as it stands in the directory; empty if it is valid.
///
/// Where its URL leads is not looked at: that depends on the installation, and is checked when it is called.
pub fn validate_destination(destination: &Destination) -> Vec<Fault> {
    let mut faults = Faults::default();
    display_name(destination.name.as_deref(), &mut faults);
    faults.extend(plain_secrets(destination));
    webhook(&destination.webhook, &mut faults);
    limits(&destination.limits, &mut faults);
    retry(&destination.retry, &mut faults);
    faults.or(()).err().unwrap_or_default()
}

/// Secrets that stand in clear. Their values are shown nowhere.
pub fn plain_secrets(destination: &Destination) -> Vec<Fault> {
    let mut faults = Faults::default();
    let webhook = &destination.webhook;
    for (field, secret) in webhook.secrets() {
        let path = Path::Root(&field);
        match secret {
            Secret::Sealed(sealed) if looks_sealed(sealed) => {}
            Secret::Sealed(_) => faults.add(&path, "a text that is not a sealed secret", SEALED_FORM),
            Secret::Named { name, .. } if name.as_str().starts_with(SIGNING_KEY_PREFIX) => {
                faults.add(&path, "a signing key instead of the name that one is stored under", SEALED_FORM);
            }
            Secret::Named { .. } => {}
        }
    }
    let root = Path::Root("webhook");
    let has_secret = address::parse_url(&webhook.url).is_ok_and(|url| address::split_secret(&url).1);
    if has_secret {
        let allowed = "scheme, host, port and path; the whole URL, sealed, in url_secret";
        faults.add(&Path::Key(&root, "url"), "user info or a query", allowed);
    }
    faults.or(()).err().unwrap_or_default()
}

/// `v1.<key id>.<Base64>`: the form alone. Whether it can be opened shows when it is needed.
pub(super) fn looks_sealed(sealed: &Sealed) -> bool {
    let mut parts = sealed.0.splitn(3, '.');
    let (version, id, text) = (parts.next(), parts.next(), parts.next());
    let plain =
        |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let base64 = |text: &str| {
        text.len() >= MIN_SEALED_TEXT && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b))
    };
    sealed.0.len() <= MAX_SEALED && version == Some("v1") && id.is_some_and(plain) && text.is_some_and(base64)
}

/// A nonce of 24 bytes and a tag of 16, in Base64: nothing sealed is shorter.
const MIN_SEALED_TEXT: usize = 54;

fn webhook(webhook: &Webhook, faults: &mut Faults) {
    let root = Path::Root("webhook");
    if let Err(reason) = address::parse_url(&webhook.url) {
        faults.add(
            &Path::Key(&root, "url"),
            reason.to_string(),
            "https://<host>/<path>, or http where it is permitted",
        );
    }
    let count = webhook.secrets.len();
    if !(1..=MAX_SECRETS).contains(&count) {
        faults.add(&Path::Key(&root, "secrets"), format!("{count} entries"), format!("1 to {MAX_SECRETS}"));
    }
    if !TIMEOUT_MS.contains(&webhook.timeout_ms) {
        faults.add(&Path::Key(&root, "timeout_ms"), webhook.timeout_ms.to_string(), between(&TIMEOUT_MS));
    }
    headers(&webhook.headers, &Path::Key(&root, "headers"), faults);
}

fn headers(headers: &[Header], path: &Path<'_>, faults: &mut Faults) {
    if headers.len() > MAX_HEADERS {
        return faults.add(path, format!("{} entries", headers.len()), format!("at most {MAX_HEADERS}"));
    }
    let mut known = BTreeSet::new();
    for (i, header) in headers.iter().enumerate() {
        let path = Path::Index(path, i);
        let path = Path::Key(&path, "name");
        if let Err(reason) = check_header_name(&header.name) {
            faults.add(&path, reason.to_string(), "a name of RFC 9110 that is not reserved");
        } else if !known.insert(header.name.to_ascii_lowercase()) {
            faults.add(&path, format!("{} a second time", header.name), "each name once");
        }
    }
}

fn limits(limits: &Limits, faults: &mut Faults) {
    let root = Path::Root("limits");
    if let Some(rate) = limits.per_second.filter(|rate| !PER_SECOND.contains(rate)) {
        faults.add(&Path::Key(&root, "per_second"), rate.to_string(), between(&PER_SECOND));
    }
    for (name, value, range) in [("burst", limits.burst, BURST), ("in_flight", limits.in_flight, IN_FLIGHT)] {
        if !range.contains(&value) {
            faults.add(&Path::Key(&root, name), value.to_string(), between(&range));
        }
    }
}

fn retry(retry: &RetryPolicy, faults: &mut Faults) {
    let root = Path::Root("retry");
    let schedule = Path::Key(&root, "schedule_s");
    if retry.schedule_s.len() > MAX_RETRIES {
        faults.add(&schedule, format!("{} entries", retry.schedule_s.len()), format!("at most {MAX_RETRIES}"));
    }
    for (i, delay) in retry.schedule_s.iter().enumerate().filter(|(_, delay)| !RETRY_DELAY_S.contains(delay)) {
        faults.add(&Path::Index(&schedule, i), delay.to_string(), between(&RETRY_DELAY_S));
    }
    if !JITTER.contains(&retry.jitter) {
        faults.add(&Path::Key(&root, "jitter"), retry.jitter.to_string(), between(&JITTER));
    }
}

fn between<T: std::fmt::Display>(range: &std::ops::RangeInclusive<T>) -> String {
    format!("{} to {}", range.start(), range.end())
}
