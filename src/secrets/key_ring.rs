//! The key ring: one key that seals, and older ones that still open.
//!
//! As text, in a file or in `TIDINGS__SECRETS__KEYS`, it is a list of `<key id>:<base64 of 32 bytes>`, separated by
//! white space or commas; `#` begins a comment. The first key seals. To rotate, put a new key in front; the old ones
//! may go when nothing sealed with them is left in the directory.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use secrecy::{SecretString, zeroize::Zeroizing};
use tidings_core::domain::{DestinationId, Sealed, SecretId, TeamId};

/// Keys by id; the first is the active one. Never empty.
pub struct KeyRing(Vec<Key>);

struct Key {
    id: String,
    /// Wipes its key when dropped.
    cipher: XChaCha20Poly1305,
}

/// Why a sealed value does not open. Names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("{field} is no sealed value")]
    Format { field: String },
    #[error("{field} is sealed with key {key:?}, which is not in the key ring")]
    UnknownKey { field: String, key: String },
    /// Changed, or sealed for another team, destination or field, or with another key of the same id.
    #[error("{field} does not open with key {key:?}: it was changed, or sealed for another place")]
    Refused { field: String, key: String },
    #[error("{field} refers to a secret that is not stored")]
    NotStored { field: String },
}

/// Why there is no key ring. Names no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    #[error("the key ring is empty; give at least one <key id>:<base64 of {KEY_BYTES} bytes>")]
    Empty,
    #[error("entry {number} of the key ring: {reason}")]
    Entry { number: usize, reason: &'static str },
    #[error("key id {0:?} is in the key ring twice")]
    Twice(String),
    #[error("the key ring has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("cannot {action} the key ring {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
}

/// The most keys of a ring.
pub const MAX_KEYS: usize = 64;
/// The longest key id, in bytes.
pub const MAX_KEY_ID: usize = 32;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const VERSION: &str = "v1";
/// Readable by its owner alone.
const FILE_MODE: u32 = 0o600;

// === impl KeyRing ===

