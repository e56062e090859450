//! Sessions in a NaCl secret box.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use session_core::{Error, ErrorKind, Records, Result, Session};

use crate::key::Key;

/// Keeps the whole session in its cookie, encrypted and signed with NaCl's `crypto_secretbox`
/// (XSalsa20-Poly1305): aiohttp_session's `NaClCookieStorage`.
///
/// The value is the base64 of 24 bytes nonce, 16 bytes MAC and the ciphertext. It says no time:
/// only the record's `created` limits its life, which [`changed`](Session::changed) does not move.
pub struct NaClCookieStorage {
    pub(crate) records: Records,
    /// The first seals, all open.
    keys: Vec<XSalsa20Poly1305>,
}

crate::cookie_storage!(NaClCookieStorage);

const NONCE_BYTES: usize = 24;

impl NaClCookieStorage {
    /// Keeps sessions under `key`, with the default cookie settings.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the key is wiped when it goes"
    )]
    pub fn new(key: Key) -> Self {
        Self {
            records: Records::default(),
            keys: vec![XSalsa20Poly1305::new(key.bytes().into())],
        }
    }

    /// Opens sessions that were sealed under `key` as well, and seals them under the first key
    /// when they are saved next: for a key that is retired, or that comes next and that not all
    /// instances have yet. Each one more is another try at a value that fits none.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the key is wiped when it goes"
    )]
    pub fn with_fallback_key(mut self, key: Key) -> Self {
        self.keys.push(XSalsa20Poly1305::new(key.bytes().into()));
        self
    }

    fn open(&self, value: &str) -> Option<Session> {
        // Strictly one text for each box: canonical padding, no stray bits.
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
            tracing::debug!("session cookie refused: sealed under no key of ours, or altered");
            return None;
        };
        self.records.open(payload)
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
            .field("records", &self.records)
            .field("keys", &self.keys.len())
            .finish()
    }
}
