//! Cursors: where a listing goes on. Opaque to callers, and refused unless they were given out for the same listing.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use super::{ApiError, Token};

/// Bytes of the authentication code, in front of the payload. 128 bits cannot be guessed online.
const CODE_BYTES: usize = 16;
/// The longest cursor, in characters.
const MAX_CURSOR: usize = 1_024;

/// `listing` names what is listed and for which team, so that a cursor of one does not open another.
pub fn seal<T: Serialize>(token: &Token, listing: &str, place: &T) -> String {
    let payload = serde_json::to_vec(place).expect("a place is plain data");
    let mut bytes = code(token, listing, &payload).to_vec();
    bytes.extend_from_slice(&payload);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn open<T: DeserializeOwned>(token: &Token, listing: &str, cursor: &str) -> Result<T, ApiError> {
    let refused = || ApiError::bad_request("cursor: it was not given out for this listing");
    if cursor.len() > MAX_CURSOR {
        return Err(refused());
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
    let (given, payload) = bytes.split_at_checked(CODE_BYTES).ok_or_else(refused)?;
    // A difference in time tells nothing here: a forged cursor only chooses a place in what the caller may list.
    if given != code(token, listing, payload) {
        return Err(refused());
    }
    serde_json::from_slice(payload).map_err(|_| refused())
}

fn code(token: &Token, listing: &str, payload: &[u8]) -> [u8; CODE_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(&token.cursor_key);
    hasher.update(&(listing.len() as u64).to_le_bytes());
    hasher.update(listing.as_bytes());
    hasher.update(payload);
    let mut code = [0; CODE_BYTES];
    code.copy_from_slice(&hasher.finalize().as_bytes()[..CODE_BYTES]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_out_for_the_listing_opens() {
        let token = Token::new("one");
        let place = (7i64, "x".to_owned());
        let cursor = seal(&token, "attempts/acme", &place);
        assert_eq!(open::<(i64, String)>(&token, "attempts/acme", &cursor), Ok(place));
        let refused = |token: &Token, listing: &str, cursor: &str| {
            assert!(open::<(i64, String)>(token, listing, cursor).is_err(), "{listing} {cursor}");
        };
        refused(&token, "attempts/other", &cursor);
        refused(&Token::new("two"), "attempts/acme", &cursor);
        refused(&token, "attempts/acme", &cursor[..cursor.len() - 2]);
        refused(&token, "attempts/acme", &"A".repeat(100_000));
        refused(&token, "attempts/acme", "");
        refused(&token, "attempts/acme", "ä");
    }
}