impl KeyRing {
    /// Reads the text of a ring.
    pub fn parse(text: &str) -> Result<KeyRing, KeyRingError> {
        let mut keys: Vec<Key> = Vec::new();
        let uncommented = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let entries = uncommented.flat_map(|line| line.split([' ', '\t', ',', '\r'])).filter(|entry| !entry.is_empty());
        for (number, entry) in (1..).zip(entries) {
            let fault = |reason| KeyRingError::Entry { number, reason };
            let (id, encoded) = entry.split_once(':').ok_or(fault("no colon; write <key id>:<base64>"))?;
            if !is_key_id(id) {
                return Err(fault("a key id is 1 to 32 characters of A-Z a-z 0-9 _ -"));
            }
            let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| fault("the key is not standard base64"))?);
            let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| fault("the key is not 32 bytes"))?;
            if keys.iter().any(|key| key.id == id) {
                return Err(KeyRingError::Twice(id.to_owned()));
            }
            keys.push(Key { id: id.to_owned(), cipher });
        }
        match keys.len() {
            0 => Err(KeyRingError::Empty),
            1..=MAX_KEYS => Ok(KeyRing(keys)),
            _ => Err(KeyRingError::TooMany),
        }
    }

    pub fn load(path: &Path) -> Result<KeyRing, KeyRingError> {
        let file = |source| KeyRingError::File { action: "read", path: path.to_owned(), source };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(file)?);
        let mode = fs::metadata(path).map_err(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            // Orchestrators mount secrets like this, so it is no reason to refuse.
            tracing::warn!(path = %path.display(), mode = format_args!("{:o}", mode & 0o777), "others may read the key ring");
        }
        KeyRing::parse(&text)
    }

    /// Loads the ring, or makes one with a new key, which is on disk before this returns. For the embedded mode.
    pub fn load_or_create(path: &Path) -> Result<KeyRing, KeyRingError> {
        if !path.try_exists().unwrap_or(false) {
            create(path).map_err(|source| KeyRingError::File { action: "create", path: path.to_owned(), source })?;
        }
        KeyRing::load(path)
    }

    /// The id of the key that seals.
    pub fn active(&self) -> &str {
        &self.0[0].id
    }

    /// Seals with the active key. `field` names the place within the destination.
    ///
    /// # Panics
    /// If the operating system gives no randomness: a nonce must never be guessed or repeated.
    pub fn seal(&self, team: &TeamId, destination: &DestinationId, field: &str, plain: &str) -> Sealed {
        self.seal_for(&place(team, destination, field), plain)
    }

    /// Seals what is stored under a name of its own.
    ///
    /// # Panics
    /// As [`KeyRing::seal`].
    pub fn seal_named(&self, team: &TeamId, name: &SecretId, plain: &str) -> Sealed {
        self.seal_for(&named_place(team, name), plain)
    }

    fn seal_for(&self, place: &str, plain: &str) -> Sealed {
        let key = &self.0[0];
        let nonce: [u8; NONCE_BYTES] = random();
        let payload = Payload { msg: plain.as_bytes(), aad: place.as_bytes() };
        let ciphertext = key.cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("only 256 GiB are too long");
        Sealed(format!("{VERSION}.{}.{}", key.id, STANDARD.encode([&nonce[..], &ciphertext].concat())))
    }

    /// Opens what was sealed for this very place.
    pub fn open(
        &self,
        team: &TeamId,
        destination: &DestinationId,
        field: &str,
        sealed: &Sealed,
    ) -> Result<SecretString, OpenError> {
        self.open_for(&place(team, destination, field), field, sealed)
    }

    /// Opens what was stored under this very name, for the field that refers to it.
    pub fn open_named(
        &self,
        team: &TeamId,
        name: &SecretId,
        field: &str,
        sealed: &Sealed,
    ) -> Result<SecretString, OpenError> {
        self.open_for(&named_place(team, name), field, sealed)
    }

    fn open_for(&self, place: &str, field: &str, sealed: &Sealed) -> Result<SecretString, OpenError> {
        let format = || OpenError::Format { field: field.to_owned() };
        let mut parts = sealed.0.splitn(3, '.');
        let (Some(VERSION), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format());
        };
        if !is_key_id(id) {
            return Err(format());
        }
        let bytes = STANDARD.decode(encoded).map_err(|_| format())?;
        let (nonce, ciphertext) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(format)?;

        let (field, key_id) = (field.to_owned(), id.to_owned());
        let Some(key) = self.0.iter().find(|key| key.id == id) else {
            return Err(OpenError::UnknownKey { field, key: key_id });
        };
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        let plain = key.cipher.decrypt(XNonce::from_slice(nonce), payload).ok().and_then(|b| String::from_utf8(b).ok());
        plain.map(SecretString::from).ok_or(OpenError::Refused { field, key: key_id })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// The associated data. Names hold no slash, so no two places read the same.
fn place(team: &TeamId, destination: &DestinationId, field: &str) -> String {
    format!("{team}/{destination}/{field}")
}

/// No destination's id is empty, so no field of one reads the same.
fn named_place(team: &TeamId, name: &SecretId) -> String {
    format!("{team}//{name}")
}

