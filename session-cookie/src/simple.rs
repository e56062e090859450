//! Sessions in plain JSON.

use session_core::{Error, ErrorKind, Records, Result, Session};

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
    pub(crate) records: Records,
}

crate::cookie_storage!(SimpleCookieStorage);

impl SimpleCookieStorage {
    /// Keeps sessions where everybody can read and forge them, with the default cookie settings.
    pub fn unprotected() -> Self {
        Self {
            records: Records::default(),
        }
    }

    fn open(&self, value: &str) -> Option<Session> {
        self.records.open(value.as_bytes().to_vec())
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
