//! Sessions in a NaCl secret box.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use session_core::{Error, ErrorKind, Result, SessionConfig};

use crate::Opened;
use crate::key::Key;

/// Keeps the whole session in its cookie, encrypted and signed with a NaCl secret box.
///
/// This is aiohttp_session's `NaClCookieStorage`. The cipher is NaCl's `crypto_secretbox`,
/// XSalsa20-Poly1305.
///
/// The value is the base64 of 24 bytes nonce, 16 bytes MAC and the ciphertext. It contains no time
/// of its own, so the session's lifetime counts from the record's `created`.
/// [`changed`](session_core::Session::changed) does not move that. A `created` more than 60 seconds
/// in the future is refused.
pub struct NaClCookieStorage {
    pub(crate) config: SessionConfig,
    /// The first key encrypts. All keys decrypt.
    keys: Vec<XSalsa20Poly1305>,
}

crate::cookie_storage!(NaClCookieStorage);

/// A session that was written later than this in the future is refused, as a Fernet token is.
/// Otherwise it would never expire.
const MAX_AHEAD: Duration = Duration::from_secs(60);

const NONCE_BYTES: usize = 24;

/// The base64 length of nonce and MAC, 40 bytes.
const MIN_LEN: usize = 56;

impl NaClCookieStorage {
    /// Makes a storage that encrypts with `key`, with the default cookie settings.
    #[expect(clippy::needless_pass_by_value, reason = "dropping the key wipes it")]
    pub fn new(key: Key) -> Self {
        Self {
            config: SessionConfig::default(),
            keys: vec![XSalsa20Poly1305::new(key.bytes().into())],
        }
    }

    /// Also decrypts sessions that were encrypted with `key`. Their next save encrypts them with
    /// the first key.
    ///
    /// Use it for a key that is being retired, or for the next key while some instances do not have
    /// it yet. Each key adds one attempt for a value that fits no key.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "dropping the key wipes it")]
    pub fn with_fallback_key(mut self, key: Key) -> Self {
        self.keys.push(XSalsa20Poly1305::new(key.bytes().into()));
        self
    }

    /// Returns whether `value` is long enough for a nonce and a MAC.
    #[expect(clippy::unused_self, reason = "as the other storages' has_shape")]
    fn has_shape(&self, value: &str) -> bool {
        value.len().is_multiple_of(4) && value.len() >= MIN_LEN
    }

    fn open(&self, value: &str) -> Option<Opened> {
        // Accept exactly one text for each box: canonical padding, no stray bits.
        let sealed = STANDARD.decode(value).ok();
        let parts = sealed
            .as_deref()
            .and_then(|sealed| sealed.split_at_checked(NONCE_BYTES));
        let opened = parts.and_then(|(nonce, boxed)| {
            self.keys
                .iter()
                .find_map(|key| key.decrypt(Nonce::from_slice(nonce), boxed).ok())
        });
        let Some(payload) = opened else {
            crate::log_refused(&self.config);
            return None;
        };
        let session = self.config.open(payload)?;
        let written = session.created();
        if written > self.config.now() + MAX_AHEAD {
            crate::log_refused(&self.config);
            return None;
        }
        Some((session, written))
    }

    fn seal(&self, payload: &[u8]) -> Result<String> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| Error::new(ErrorKind::Unavailable, error))?;
        let boxed = self.keys[0].encrypt(Nonce::from_slice(&nonce), payload);
        let boxed = boxed.map_err(|_| Error::from(ErrorKind::TooLarge))?;
        Ok(STANDARD.encode([&nonce[..], &boxed].concat()))
    }
}

/// Shows no key.
impl fmt::Debug for NaClCookieStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NaClCookieStorage")
            .field("config", &self.config)
            .field("keys", &self.keys.len())
            .finish()
    }
}