fn is_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Writes a ring of one new key. What was sealed with a key that a power cut took is lost, so the file and its
/// directory entry are synced; and a ring that another process made meanwhile is left as it is.
fn create(path: &Path) -> io::Result<()> {
    let key: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(random());
    let id: String = random::<4>().iter().map(|byte| format!("{byte:02x}")).collect();
    let text = Zeroizing::new(format!(
        "# Tidings' key ring. The first key seals destination secrets, the others still open what they sealed.\n\
         # Keep a copy apart from the data: without it no sealed secret can be read again.\n\
         k{id}:{}\n",
        STANDARD.encode(*key)
    ));
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        // Unlike a rename, a link never replaces what is there.
        .and_then(|()| fs::hard_link(&new, path));
    fs::remove_file(&new)?;
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            fs::File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; KEY_BYTES])
    }

    fn team(name: &str) -> TeamId {
        TeamId::new(name).unwrap()
    }

    fn destination(name: &str) -> DestinationId {
        DestinationId::new(name).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let ring = KeyRing::parse(&format!("a:{}", key(1))).unwrap();
        let (team_a, hook) = (team("acme"), destination("hook"));
        let sealed = ring.seal(&team_a, &hook, "secret", "whsec_canary");
        assert!(sealed.0.starts_with("v1.a.") && !sealed.0.contains("canary"));
        assert_eq!(ring.open(&team_a, &hook, "secret", &sealed).unwrap().expose_secret(), "whsec_canary");

        let refused = |field: &str| OpenError::Refused { field: field.to_owned(), key: "a".to_owned() };
        assert_eq!(ring.open(&team("other"), &hook, "secret", &sealed).unwrap_err(), refused("secret"));
        assert_eq!(ring.open(&team_a, &destination("h"), "secret", &sealed).unwrap_err(), refused("secret"));
        assert_eq!(ring.open(&team_a, &hook, "url", &sealed).unwrap_err(), refused("url"));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let ring = KeyRing::parse(&format!("a:{}", key(1))).unwrap();
        let (team, hook) = (team("acme"), destination("hook"));
        let sealed = ring.seal(&team, &hook, "secret", "x");
        let bytes = STANDARD.decode(sealed.0.strip_prefix("v1.a.").unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = Sealed(format!("v1.a.{}", STANDARD.encode(changed)));
            assert!(matches!(ring.open(&team, &hook, "secret", &changed), Err(OpenError::Refused { .. })), "byte {at}");
        }
    }

    #[test]
    fn no_two_sealings_are_alike() {
        let ring = KeyRing::parse(&format!("a:{}", key(1))).unwrap();
        let seal = || ring.seal(&team("t"), &destination("d"), "secret", "x");
        assert_ne!(seal(), seal());
    }

    #[test]
    fn old_keys_open_and_the_first_key_seals() {
        let (team, hook) = (team("acme"), destination("hook"));
        let old = KeyRing::parse(&format!("old:{}", key(1))).unwrap().seal(&team, &hook, "url", "x");
        let ring = KeyRing::parse(&format!("new:{}, old:{} # until May", key(2), key(1))).unwrap();
        assert_eq!(ring.active(), "new");
        assert_eq!(ring.open(&team, &hook, "url", &old).unwrap().expose_secret(), "x");
        let later = KeyRing::parse(&format!("new:{}", key(2))).unwrap();
        assert_eq!(
            later.open(&team, &hook, "url", &old).unwrap_err().to_string(),
            "url is sealed with key \"old\", which is not in the key ring"
        );
        let other = KeyRing::parse(&format!("old:{}", key(3))).unwrap();
        assert!(matches!(other.open(&team, &hook, "url", &old), Err(OpenError::Refused { .. })));
    }

    #[test]
    fn what_is_no_sealed_value_is_told_without_its_text() {
        let ring = KeyRing::parse(&format!("a:{}", key(1))).unwrap();
        for text in [
            "",
            "canary",
            "v1",
            "v1.a",
            "v1.a.",
            "v1.a.canary!",
            "v2.a.AAAA",
            "v1..AAAA",
            "v1.ca nary.AAAA",
            "v1.a.AAAA",
        ] {
            let error = ring.open(&team("t"), &destination("d"), "secret", &Sealed(text.to_owned())).unwrap_err();
            assert_eq!(error.to_string(), "secret is no sealed value", "{text}");
        }
    }

    #[test]
    fn rings_that_cannot_work_are_refused_without_showing_keys() {
        let refused = |text: &str, expected: &str| {
            let error = KeyRing::parse(text).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("canary"), "{error}");
        };
        refused("# nothing\n", "empty");
        refused("canary", "entry 1 of the key ring: no colon");
        refused(&format!("a:{} b:canary!", key(1)), "entry 2 of the key ring: the key is not standard base64");
        refused("a:Y2FuYXJ5", "not 32 bytes");
        refused(&format!("a.b:{}", key(1)), "a key id is");
        refused(&format!("a:{} a:{}", key(1), key(2)), "twice");
    }

    #[test]
    fn a_ring_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let ring = KeyRing::load_or_create(&path).unwrap();
        let sealed = ring.seal(&team("t"), &destination("d"), "secret", "x");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        let again = KeyRing::load_or_create(&path).unwrap();
        assert_eq!(again.open(&team("t"), &destination("d"), "secret", &sealed).unwrap().expose_secret(), "x");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");
        assert!(!format!("{ring:?}").contains(':'), "{ring:?}");
    }
}
