//! The application's prefix of all its keys.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind, Result};

/// How long a prefix may be.
const MAX_PREFIX: usize = 100;

/// How long a prefix and a cookie's name may be together. memcached's keys have at most 250 bytes,
/// and a client's cookie can spell an identity of 128, which follows a `_`.
const MAX_WITH_NAME: usize = 250 - 1 - 128;

/// What every key of a storage begins with. By default it is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyPrefix(Box<str>);

impl KeyPrefix {
    /// Returns the prefix that `text` spells.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_PREFIX {
            return Err(refused(format!(
                "a key prefix has at most {MAX_PREFIX} bytes"
            )));
        }
        // `@` marks the index of a user, and no cookie's name has it. The other characters are
        // special in Redis key patterns, for example in ACL rules.
        let is_allowed = |b: u8| b.is_ascii_graphic() && !b"@*?[]\\".contains(&b);
        if !text.bytes().all(is_allowed) {
            let why = "a key prefix is printable ASCII, without spaces and @ * ? [ ] \\";
            return Err(refused(why));
        }
        Ok(Self(text.into()))
    }

    /// Checks that a store accepts the keys of a cookie of this name.
    pub(super) fn check(&self, cookie: &str) -> Result<()> {
        if !self.0.is_empty() && self.0.len() + cookie.len() > MAX_WITH_NAME {
            return Err(refused(format!(
                "the key prefix and the cookie's name have at most {MAX_WITH_NAME} bytes together"
            )));
        }
        Ok(())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn refused(why: impl Into<Cow<'static, str>>) -> Error {
    Error::with_message(ErrorKind::Settings, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_short_printable_ascii() {
        let longest = "p".repeat(MAX_PREFIX);
        for text in ["", "shop:", "a", "{shop}:", "~!\"", &longest] {
            assert_eq!(KeyPrefix::parse(text).unwrap().as_str(), text);
        }
        let too_long = "p".repeat(MAX_PREFIX + 1);
        for text in [
            " ",
            "a b",
            "a\n",
            "a\r\nset x",
            "\0",
            "\x7f",
            "é:",
            "@",
            "a@b",
            "a*:",
            "a?",
            "[a]",
            "a\\",
            &too_long,
        ] {
            let error = KeyPrefix::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings, "{text:?}");
        }
        let error = KeyPrefix::parse(&too_long).unwrap_err();
        assert_eq!(error.to_string(), "a key prefix has at most 100 bytes");
    }

    #[test]
    fn every_key_has_at_most_250_bytes() {
        let longest_key = |prefix: &str, name: &str| format!("{prefix}{name}_{}", "i".repeat(128));
        let longest_name = "n".repeat(100);
        for (prefix, name, is_fine) in [
            (100, 21, true),
            (100, 22, false),
            (21, 100, true),
            (22, 100, false),
            (0, 100, true),
        ] {
            let (prefix, name) = ("p".repeat(prefix), &longest_name[..name]);
            let checked = KeyPrefix::parse(&prefix).unwrap().check(name);
            assert_eq!(checked.is_ok(), is_fine, "{prefix}{name}");
            assert_eq!(longest_key(&prefix, name).len() <= 250, is_fine);
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::Settings);
                assert!(error.to_string().contains("at most 121 bytes together"));
            }
        }
    }
}
