//! Secrets as a destination has them, and as they are stored under a name.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{SecretId, TeamId};

/// A secret of a destination: sealed where it stands, or by the name that it is stored under.
///
/// In JSON the one is a text, the other `{"secret_ref": "<name>"}`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Sealed(Sealed),
    Named {
        name: SecretId,
        /// What is stored under the name, filled in by [`Directory::resolved`](crate::directory::Directory::resolved)
        /// when it is needed. Never written.
        value: Option<Sealed>,
    },
}

/// A secret under authenticated encryption, as text `v1.<key id>.<base64 nonce and ciphertext>`.
///
/// Opened only in the channel that needs it, at the last moment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

/// A secret that destinations refer to, as the directory topic holds it under the key `sec/<team>/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSecret {
    pub team: TeamId,
    pub id: SecretId,
    /// Counts the writes of this key, starting at 1.
    #[serde(default)]
    pub revision: u64,
    pub value: Sealed,
}

/// The one key of a reference.
const REFERENCE: &str = "secret_ref";

// === impl Secret ===

impl From<Sealed> for Secret {
    fn from(sealed: Sealed) -> Secret {
        Secret::Sealed(sealed)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Secret::Sealed(sealed) => sealed.serialize(serializer),
            Secret::Named { name, .. } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(REFERENCE, name)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// By hand, because serde's own ways to tell the two apart quote what they have found, which may be the secret.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret or an object with the one key secret_ref")
    }

    fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::Sealed(Sealed(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Secret, A::Error> {
        let mut name = None;
        while let Some(key) = entries.next_key::<String>()? {
            if key != REFERENCE || name.is_some() {
                return Err(A::Error::custom("another key than secret_ref, expected an object with that one key"));
            }
            name = Some(entries.next_value()?);
        }
        let name = name.ok_or_else(|| A::Error::missing_field(REFERENCE))?;
        Ok(Secret::Named { name, value: None })
    }
}

/// Not even a name is shown: it may be a secret that somebody took for one.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Sealed(sealed) => sealed.fmt(f),
            Secret::Named { .. } => f.write_str("Named(…)"),
        }
    }
}

// === impl Sealed ===

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_text_or_a_reference_and_nothing_is_quoted() {
        for text in [r#""v1.k.x""#, r#"{"secret_ref":"hooks"}"#] {
            let secret: Secret = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&secret).unwrap(), text);
            assert!(!format!("{secret:?}").contains("hooks"));
        }
        for text in [r#"{"hush": 1}"#, r#"{"secret_ref": "a", "hush": 1}"#, "{}", r#"{"secret_ref": "a/hush"}"#] {
            let error = serde_json::from_str::<Secret>(text).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
