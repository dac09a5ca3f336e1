//! Static request headers that a team may set on its webhooks, and those it may not.
//!
//! Checked when a destination is written, and again before each send, because the directory's topic has other writers.

/// Why a header is refused. Never repeats the value, which is a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    #[error("a header name of {0} bytes; 1 to {MAX_HEADER_NAME} are allowed")]
    NameLength(usize),
    #[error("{0:?} in a header name; allowed are letters, digits and !#$%&'*+-.^_`|~")]
    NameCharacter(char),
    #[error("header {0:?} is set by Tidings, governs the connection, or opens cloud metadata services; choose another")]
    Reserved(String),
    #[error("a header value of {0} bytes; at most {MAX_HEADER_VALUE} are allowed")]
    ValueLength(usize),
    #[error("a header value holds {0:?}; allowed are visible ASCII, space and tab, with no space at either end")]
    ValueCharacter(char),
}

/// The most static headers of one webhook.
pub const MAX_HEADERS: usize = 20;
/// The longest header name, in bytes.
pub const MAX_HEADER_NAME: usize = 256;
/// The longest header value, in bytes.
pub const MAX_HEADER_VALUE: usize = 4096;

const RESERVED: [&str; 13] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "user-agent",
    "http2-settings",
];

/// `x-google`, `x-goog-`, `metadata`, `x-aws-ec2-metadata-`: presence of such a header is what metadata services take
/// as proof that a request was meant.
const RESERVED_PREFIXES: [&str; 7] =
    ["webhook-", "proxy-", "metadata", "x-google", "x-goog-", "x-amz-", "x-aws-ec2-metadata-"];

/// Refuses what is no RFC 9110 token, and reserved names.
pub fn check_header_name(name: &str) -> Result<(), HeaderFault> {
    if name.is_empty() || name.len() > MAX_HEADER_NAME {
        return Err(HeaderFault::NameLength(name.len()));
    }
    if let Some(c) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(*c))) {
        return Err(HeaderFault::NameCharacter(c));
    }
    let lower = name.to_ascii_lowercase();
    let reserved =
        RESERVED.contains(&lower.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if reserved { Err(HeaderFault::Reserved(name.to_owned())) } else { Ok(()) }
}

/// Refuses what would not arrive as it is written: control characters, other than ASCII, spaces at the ends.
pub fn check_header_value(value: &str) -> Result<(), HeaderFault> {
    if value.len() > MAX_HEADER_VALUE {
        return Err(HeaderFault::ValueLength(value.len()));
    }
    if let Some(c) = value.chars().find(|c| !matches!(c, ' '..='~' | '\t')) {
        return Err(HeaderFault::ValueCharacter(c));
    }
    match [value.chars().next(), value.chars().next_back()].into_iter().flatten().find(|c| matches!(c, ' ' | '\t')) {
        Some(c) => Err(HeaderFault::ValueCharacter(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_and_not_reserved() {
        for name in ["Authorization", "x-api-key", "X-Tenant_1"] {
            assert_eq!(check_header_name(name), Ok(()), "{name}");
        }
        for name in [
            "Host",
            "content-length",
            "Content-Type",
            "TE",
            "transfer-encoding",
            "Proxy-Authorization",
            "User-Agent",
            "webhook-signature",
            "Webhook-Anything",
            "Metadata",
            "Metadata-Flavor",
            "X-Google-Metadata-Request",
            "X-aws-ec2-metadata-token",
            "x-amz-date",
        ] {
            assert_eq!(check_header_name(name), Err(HeaderFault::Reserved(name.to_owned())), "{name}");
        }
        assert_eq!(check_header_name(""), Err(HeaderFault::NameLength(0)));
        assert_eq!(check_header_name(&"a".repeat(257)), Err(HeaderFault::NameLength(257)));
        assert_eq!(check_header_name("X: a\r\nY"), Err(HeaderFault::NameCharacter(':')));
        assert_eq!(check_header_name("X-é"), Err(HeaderFault::NameCharacter('é')));
    }

    #[test]
    fn values_are_visible_ascii_and_bounded() {
        assert_eq!(check_header_value("Bearer a b\tc~"), Ok(()));
        assert_eq!(check_header_value(""), Ok(()));
        assert_eq!(check_header_value("a\r\nY: b"), Err(HeaderFault::ValueCharacter('\r')));
        assert_eq!(check_header_value("a\0"), Err(HeaderFault::ValueCharacter('\0')));
        assert_eq!(check_header_value("naïve"), Err(HeaderFault::ValueCharacter('ï')));
        assert_eq!(check_header_value("a "), Err(HeaderFault::ValueCharacter(' ')));
        assert_eq!(check_header_value(&"a".repeat(8192)), Err(HeaderFault::ValueLength(8192)));
    }
}
