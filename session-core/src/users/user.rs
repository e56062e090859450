//! Who a user is: any JSON value.

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::record::json::canonical::canonical;
use crate::session::identity::hex;
use crate::session::values::to_text;

/// A user, known by the SHA-256 of the JSON value that identifies it.
///
/// The value is taken in its canonical form: `"é"` and `"\u00e9"` are one user, `1` and `"1"` are
/// two. Numbers count as they are written, so `1` and `1.0` are two.
#[derive(Clone, Eq, PartialEq)]
pub struct User([u8; 32]);

impl User {
    /// Returns the user that `text`, a JSON value, identifies; `None` for null.
    pub(crate) fn of_json(text: &str) -> Option<Self> {
        let text = canonical(text);
        (text != "null").then(|| Self(Sha256::digest(text.as_bytes()).into()))
    }

    /// Returns the user that `value` identifies.
    pub(crate) fn of(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Self::of_json(&to_text(value)?)
            .ok_or_else(|| Error::with_message(ErrorKind::Value, "null identifies no user"))
    }

    /// Returns the 64 lowercase hexadecimal digits of the hash.
    pub(crate) fn digits(&self) -> String {
        hex(&self.0).collect()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_but_null_is_a_user() {
        let long = format!("\"{}\"", "x".repeat(3000));
        let users: Vec<User> = [
            "1", "\"1\"", "1.0", "true", "false", "\"\"", "[]", "{}", "[null]", &long,
        ]
        .into_iter()
        .map(|text| User::of_json(text).unwrap())
        .collect();
        for (at, user) in users.iter().enumerate() {
            assert!(!users[..at].contains(user));
            assert_eq!(format!("{user:?}"), "User(..)");
        }
        assert_eq!(User::of_json(" null "), None);
        assert_eq!(User::of(&None::<u8>).unwrap_err().kind(), ErrorKind::Value);
    }

    #[test]
    fn how_a_value_is_written_does_not_matter() {
        assert_eq!(User::of_json("\"é\""), User::of_json(r#""\u00E9""#));
        assert_eq!(User::of("é").unwrap(), User::of_json("\"é\"").unwrap());
        assert_eq!(User::of(&42).unwrap(), User::of_json(" 42").unwrap());
        // printf 42 | sha256sum
        let digits = "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049";
        assert_eq!(User::of(&42).unwrap().digits(), digits);
    }
}
