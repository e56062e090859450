//! Sessions in plain JSON.

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use session_core::{Error, ErrorKind, Result, SessionConfig};

use crate::Opened;

/// Keeps the whole session in its cookie as plain JSON. **The client can read and forge it.**
///
/// Use it for tests, and to see what is sent. This is aiohttp_session's `SimpleCookieStorage`.
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
    /// Makes a storage whose sessions every client can read and forge, with the default cookie
    /// settings.
    pub fn unprotected() -> Self {
        Self {
            config: SessionConfig::default(),
        }
    }

    #[expect(clippy::unused_self, reason = "as the other storages' has_shape")]
    fn has_shape(&self, value: &str) -> bool {
        !value.is_empty()
    }

    /// All cookies count as equally old, because the client could write any time into them. So the
    /// first one with a session wins.
    fn open(&self, value: &str) -> Option<Opened> {
        let session = self.config.open(value.as_bytes().to_vec())?;
        Some((session, UNIX_EPOCH))
    }

    /// Writes the payload as ASCII, as aiohttp_session does.
    #[expect(clippy::unused_self, reason = "as the other storages' seal")]
    fn seal(&self, payload: &[u8]) -> Result<String> {
        match std::str::from_utf8(payload) {
            Ok(text) if text.is_ascii() => Ok(text.to_owned()),
            // JSON has other characters only in strings, where an escape means the same.
            Ok(json) if json.starts_with('{') => Ok(escaped(json)),
            _ => Err(Error::with_message(
                ErrorKind::Settings,
                "a plain cookie needs a codec that writes ASCII text",
            )),
        }
    }
}

/// Writes characters outside ASCII as JSON escapes (RFC 8259, section 7).
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_cookie_is_ascii() {
        let storage = SimpleCookieStorage::unprotected();
        let seal = |text: &str| storage.seal(text.as_bytes());
        let json = r#"{"created": 1, "session": {"a": "é日😀"}}"#;
        let ascii = r#"{"created": 1, "session": {"a": "\u00e9\u65e5\ud83d\ude00"}}"#;
        assert_eq!(seal(json).unwrap(), ascii);
        assert_eq!(seal(ascii).unwrap(), ascii);
        assert_eq!(seal("é").unwrap_err().kind(), ErrorKind::Settings);
    }
}
