//! The secret that encrypts a cookie.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use fernet::Fernet;
use session_core::{Error, ErrorKind, Result};
use zeroize::{Zeroize, Zeroizing};

/// A key of 32 random bytes, for either encrypted storage.
///
/// `Debug` does not show it. Its memory is wiped when it is dropped.
///
/// ```
/// use session_cookie::Key;
///
/// let key = Key::generate().unwrap();
/// let text = key.to_base64(); // for the place where the program's secrets are kept
/// assert!(Key::parse(&text).is_ok());
/// assert_eq!(format!("{key:?}"), "Key(..)");
///
/// let error = Key::parse("c2hvcnQ=").unwrap_err();
/// assert!(error.to_string().ends_with("the base64 text of 32 bytes; this key has 5 bytes"));
/// ```
#[derive(Clone)]
pub struct Key([u8; 32]);

/// A [`Key`] in the fernet crate's type. That crate's types are not part of our interface.
#[derive(Clone)]
pub(crate) struct FernetKey(pub(crate) Fernet);

impl Key {
    /// Draws a key from the operating system's random generator.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the operating system has no random bytes.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| Error::new(ErrorKind::Unavailable, error))?;
        Ok(Self(bytes))
    }

    /// Reads a key from its base64 text, as Python's `Fernet.generate_key()` prints it.
    ///
    /// Both base64 alphabets are accepted, with and without padding.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the text is not base64, or not the base64 of 32 bytes.
    pub fn parse(text: &str) -> Result<Self> {
        let text = Zeroizing::new(text.trim().replace('-', "+").replace('_', "/"));
        let bytes = ANY_PADDING.decode(text.as_bytes()).map(Zeroizing::new);
        Self::from_slice(&bytes.map_err(|_| {
            Error::with_message(
                ErrorKind::Settings,
                "a session key must be the base64 text of 32 bytes; this text is not base64",
            )
        })?)
    }

    /// Makes a key of 32 bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if `bytes` does not have 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        bytes.try_into().map(Self).map_err(|_| {
            let text = format!(
                "a session key must be the base64 text of 32 bytes; this key has {} bytes",
                bytes.len()
            );
            Error::with_message(ErrorKind::Settings, text)
        })
    }

    /// Returns the URL-safe base64 text of the key, which is as secret as the key.
    pub fn to_base64(&self) -> String {
        base64::engine::general_purpose::URL_SAFE.encode(self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl From<[u8; 32]> for Key {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<Key> for FernetKey {
    fn from(key: Key) -> Self {
        let text = Zeroizing::new(key.to_base64());
        // A `Key` has exactly 32 bytes, whatever it was made of, and that is all that `new` checks.
        Self(Fernet::new(&text).expect("the base64 of 32 bytes is a Fernet key"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl fmt::Debug for FernetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FernetKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_in_every_usual_spelling_and_say_what_is_wrong() {
        let bytes: [u8; 32] =
            std::array::from_fn(|i| 250_u8.wrapping_add(u8::try_from(i).unwrap()));
        let url = Key::from(bytes).to_base64();
        let standard = url.replace('-', "+").replace('_', "/");
        for good in [
            url.as_str(),
            &standard,
            url.trim_end_matches('='),
            &format!(" {url}\n"),
        ] {
            assert_eq!(Key::parse(good).unwrap().bytes(), &bytes, "{good:?}");
        }
        for (bad, says) in [
            ("", "key has 0 bytes"),
            ("c2hvcnQ=", "key has 5 bytes"),
            ("not base64!", "not base64"),
            (&format!("{url}AAAA"), "not base64"),
            (&"A".repeat(44), "key has 33 bytes"),
        ] {
            let error = Key::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains(says), "{bad}: {error}");
        }
    }
}
