//! The contract between a server and the places where sessions live.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::config::SessionConfig;
use crate::cookie::change::CookieChange;
use crate::error::Result;
use crate::session::Session;
use crate::users::Users;

/// Keeps sessions between requests.
///
/// It turns cookie values into a session, and a changed session into a change of the cookie.
///
/// Adapters and applications call it. It is object safe, so an application can choose its storage
/// at run time as an `Arc<dyn Storage>`. A new *server-side* store implements
/// [`keyed::Backend`](crate::keyed::Backend) instead, and [`KeyedStorage`](crate::KeyedStorage)
/// makes a storage of it.
///
/// # Contract: each rule is a test of the same name in the conformance suite
///
/// - `no_cookie_is_a_new_session`, `unknown_cookie_is_a_new_session`: a cookie that was never
///   issued, has expired or was tampered with loads as a new, empty session. `Err` means that the
///   store failed.
/// - `saved_session_loads_back`, `a_session_is_saved_again_and_again`, `a_touch_is_saved`,
///   `a_renewed_session_keeps_its_data`
/// - `untouched_values_survive_byte_for_byte`, `raw_values_pass_through_byte_for_byte`
/// - `a_read_changes_nothing`, `a_new_empty_session_stores_nothing`
/// - `a_cleared_session_is_removed`, `an_invalidated_session_is_removed`,
///   `invalidating_removes_only_a_cookie_that_was_sent`,
///   `what_is_set_after_an_invalidation_is_all_there_is`,
///   `a_session_is_saved_invalidated_and_saved_again`
/// - `an_expired_session_is_new`, `a_write_restarts_the_lifetime_and_a_read_does_not`,
///   `a_lifetime_of_its_own_is_kept`, `rolling_reads_restart_the_lifetime`,
///   `an_absolute_lifetime_ends_a_session`
/// - `a_session_of_another_storage_is_refused`
/// - `nothing_secret_prints`
///
/// Server-side storages have a second list of rules: changes are merged, a logout wins over every
/// slower request, and an unknown identity is never adopted.
///
/// The suites come with the feature `conformance`.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Returns the cookie settings, the codec and the clock of this storage.
    fn config(&self) -> &SessionConfig;

    /// Loads the session that the client's cookies name, or makes a new one.
    ///
    /// `cookies` are the values of all cookies with this storage's cookie name, unquoted, in the
    /// order in which the client sent them. It is empty if the client sent none. A browser sends
    /// several if they were set for different paths or domains.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store did not respond.
    async fn load(&self, cookies: &[&str]) -> Result<Session>;

    /// Saves the changes of `session`, if there are any, and returns what to do with the cookie.
    ///
    /// The session can be changed and saved again after that. If two tasks save one session at the
    /// same time, the second waits for the first.
    ///
    /// # Errors
    /// - [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store did not
    ///   acknowledge.
    /// - [`ErrorKind::Ended`](crate::ErrorKind::Ended) if another request ended the session.
    /// - [`ErrorKind::Contended`](crate::ErrorKind::Contended) after too many conflicts.
    /// - [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) if the session does not fit. Its
    ///   changes are not stored.
    /// - [`ErrorKind::Settings`](crate::ErrorKind::Settings) if another storage loaded the session.
    async fn save(&self, session: &Session) -> Result<CookieChange>;

    /// Returns the index of users; `None` if this storage has none.
    ///
    /// [`UserSessions`](crate::UserSessions) calls it to list and end the sessions of a user.
    fn users(&self) -> Option<&dyn Users> {
        None
    }
}

/// Written as `async_trait` would write it, but without boxing the future a second time.
impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn config(&self) -> &SessionConfig {
        (**self).config()
    }

    fn load<'a, 'b, 'c, 'f>(&'a self, cookies: &'b [&'c str]) -> Boxed<'f, Result<Session>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        (**self).load(cookies)
    }

    fn save<'a, 'b, 'f>(&'a self, session: &'b Session) -> Boxed<'f, Result<CookieChange>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        (**self).save(session)
    }

    fn users(&self) -> Option<&dyn Users> {
        (**self).users()
    }
}

type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;
