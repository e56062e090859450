//! Tombstones mark the key of a session that has ended.
//!
//! A tombstone is an empty JSON object, so Python too reads it as an ended session. The white space
//! inside encodes why the session ended. A member could encode more, but Python would then read a
//! session and keep using its identity.
//!
//! The two bytes `{}` are not a tombstone, because Python writes them and their age is unknown.

use std::sync::Arc;
use std::time::Duration;

use crate::session::identity::Identity;
use crate::session::state::EndedBy;

/// How long a tombstone stays. It must outlive the requests that were in flight when the session
/// ended.
pub(super) const TIME_TO_LIVE: Duration = Duration::from_secs(60);

/// Why a session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Tombstone {
    /// A renewal moved it to the key with this suffix.
    Moved(Arc<str>),
    /// A login replaced it.
    Replaced,
    /// A logout ended it.
    Ended,
    /// It was ended from elsewhere: "log out everywhere" or a limit.
    Revoked,
}

impl Tombstone {
    /// Writes the tombstone as JSON text.
    pub(super) fn to_text(&self) -> Vec<u8> {
        let (kind, suffix) = match self {
            Self::Ended => (SPACE[0], ""),
            Self::Replaced => (SPACE[1], ""),
            Self::Revoked => (SPACE[2], ""),
            Self::Moved(suffix) => (SPACE[3], &**suffix),
        };
        let digits = suffix
            .bytes()
            .flat_map(|b| [b >> 6, b >> 4, b >> 2, b].map(|digit| SPACE[usize::from(digit & 3)]));
        [b'{', kind]
            .into_iter()
            .chain(digits)
            .chain([b'}'])
            .collect()
    }

    /// Reads an empty JSON object; `None` if it is not a tombstone.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let inside = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
        let (kind, digits) = inside.split_first()?;
        match (digit(*kind)?, digits.is_empty()) {
            (0, true) => Some(Self::Ended),
            (1, true) => Some(Self::Replaced),
            (2, true) => Some(Self::Revoked),
            (3, false) => Some(Self::Moved(suffix(digits)?)),
            _ => None,
        }
    }

    /// Returns why the session ended.
    pub(super) fn ended_by(&self) -> EndedBy {
        match self {
            Self::Moved(_) => EndedBy::Renewal,
            Self::Replaced => EndedBy::Login,
            Self::Ended => EndedBy::Logout,
            Self::Revoked => EndedBy::Revoked,
        }
    }
}

/// The white space of JSON, as digits to the base of four.
const SPACE: [u8; 4] = *b" \t\n\r";

fn digit(space: u8) -> Option<u8> {
    let at = SPACE.iter().position(|digit| *digit == space)?;
    u8::try_from(at).ok()
}

/// Reads the suffix of a key, with four digits for each byte; `None` if no identity has its shape.
fn suffix(digits: &[u8]) -> Option<Arc<str>> {
    let (bytes, []) = digits.as_chunks::<4>() else {
        return None;
    };
    let byte = |four: &[u8; 4]| {
        four.iter()
            .try_fold(0_u8, |byte, space| Some(byte << 2 | digit(*space)?))
    };
    let bytes: Option<Vec<u8>> = bytes.iter().map(byte).collect();
    let text = String::from_utf8(bytes?).ok()?;
    Identity::parse(&text).map(|suffix| suffix.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_an_empty_object_that_tells_why() {
        let suffix = "0123456789abcdef0123456789ABCDEF-_";
        for tombstone in [
            Tombstone::Moved(suffix.into()),
            Tombstone::Replaced,
            Tombstone::Ended,
            Tombstone::Revoked,
        ] {
            let text = tombstone.to_text();
            assert_eq!(Tombstone::parse(&text), Some(tombstone));
            let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(json, serde_json::json!({}));
        }
    }

    #[test]
    fn other_empty_objects_are_no_tombstones() {
        for text in [
            &b"{}"[..],
            b"{  }",
            b"{\r}",
            b"{\r\t}",
            b"{\r\t\t\t}",
            b"{\x0b}",
            b" { }",
            b"{",
            b"",
        ] {
            assert_eq!(Tombstone::parse(text), None, "{text:?}");
        }
    }
}
