//! Sessions in plain JSON.

use std::time::UNIX_EPOCH;

use session_core::{Error, ErrorKind, Result, SessionConfig};

use crate::Opened;

/// Keeps the whole session in its cookie as **plain JSON: the client can read it and write
/// whatever it likes into it**. For tests and for looking at what is sent: aiohttp_session's
/// `SimpleCookieStorage`.
///
/// ```
/// use session_cookie::SimpleCookieStorage;
///
/// let storage = SimpleCookieStorage::unprotected();
/// ```
#[derive(Debug)]
pub struct SimpleCookieStorage {
    pub(crate) config: SessionConfig,
}

crate::cookie_storage!(SimpleCookieStorage);

impl SimpleCookieStorage {
    /// Keeps sessions where everybody can read and forge them, with the default cookie settings.
    pub fn unprotected() -> Self {
        Self {
            config: SessionConfig::default(),
        }
    }

    #[expect(clippy::unused_self, reason = "as the other storages' has_shape")]
    fn has_shape(&self, value: &str) -> bool {
        !value.is_empty()
    }

    /// All cookies count as equally old, so the first one with a session wins: the client could
    /// write any time into them.
    fn open(&self, value: &str) -> Option<Opened> {
        let session = self.config.open(value.as_bytes().to_vec())?;
        Some((session, UNIX_EPOCH))
    }

    #[expect(clippy::unused_self, reason = "as the other storages' seal")]
    fn seal(&self, payload: &[u8]) -> Result<String> {
        String::from_utf8(payload.to_vec()).map_err(|_| {
            Error::with_message(
                ErrorKind::Settings,
                "a plain cookie needs a codec that writes text",
            )
        })
    }
}
