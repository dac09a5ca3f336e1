//! Keys of the directory topic: `sub/<team>/<id>`, `dst/<team>/<id>` and `sec/<team>/<name>`.

use crate::domain::{DestinationId, NameError, SecretId, SubscriptionId, TeamId, ids::MAX_NAME};

/// What a record of the directory topic is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Subscription(TeamId, SubscriptionId),
    Destination(TeamId, DestinationId),
    Secret(TeamId, SecretId),
}

/// Why bytes are no [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("a key that is neither sub/<team>/<id> nor dst/<team>/<id> nor sec/<team>/<name>")]
    Form,
    #[error("team: {0}")]
    Team(NameError),
    #[error("id: {0}")]
    Id(NameError),
}

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = "sub//".len() + 2 * MAX_NAME;

pub fn subscription_key(team: &TeamId, id: &SubscriptionId) -> String {
    format!("sub/{team}/{id}")
}

pub fn destination_key(team: &TeamId, id: &DestinationId) -> String {
    format!("dst/{team}/{id}")
}

pub fn secret_key(team: &TeamId, id: &SecretId) -> String {
    format!("sec/{team}/{id}")
}

pub fn parse_key(key: &[u8]) -> Result<Key, KeyFault> {
    let text = std::str::from_utf8(key).map_err(|_| KeyFault::Form)?;
    let mut parts = text.split('/');
    let (Some(kind), Some(team), Some(id), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(KeyFault::Form);
    };
    let team = || TeamId::new(team).map_err(KeyFault::Team);
    match kind {
        "sub" => Ok(Key::Subscription(team()?, SubscriptionId::new(id).map_err(KeyFault::Id)?)),
        "dst" => Ok(Key::Destination(team()?, DestinationId::new(id).map_err(KeyFault::Id)?)),
        "sec" => Ok(Key::Secret(team()?, SecretId::new(id).map_err(KeyFault::Id)?)),
        _ => Err(KeyFault::Form),
    }
}

// === impl Key ===

impl Key {
    pub fn team(&self) -> &TeamId {
        match self {
            Key::Subscription(team, _) | Key::Destination(team, _) | Key::Secret(team, _) => team,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_others_are_refused() {
        let (team, id) = (TeamId::new("acme").unwrap(), SubscriptionId::new("paid:1").unwrap());
        let key = subscription_key(&team, &id);
        assert_eq!(key, "sub/acme/paid:1");
        assert_eq!(parse_key(key.as_bytes()), Ok(Key::Subscription(team.clone(), id)));
        let id = DestinationId::new("hook").unwrap();
        assert_eq!(parse_key(destination_key(&team, &id).as_bytes()), Ok(Key::Destination(team.clone(), id)));
        let id = SecretId::new("hooks").unwrap();
        assert_eq!(parse_key(secret_key(&team, &id).as_bytes()), Ok(Key::Secret(team, id)));
        for form in ["", "sub", "sub/acme", "sub/acme/a/b", "Sub/acme/a", "subscription/acme/a"] {
            assert_eq!(parse_key(form.as_bytes()), Err(KeyFault::Form), "{form}");
        }
        assert_eq!(parse_key(b"\xff/acme/a"), Err(KeyFault::Form));
        assert_eq!(parse_key(b"sub//a"), Err(KeyFault::Team(NameError::Length(0))));
        assert_eq!(parse_key(b"dst/acme/a b"), Err(KeyFault::Id(NameError::Character(' '))));
        let longest = "x".repeat(MAX_NAME);
        assert_eq!(format!("sub/{longest}/{longest}").len(), MAX_KEY_BYTES);
    }
}
