//! A webhook's request as a command for a shell, so that a person can repeat it.
//!
//! Secrets are not opened for it: a `<placeholder>` stands where one belongs. The signature is one of them, for it
//! is made anew for each attempt.

use crate::domain::{Destination, NotificationId};

/// The request as `curl` would send it. Pasting it into a POSIX shell runs `curl` once and nothing else, whatever
/// the body or the settings hold.
pub fn curl(destination: &Destination, notification: &NotificationId, body: &[u8]) -> String {
    let webhook = &destination.webhook;
    let mut command = format!("curl --globoff --request POST {}", quote(&webhook.url));
    if webhook.url_secret.is_some() {
        // The sealed URL may hold user info, a query, or both; which one is itself not told.
        command.push_str(" --url-query '<query>' --user '<user info>'");
    }
    let mut header = |name: &str, value: &str| {
        command.push_str(" \\\n  --header ");
        command.push_str(&quote(&format!("{name}: {value}")));
    };
    webhook.headers.iter().for_each(|own| header(&own.name, "<secret>"));
    header("content-type", "application/json");
    header("webhook-id", &notification.to_string());
    header("webhook-timestamp", "<seconds since 1970>");
    header("webhook-signature", "<signature>");
    command.push_str(" \\\n  --data-raw ");
    command.push_str(&quote(&String::from_utf8_lossy(body)));
    command
}

/// One word for a POSIX shell: between single quotes nothing is special but the single quote itself.
///
/// NUL cannot be part of any command line and is left out.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DestinationId, Limits, RetryPolicy, Sealed, TeamId, Webhook, destination::Header};

    fn destination() -> Destination {
        Destination {
            team: TeamId::new("acme").unwrap(),
            id: DestinationId::new("d").unwrap(),
            revision: 1,
            name: None,
            enabled: true,
            webhook: Webhook {
                url: "https://example.com/hook".to_owned(),
                url_secret: None,
                secrets: vec![Sealed("v1.k.canary".to_owned()).into()],
                headers: vec![Header {
                    name: "Authorization".to_owned(),
                    value: Sealed("v1.k.canary".to_owned()).into(),
                }],
                timeout_ms: 1000,
            },
            limits: Limits::default(),
            retry: RetryPolicy::default(),
        }
    }

    #[test]
    fn a_request_reads_as_a_command() {
        assert_eq!(
            curl(&destination(), &NotificationId([0; 16]), br#"{"text":"it's"}"#),
            r#"curl --globoff --request POST 'https://example.com/hook' \
  --header 'Authorization: <secret>' \
  --header 'content-type: application/json' \
  --header 'webhook-id: 00000000000000000000000000000000' \
  --header 'webhook-timestamp: <seconds since 1970>' \
  --header 'webhook-signature: <signature>' \
  --data-raw '{"text":"it'\''s"}'"#
        );
    }

    #[test]
    fn sealed_values_stay_out() {
        let mut destination = destination();
        destination.webhook.url_secret = Some(Sealed("v1.k.canary".to_owned()).into());
        let command = curl(&destination, &NotificationId([0; 16]), b"{}");
        assert!(!command.contains("canary") && command.contains("<query>"), "{command}");
    }

    #[test]
    fn quoted_text_is_one_word() {
        let check = |text: &str, expected: &str| assert_eq!(quote(text), expected);
        check("", "''");
        check("$(id) `id` \\ \" !x\n;", "'$(id) `id` \\ \" !x\n;'");
        check("'; id #", r"''\''; id #'");
        check("a\0b", "'ab'");
    }
}
