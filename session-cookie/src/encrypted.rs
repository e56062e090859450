//! Sessions in a Fernet token.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use session_core::{Result, SessionConfig};

use crate::Opened;
use crate::key::{FernetKey, Key};

/// Keeps the whole session in its cookie, encrypted and signed with Fernet.
///
/// This is aiohttp_session's `EncryptedCookieStorage`.
///
/// A Fernet token (<https://github.com/fernet/spec>) is AES-128-CBC with HMAC-SHA256. It contains
/// the time when it was made. A session has expired if that time is older than its lifetime. A
/// token dated more than 60 seconds in the future is refused.
pub struct EncryptedCookieStorage {
    pub(crate) config: SessionConfig,
    /// The first key encrypts. All keys decrypt.
    keys: Vec<FernetKey>,
}

crate::cookie_storage!(EncryptedCookieStorage);

/// The base64 length of version, time, IV, one block and HMAC: 73 bytes.
const MIN_LEN: usize = 100;

impl EncryptedCookieStorage {
    /// Makes a storage that encrypts with `key`, with the default cookie settings.
    ///
    /// A save panics if the operating system has no random bytes, because the fernet crate does.
    /// [`Key::generate`] and [`NaClCookieStorage`](crate::NaClCookieStorage) return an error then.
    pub fn new(key: Key) -> Self {
        Self {
            config: SessionConfig::default(),
            keys: vec![key.into()],
        }
    }

    /// Also decrypts sessions that were encrypted with `key`. Their next save encrypts them with
    /// the first key.
    ///
    /// Use it for a key that is being retired, or for the next key while some instances do not have
    /// it yet. Each key adds one attempt for a token that fits no key.
    #[must_use]
    pub fn with_fallback_key(mut self, key: Key) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Returns whether `token` is long enough and has exactly the padding that it needs. The fernet
    /// crate ignores the padding.
    #[expect(clippy::unused_self, reason = "as the other storages' has_shape")]
    fn has_shape(&self, token: &str) -> bool {
        token.len() >= MIN_LEN
            && token.len().is_multiple_of(4)
            && token.trim_end_matches('=').len() + 2 >= token.len()
    }

    fn open(&self, token: &str) -> Option<Opened> {
        let now = self.now();
        // This passes no time to live. The crate would add it to the token's time before it has
        // authenticated that time, which can overflow.
        let opened = self
            .keys
            .iter()
            .find_map(|key| key.0.decrypt_at_time(token, None, now).ok());
        let Some(payload) = opened else {
            crate::log_refused(&self.config);
            return None;
        };
        let session = self.config.open(payload)?;
        let sealed_at = sealed_at(token)?;
        let age = now.saturating_sub(sealed_at);
        if session
            .max_age()
            .is_some_and(|max_age| age > max_age.as_secs())
        {
            return None;
        }
        let written = UNIX_EPOCH.checked_add(Duration::from_secs(sealed_at));
        Some((session, written.unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the other storages' seal")]
    fn seal(&self, payload: &[u8]) -> Result<String> {
        // This panics if the operating system has no random bytes. The crate takes none from us.
        Ok(self.keys[0].0.encrypt_at_time(payload, self.now()))
    }

    /// The time as Fernet counts it, in Unix seconds.
    fn now(&self) -> u64 {
        self.config
            .now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }
}

/// Reads the time from a token: 8 bytes, big-endian, after the byte of the version.
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
            .field("config", &self.config)
            .field("keys", &self.keys.len())
            .finish()
    }
}
