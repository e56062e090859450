//! The contract between a server and the places where sessions live.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config::Records;
use crate::error::Result;
use crate::session::Session;

/// Keeps sessions between requests: a cookie's value in, a session out; a session in, what the
/// cookie becomes out.
///
/// Adapters and applications call it; it is object safe, so that an application can choose its
/// storage at run time as an `Arc<dyn Storage>`. A new *server-side* store implements
/// [`Backend`](crate::Backend) instead, and gets this from [`KeyedStorage`](crate::KeyedStorage).
///
/// # Contract: each rule is a test of the same name in the conformance suite
///
/// - `no_cookie_is_a_new_session`, `unknown_cookie_is_a_new_session`: a cookie never issued,
///   expired or tampered with loads as a new, empty session; `Err` is kept for a backend that failed.
/// - `saved_session_loads_back`, `a_session_is_saved_again_and_again`, `a_touch_is_saved`,
///   `a_renewed_session_keeps_its_data`
/// - `untouched_values_survive_byte_for_byte`
/// - `a_read_changes_nothing`, `a_new_empty_session_stores_nothing`
/// - `an_emptied_session_is_removed`, `an_invalidated_session_is_removed`,
///   `invalidating_removes_only_a_cookie_that_was_sent`,
///   `what_is_set_after_an_invalidation_is_all_there_is`,
///   `a_session_is_saved_invalidated_and_saved_again`
/// - `an_expired_session_is_new`, `a_write_restarts_the_lifetime_and_a_read_does_not`,
///   `a_lifetime_of_its_own_is_kept`, `rolling_reads_restart_the_lifetime`,
///   `an_absolute_lifetime_ends_a_session`
/// - `nothing_secret_prints`
///
/// A server-side storage keeps those of a second list too: that changes are merged, that an end
/// wins over whoever is slower, that no identity is adopted.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Returns what this storage reads and writes records with: the cookie's settings, the codec
    /// and the clock.
    fn records(&self) -> &Records;

    /// Loads the session that `cookie`, the session cookie's value, stands for: a new one if there
    /// is no cookie or it stands for none.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the backend did not answer.
    async fn load(&self, cookie: Option<&str>) -> Result<Session>;

    /// Saves what was changed in `session`, if anything was, and returns what that means for the
    /// cookie. A session may be changed and saved again after that; save one session at a time: of two
    /// saves of a new one that run at once each may store it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the backend did not
    /// acknowledge; [`ErrorKind::Ended`](crate::ErrorKind::Ended) if another request ended the
    /// session meanwhile; [`ErrorKind::Contended`](crate::ErrorKind::Contended) after too many
    /// conflicts; [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) before anything
    /// is stored.
    async fn save(&self, session: &Session) -> Result<CookieChange>;
}

/// Written out as async-trait would write it, so that the future is not boxed a second time.
impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn records(&self) -> &Records {
        (**self).records()
    }

    fn load<'a, 'b, 'f>(&'a self, cookie: Option<&'b str>) -> Boxed<'f, Result<Session>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        (**self).load(cookie)
    }

    fn save<'a, 'b, 'f>(&'a self, session: &'b Session) -> Boxed<'f, Result<CookieChange>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        (**self).save(session)
    }
}

type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// What a save means for the client's cookie.
#[derive(Clone, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "an adapter must handle every case")]
pub enum CookieChange {
    /// It stays as it is: send nothing.
    Keep,
    /// It gets a new value, a secret, not yet quoted for the header.
    Set {
        /// The cookie's value.
        value: String,
        /// For how long the browser keeps it; `None`: until it closes.
        max_age: Option<Duration>,
    },
    /// It goes.
    Remove,
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
