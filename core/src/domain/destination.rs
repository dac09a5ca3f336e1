//! Where notifications go: settings, sealed secrets, limits, retry policy.

use serde::{Deserialize, Serialize};

pub use super::secret::{Sealed, Secret};
use super::{Chance, DestinationId, TeamId};

/// A destination as the directory topic holds it, under the key `dst/<team>/<id>`.
///
/// Secrets are sealed before they come here, or stand here by name. Exactly one channel is set; a struct of
/// options rather than a tagged enum, so that errors name the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub team: TeamId,
    pub id: DestinationId,
    /// Counts the writes of this key, starting at 1. Set by Tidings' own writers; 0 from others.
    #[serde(default)]
    pub revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A disabled destination gets nothing: its notifications are recorded as suppressed.
    #[serde(default = "yes")]
    pub enabled: bool,
    pub webhook: Webhook,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub retry: RetryPolicy,
}

/// HTTP POST of a JSON body, signed as Standard Webhooks 1.0.0 says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Scheme, host, port and path only. User info and query are secrets: see `url_secret`.
    pub url: String,
    /// The whole URL, sealed; present if it has user info or a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret: Option<Secret>,
    /// Signing keys, newest first; every one signs. At least one.
    pub secrets: Vec<Secret>,
    /// Static request headers, values sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// The whole attempt: resolve, connect, send, answer. 1,000 to 30,000 ms.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u32,
}

/// A static request header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    pub value: Secret,
}

/// What a destination can bear.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Attempts per second, 0.01 to 10,000; `None` is unlimited.
    pub per_second: Option<f64>,
    /// Attempts that may start at once after a pause, 1 to 10,000.
    pub burst: u32,
    /// Requests waiting for an answer at one time, 1 to 256.
    pub in_flight: u32,
}

/// When a failed attempt is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Seconds from each failed attempt to the next; its length is the number of retries, at most 32.
    pub schedule_s: Vec<u32>,
    /// Each delay is multiplied by a number drawn from `1 ± jitter`; 0 to 0.5.
    pub jitter: f64,
}

fn yes() -> bool {
    true
}

fn default_timeout_ms() -> u32 {
    15_000
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Limits {
        Limits { per_second: None, burst: 1, in_flight: 8 }
    }
}

// === impl RetryPolicy ===

impl Default for RetryPolicy {
    /// A quick first retry earns most; the tail is for outages. Spans 75 h 36 min.
    fn default() -> RetryPolicy {
        RetryPolicy { schedule_s: vec![5, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400], jitter: 0.2 }
    }
}

impl RetryPolicy {
    /// Milliseconds from failed attempt number `attempt` (1 is the first) to the next; `None`: no more.
    pub fn delay_ms(&self, attempt: u32, chance: &mut Chance) -> Option<i64> {
        let seconds = *self.schedule_s.get(attempt.checked_sub(1)? as usize)?;
        let factor = 1.0 + self.jitter * (2.0 * chance.fraction() - 1.0);
        Some((seconds as f64 * 1000.0 * factor).round() as i64)
    }
}

// === impl Webhook ===

impl Webhook {
    /// Every secret that it has, with its field.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &Secret)> {
        let url = self.url_secret.iter().map(|secret| ("webhook.url_secret".to_owned(), secret));
        let keys = self.secrets.iter().enumerate().map(|(i, secret)| (format!("webhook.secrets[{i}]"), secret));
        let headers = self.headers.iter().enumerate();
        let headers = headers.map(|(i, header)| (format!("webhook.headers[{i}].value"), &header.value));
        url.chain(keys).chain(headers)
    }

    /// The same, to be filled in.
    pub fn secrets_mut(&mut self) -> impl Iterator<Item = &mut Secret> {
        let headers = self.headers.iter_mut().map(|header| &mut header.value);
        self.url_secret.iter_mut().chain(&mut self.secrets).chain(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_follow_the_schedule_within_the_jitter_and_end() {
        let policy = RetryPolicy { schedule_s: vec![10, 100], jitter: 0.2 };
        let mut chance = Chance::new(1);
        for _ in 0..1000 {
            assert!((8_000..=12_000).contains(&policy.delay_ms(1, &mut chance).unwrap()));
            assert!((80_000..=120_000).contains(&policy.delay_ms(2, &mut chance).unwrap()));
        }
        assert_eq!(policy.delay_ms(3, &mut chance), None);
        assert_eq!(policy.delay_ms(0, &mut chance), None);
    }
}
