//! Reading request bodies: bounded, of a stated type, and with the faulty key named.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{ApiError, MAX_BODY, error::Fault};

/// A JSON body of at most [`MAX_BODY`] bytes.
#[derive(Clone, Debug)]
pub struct JsonBody(pub Value);

/// The media type of a request, without parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The body's bytes, or the error that fits: too large, or broken off.
pub async fn bytes<S: Send + Sync>(request: Request, state: &S, max: usize) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status().as_u16() {
        413 => ApiError::TooLarge(max),
        _ => ApiError::bad_request("the body broke off"),
    })
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<JsonBody, ApiError> {
        let media_type = media_type(request.headers());
        if media_type != "application/json" && !media_type.ends_with("+json") {
            return Err(ApiError::UnsupportedMediaType("application/json"));
        }
        let bytes = bytes(request, state, MAX_BODY).await?;
        let value = serde_json::from_slice(&bytes).map_err(|error| ApiError::bad_request(format!("not JSON: {error}")))?;
        Ok(JsonBody(value))
    }
}

/// The body as an object, with the names that the path gives. A name that the body gives too must be the same.
pub fn object(body: Value, names: &[(&str, &str)]) -> Result<Map<String, Value>, ApiError> {
    let Value::Object(mut object) = body else {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    };
    for (key, name) in names {
        match object.get(*key) {
            Some(found) if found.as_str() != Some(name) => {
                let fault = Fault::new(*key, found.to_string(), format!("{name:?}, as in the path, or nothing"));
                return Err(ApiError::invalid("the object", vec![fault]));
            }
            _ => object.insert((*key).to_owned(), Value::String((*name).to_owned())),
        };
    }
    Ok(object)
}

/// The object as a type, or the path of the key that does not fit.
pub fn typed<T: DeserializeOwned>(what: &str, object: Map<String, Value>) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| {
        let path = error.path().to_string();
        let (found, allowed) = split_message(&error.inner().to_string());
        ApiError::invalid(what, vec![Fault::new(if path == "." { "" } else { &path }, found, allowed)])
    })
}

/// Serde says "unknown field `x`, expected one of …", "invalid type: …, expected …", "missing field `x`".
fn split_message(message: &str) -> (String, String) {
    match message.split_once(", expected ") {
        Some((found, allowed)) => (found.to_owned(), allowed.to_owned()),
        None if message.starts_with("missing field") => ("nothing".to_owned(), message.replace("missing", "the")),
        None => (message.to_owned(), "another value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidings_core::domain::Subscription;

    use super::*;

    fn check(body: Value, expected: &[(&str, &str, &str)]) {
        let read = object(body.clone(), &[("team", "acme"), ("id", "s-1")]);
        let faults = match read.and_then(|object| typed::<Subscription>("the subscription", object)) {
            Ok(_) => Vec::new(),
            Err(ApiError::Invalid { faults, .. }) => faults,
            Err(other) => panic!("{other:?}"),
        };
        let expected: Vec<Fault> = expected.iter().map(|(path, found, allowed)| Fault::new(*path, *found, *allowed)).collect();
        assert_eq!(faults, expected, "{body}");
    }

    #[test]
    fn the_faulty_key_is_named() {
        check(json!({"events": [{"type": "*", "filter": {"n": [{"numeric": [">", 1.5]}]}}], "destinations": ["d"]}), &[]);
        check(
            json!({"events": [{"type": "*"}, {"type": 7}], "destinations": []}),
            &[("events[1].type", "invalid type: number", "a string")],
        );
        check(
            json!({"events": [], "destinations": ["a/b"]}),
            &[("destinations[0]", "'/' in a name; allowed are A-Z a-z 0-9 . _ : @ -", "another value")],
        );
        check(json!({"events": []}), &[("", "nothing", "the field `destinations`")]);
        check(json!({"team": "other"}), &[("team", "\"other\"", "\"acme\", as in the path, or nothing")]);
    }
}
