//! What a receiver's answer means, and what of it is kept.

use crate::domain::{ErrorClass, attempt::MAX_EXCERPT};

/// The class of failure an HTTP status stands for; `None` is success.
///
/// What is neither 2xx, 3xx, 4xx nor 5xx is no final answer of a correct server.
pub fn class_of_status(status: u16) -> Option<ErrorClass> {
    match status {
        200..=299 => None,
        300..=399 => Some(ErrorClass::Redirect),
        410 => Some(ErrorClass::Gone),
        429 => Some(ErrorClass::RateLimited),
        400..=499 => Some(ErrorClass::ClientError),
        500..=599 => Some(ErrorClass::ServerError),
        _ => Some(ErrorClass::Protocol),
    }
}

/// The beginning of an answer's body as text that every store takes: valid, without NUL, at most [`MAX_EXCERPT`] bytes.
///
/// Bytes that are no UTF-8 become U+FFFD; nothing is decompressed.
pub fn excerpt(body: &[u8]) -> Option<String> {
    let mut text = String::from_utf8_lossy(&body[..body.len().min(MAX_EXCERPT)]).replace('\0', "");
    text.truncate(text.floor_char_boundary(MAX_EXCERPT));
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statuses_have_their_class() {
        let check = |statuses: &[u16], class: Option<ErrorClass>| {
            statuses.iter().for_each(|status| assert_eq!(class_of_status(*status), class, "{status}"));
        };
        check(&[200, 201, 202, 204, 299], None);
        check(&[300, 301, 302, 303, 304, 307, 308], Some(ErrorClass::Redirect));
        check(&[410], Some(ErrorClass::Gone));
        check(&[429], Some(ErrorClass::RateLimited));
        check(&[400, 401, 403, 404, 413, 422, 499], Some(ErrorClass::ClientError));
        check(&[500, 502, 503, 504, 599], Some(ErrorClass::ServerError));
        check(&[0, 100, 199, 600, 999], Some(ErrorClass::Protocol));
    }

    #[test]
    fn excerpts_are_text_that_every_store_takes() {
        assert_eq!(excerpt(b""), None);
        assert_eq!(excerpt(b"\0\0"), None);
        assert_eq!(excerpt(b"a\0b"), Some("ab".to_owned()));
        assert_eq!(excerpt(b"\x1f\x8b\x08"), Some("\u{1f}\u{fffd}\u{8}".to_owned()));
        assert_eq!(excerpt("é".repeat(MAX_EXCERPT).as_bytes()).unwrap().len(), MAX_EXCERPT);
        // A character cut in two at the bound is shown as cut.
        let cut = excerpt(format!("a{}", "é".repeat(MAX_EXCERPT)).as_bytes()).unwrap();
        assert!(cut.len() <= MAX_EXCERPT);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_bounded_excerpt(body: Vec<u8>, repeat in 1..300usize) {
            let text = excerpt(&body.repeat(repeat)).unwrap_or_default();
            prop_assert!(text.len() <= MAX_EXCERPT && !text.contains('\0'));
        }
    }
}
