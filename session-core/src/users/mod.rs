//! The sessions of a user: list them, end one, end the others, end all.

mod listed;
mod user;

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;
use crate::storage::Storage;

pub use listed::UserSession;
pub(crate) use user::User;

/// The sessions of one user, in a storage that keeps an index of them.
///
/// A server-side storage keeps the index if
/// [`with_user_index`](crate::KeyedStorage::with_user_index) names the session key that identifies
/// the user. Handlers log users in as always.
///
/// ```
/// use session_core::{MemoryStorage, Result, Session, UserSessions};
///
/// /// Ends all sessions of the user but this one, after a changed password say.
/// async fn end_others(storage: &MemoryStorage, session: &Session) -> Result<usize> {
///     match UserSessions::of_session(storage, session)? {
///         Some(sessions) => sessions.end_others().await,
///         None => Ok(0), // no user is logged in
///     }
/// }
///
/// # use session_core::{CookieChange, Storage};
/// # async fn program() -> Result<()> {
/// let storage = MemoryStorage::default().with_user_index("user");
/// # let mut cookies = Vec::new();
/// for device in ["phone", "laptop"] {
///     let session = storage.load(&[]).await?;
///     session.insert("user", 42)?;
///     session.insert("device", device)?;
/// #   let CookieChange::Set { value, .. } =
///     storage.save(&session).await?
/// #   else { unreachable!() };
/// #   cookies.push(value);
/// }
/// # let laptop = &cookies[1];
/// let session = storage.load(&[laptop]).await?;
/// assert_eq!(end_others(&storage, &session).await?, 1);
///
/// let left = UserSessions::of_user(&storage, &42)?.list().await?;
/// assert_eq!(left.len(), 1);
/// assert_eq!(left[0].get::<String>("device")?.as_deref(), Some("laptop"));
/// # Ok(())
/// # }
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # let done = std::pin::pin!(program()).poll(&mut context);
/// # assert!(matches!(done, std::task::Poll::Ready(Ok(()))));
/// ```
///
/// # What an end promises
///
/// When an end has returned `Ok`, the sessions that it was to end are dead, and no slower request
/// or renewal brings them back. It covers every session that was logged in before the call.
/// If it returns an error, some sessions may have ended; call it again.
///
/// The promise needs a store that does not evict keys. If the store has lost the index, and the
/// caller's session was listed in it, each method returns an error of kind
/// [`Unavailable`](ErrorKind::Unavailable).
///
/// If another program has written over the index, each method and each login of the user is an
/// error of that kind, too. The index is left alone until somebody deletes its key.
#[derive(Clone)]
pub struct UserSessions<'a> {
    users: &'a dyn Users,
    user: User,
    current: Option<&'a Session>,
}

impl<'a> UserSessions<'a> {
    /// Returns the sessions of the user of `session`, which is the current one; `None` if it has no
    /// user.
    ///
    /// `storage` can be an `Arc<dyn Storage>`, too. It must be the one that loaded the session.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the storage keeps no index of users, or did not load the session.
    pub fn of_session(storage: &'a dyn Storage, session: &'a Session) -> Result<Option<Self>> {
        let users = users_of(storage)?;
        let (is_own, record) = {
            let state = session.state();
            (
                storage.config().is_same(&state.config),
                state.record.clone(),
            )
        };
        if !is_own {
            return Err(Error::with_message(
                ErrorKind::Settings,
                "the session belongs to another storage: use the one that loaded it",
            ));
        }
        let user = record.get(users.key()).and_then(User::of_json);
        Ok(user.map(|user| Self {
            users,
            user,
            current: Some(session),
        }))
    }

    /// Returns the sessions of a user. `user` must equal the value that a login stores under the
    /// key of the index. None of these sessions counts as the current one.
    ///
    /// ```
    /// # use session_core::{MemoryStorage, UserSessions};
    /// # fn main() -> session_core::Result<()> {
    /// # let storage = MemoryStorage::default().with_user_index("user");
    /// let sessions = UserSessions::of_user(&storage, "alice@example.org")?;
    /// # let _ = sessions;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Settings`] if the storage keeps no index of users.
    /// - [`ErrorKind::Value`] if `user` is null or cannot be JSON.
    pub fn of_user(storage: &'a dyn Storage, user: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self {
            users: users_of(storage)?,
            user: User::of(user)?,
            current: None,
        })
    }

    /// Returns the live sessions, the oldest first. Reads the index and each listed record.
    ///
    /// A session that a Python service created is listed from its first save by this library.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store did not respond, or if the index is gone.
    pub async fn list(&self) -> Result<Vec<UserSession>> {
        self.users.list(&self.user, self.current).await
    }

    /// Ends the session with this [`handle`](UserSession::handle), if it is this user's. Returns
    /// how many sessions ended: 1, or 0 if there is no such session.
    ///
    /// If it is the current session, its changes are dropped and its cookie is removed.
    ///
    /// # Errors
    /// As [`end_all`](Self::end_all).
    pub async fn end(&self, handle: &str) -> Result<usize> {
        let which = Which::One(handle);
        self.users.end(&self.user, self.current, which).await
    }

    /// Ends all sessions but the current one. Returns how many ended. Without a current session it
    /// ends all.
    ///
    /// # Errors
    /// As [`end_all`](Self::end_all).
    pub async fn end_others(&self) -> Result<usize> {
        let which = Which::Others;
        self.users.end(&self.user, self.current, which).await
    }

    /// Ends all sessions: "log out everywhere". Returns how many ended.
    ///
    /// The changes of the current session are dropped, and its cookie is removed.
    ///
    /// # Errors
    /// - [`ErrorKind::Unavailable`] if the store did not respond, if the index is gone, or if it
    ///   took longer than 30 seconds.
    /// - [`ErrorKind::Contended`] if other requests wrote one of the sessions all the time.
    pub async fn end_all(&self) -> Result<usize> {
        let which = Which::All;
        self.users.end(&self.user, self.current, which).await
    }
}

fn users_of(storage: &dyn Storage) -> Result<&dyn Users> {
    storage.users().ok_or_else(no_index)
}

pub(crate) fn no_index() -> Error {
    Error::with_message(
        ErrorKind::Settings,
        "the storage keeps no index of users: a server-side storage does after with_user_index",
    )
}

impl fmt::Debug for UserSessions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSessions")
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

/// Lists and ends the sessions of users. [`UserSessions`] calls it, and
/// [`KeyedStorage`](crate::KeyedStorage) implements it.
///
/// A storage that wraps another one passes on what its [`Storage::users`] returns.
#[async_trait]
pub trait Users: sealed::Sealed + Send + Sync {
    /// Returns the session key that identifies the user.
    fn key(&self) -> &str;

    #[doc(hidden)]
    async fn list(&self, user: &User, current: Option<&Session>) -> Result<Vec<UserSession>>;

    #[doc(hidden)]
    async fn end(&self, user: &User, current: Option<&Session>, which: Which<'_>) -> Result<usize>;
}

/// Which sessions of a user end.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The one with this handle.
    One(&'a str),
    /// All but the current one.
    Others,
    All,
}

pub(crate) mod sealed {
    pub trait Sealed {}
}
