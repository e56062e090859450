//! The random key under which a store keeps a session.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// A session's identity: the value of the cookie of a server-side storage.
///
/// [`random`](Self::random) draws 128 bits and writes them as 32 lowercase hexadecimal digits, the
/// shape of aiohttp_session's `uuid4().hex`. An application's own identities are 16 to 128
/// characters of `A-Z a-z 0-9 - _`. The `_` is allowed only if the storage has a
/// [key factory](crate::KeyedStorage::with_key_factory). Text of any other shape never reaches a
/// store.
///
/// Anyone who knows the identity can act as the user, so `Debug` never shows it. Logs contain its
/// [`fingerprint`](Self::fingerprint).
///
/// ```
/// use session_core::Identity;
///
/// let identity = Identity::parse("0123456789abcdef0123456789abcdef").unwrap();
/// assert_eq!(format!("{identity:?}"), "Identity(..)");
/// assert!(Identity::parse("../../etc/passwd").is_none());
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Identity(Arc<str>);

impl Identity {
    /// Draws a new identity from the operating system's random generator.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the operating system has no random bytes.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| Error::new(ErrorKind::Unavailable, error))?;
        let mut text = [0; 32];
        let text: &str = uuid::Uuid::from_bytes(bytes)
            .simple()
            .encode_lower(&mut text);
        Ok(Self(text.into()))
    }

    /// Returns `text` as an identity; `None` if it has another shape.
    pub fn parse(text: &str) -> Option<Self> {
        // No early exit, so that the loop has no branches.
        let is_shaped = (16..=128).contains(&text.len())
            && text
                .bytes()
                .fold(true, |all, byte| all & URL_SAFE[usize::from(byte)]);
        is_shaped.then(|| Self(text.into()))
    }

    /// Borrows the text, which is a secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text, which is a secret. It shares this value's memory.
    pub(crate) fn text(&self) -> Arc<str> {
        self.0.clone()
    }

    /// Returns what a log may show: the first 8 hexadecimal digits of the SHA-256 of the text.
    pub fn fingerprint(&self) -> String {
        self.sha256(8)
    }

    /// Returns the public handle of a session that began under this identity: the first 32
    /// hexadecimal digits of its SHA-256.
    pub(crate) fn handle(&self) -> String {
        self.sha256(32)
    }

    /// Returns the first `digits` lowercase hexadecimal digits, at most 64, of the SHA-256.
    pub(crate) fn sha256(&self, digits: usize) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        hex(&digest).take(digits).collect()
    }
}

/// Returns the lowercase hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> impl Iterator<Item = char> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16))
}

/// The characters that an identity may contain: those of URL-safe base64 (RFC 4648, section 5).
const URL_SAFE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        byte += 1;
    }
    table
};

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_identity() {
        let identity = Identity::parse(&"0a".repeat(16)).unwrap();
        assert_eq!(format!("{identity:?}"), "Identity(..)");
    }

    #[test]
    fn random_identities_differ_and_have_the_shape_of_a_uuid() {
        let (a, b) = (Identity::random().unwrap(), Identity::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 32);
        assert!(
            a.as_str()
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        );
    }

    #[test]
    fn only_url_safe_text_of_sensible_length_is_an_identity() {
        for good in ["0123456789abcdef", &"Az09-_".repeat(21)] {
            assert!(Identity::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "k",
            "0123456789abcde",
            "0123456789abcde ",
            "0123456789abcdef\r\n",
            &"a".repeat(129),
            "0123456789abcdéf",
        ] {
            assert!(Identity::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_fingerprint_is_the_start_of_the_digest() {
        let identity = Identity::parse("0123456789abcdef").unwrap();
        // printf 0123456789abcdef | sha256sum
        assert_eq!(identity.fingerprint(), "9f9f5111");
    }
}
