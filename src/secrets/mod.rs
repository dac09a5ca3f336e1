//! Secrets at rest: the key ring, and what of a destination is sealed with it.
//!
//! Signing secrets, header values, and URLs with user info or a query are sealed before they enter the directory
//! topic and opened in the channel that needs them, at the last moment. A sealed value is the text
//! `v1.<key id>.<base64 of nonce and ciphertext>`, made with XChaCha20-Poly1305. Team, destination and field name are
//! its associated data, or team and name where it is stored under one, so that a value that is copied to another place
//! does not open there.
//!
//! Nothing here prints a secret: types that hold one in clear have no `Debug`, or one that hides it; errors name
//! fields and key ids only. What is deliberately absent: any way to run without a key.
//!
//! Reading order: [`key_ring`], [`webhook`].

pub mod key_ring;
pub mod webhook;

pub use key_ring::{KeyRing, KeyRingError, OpenError};
pub use webhook::{OpenWebhookError, Place, PlainWebhook, new_signing_key};
