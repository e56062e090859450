//! Sessions in a Fernet token.

use std::fmt;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use session_core::{Records, Result, Session};

use crate::key::FernetKey;

/// Keeps the whole session in its cookie, encrypted and signed with Fernet: aiohttp_session's
/// `EncryptedCookieStorage`.
///
/// The token (<https://github.com/fernet/spec>) is AES-128-CBC under HMAC-SHA256, and says when it
/// was made: that time, too, counts against the session's lifetime, and a token dated more than
/// 60 seconds in the future is refused.
pub struct EncryptedCookieStorage {
    pub(crate) records: Records,
    /// The first seals, all open.
    keys: Vec<FernetKey>,
}

crate::cookie_storage!(EncryptedCookieStorage);

impl EncryptedCookieStorage {
    /// Keeps sessions under `key`, a [`Key`](crate::Key) or a [`Fernet`](fernet::Fernet), with the
    /// default cookie settings.
    pub fn new(key: impl Into<FernetKey>) -> Self {
        Self {
            records: Records::default(),
            keys: vec![key.into()],
        }
    }

    /// Opens sessions that were sealed under `key` as well, and seals them under the first key
    /// when they are saved next: for a key that is retired, or that comes next and that not all
    /// instances have yet. Each one more is another try at a token that fits none.
    #[must_use]
    pub fn with_fallback_key(mut self, key: impl Into<FernetKey>) -> Self {
        self.keys.push(key.into());
        self
    }

    fn open(&self, token: &str) -> Option<Session> {
        if !is_canonical(token) {
            tracing::debug!("session cookie refused: no Fernet token");
            return None;
        }
        let now = self.now();
        // Without a time to live: the crate would add it to the token's time before it knows that
        // the time is authentic, which can overflow.
        let opened = self
            .keys
            .iter()
            .find_map(|key| key.0.decrypt_at_time(token, None, now).ok());
        let Some(payload) = opened else {
            tracing::debug!("session cookie refused: sealed under no key of ours, or altered");
            return None;
        };
        let session = self.records.open(payload)?;
        let age = now.saturating_sub(sealed_at(token)?);
        if session
            .max_age()
            .is_some_and(|max_age| age > max_age.as_secs())
        {
            tracing::debug!("session expired");
            return None;
        }
        Some(session)
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the other storages' seal")]
    fn seal(&self, payload: &[u8]) -> Result<String> {
        Ok(self.keys[0].0.encrypt_at_time(payload, self.now()))
    }

    /// The time as Fernet counts it, in Unix seconds.
    fn now(&self) -> u64 {
        self.records
            .now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }
}

/// Returns whether `token` has exactly the padding it needs: the crate ignores it.
fn is_canonical(token: &str) -> bool {
    token.len().is_multiple_of(4) && token.trim_end_matches('=').len() + 2 >= token.len()
}

/// Reads the time from a token: 8 bytes big-endian behind the version's one.
fn sealed_at(token: &str) -> Option<u64> {
    let mut head = [0; 9];
    URL_SAFE.decode_slice(token.get(..12)?, &mut head).ok()?;
    let [_version, time @ ..] = head;
    Some(u64::from_be_bytes(time))
}

/// Shows no key.
impl fmt::Debug for EncryptedCookieStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedCookieStorage")
            .field("records", &self.records)
            .field("keys", &self.keys.len())
            .finish()
    }
}
