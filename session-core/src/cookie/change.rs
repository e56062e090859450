//! What to do with the cookie after a save.

use std::fmt;
use std::time::Duration;

/// What to do with the client's cookie after a save.
#[derive(Clone, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a cookie is kept, set or removed, and an adapter must handle each"
)]
pub enum CookieChange {
    /// Send nothing. The client keeps the cookie that it has, if any.
    Keep,
    /// Send the cookie with this value. A storage makes it with [`set`](Self::set).
    #[non_exhaustive]
    Set {
        /// The cookie's value, a secret, not yet quoted for the header.
        value: String,
        /// How long the browser keeps it; `None`: until it closes.
        max_age: Option<Duration>,
    },
    /// Send a removal of the cookie.
    Remove,
}

impl CookieChange {
    /// Makes a change that sends the cookie with this value.
    ///
    /// `max_age` is how long the browser keeps it; `None`: until it closes.
    pub fn set(value: impl Into<String>, max_age: Option<Duration>) -> Self {
        Self::Set {
            value: value.into(),
            max_age,
        }
    }
}

impl fmt::Debug for CookieChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("Keep"),
            Self::Set { max_age, .. } => f
                .debug_struct("Set")
                .field("max_age", max_age)
                .finish_non_exhaustive(),
            Self::Remove => f.write_str("Remove"),
        }
    }
}
