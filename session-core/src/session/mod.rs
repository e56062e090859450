//! The session that a handler sees, its state, and the changes of one request.

mod delta;
mod draft;
pub(crate) mod hook;
pub(crate) mod identity;
pub(crate) mod lifetime;
mod open;
pub(crate) mod stage;
pub(crate) mod state;
pub(crate) mod values;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub(crate) use delta::{Delta, IdentityChange};
pub(crate) use draft::Draft;

use crate::config::SessionConfig;
use crate::cookie::settings::whole_seconds;
use crate::error::{Error, ErrorKind, Result, log_unsaved};
use crate::record::Lifetime;
use crate::session::identity::Identity;
use crate::session::state::{EndedBy, Place, State};

/// One request's session: a map from text keys to JSON values, with a few flags.
///
/// A clone is cheap and refers to the same session.
///
/// The adapter saves changes once, before the response's headers leave. A later change is an error
/// of kind [`ErrorKind::Committed`] and is never lost silently. Only [`save`](Self::save) waits for
/// the store; the other methods do no I/O.
///
/// Values are kept as JSON text and parsed when they are read. A value that the handler does not
/// change is written back byte for byte, also if another program wrote it.
///
/// ```
/// use session_core::Session;
///
/// # fn main() -> Result<(), session_core::Error> {
/// # let session = Session::detached();
/// session.insert("name", "alice")?;
/// session.modify("visits", |visits: &mut u32| *visits += 1)?;
/// assert_eq!(session.get::<u32>("visits")?, Some(1));
/// assert_eq!(session.get::<String>("email")?, None);
/// assert_eq!(session.keys(), ["name", "visits"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Mutex<State>>);

impl Session {
    /// Makes a new, empty session without a storage, for unit tests.
    ///
    /// ```
    /// use session_core::{Result, Session};
    ///
    /// fn greeting(session: &Session) -> Result<String> {
    ///     let name: Option<String> = session.get("name")?;
    ///     Ok(format!("Hello, {}!", name.as_deref().unwrap_or("stranger")))
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let session = Session::detached();
    /// session.insert("name", "Ada")?;
    /// assert_eq!(greeting(&session)?, "Hello, Ada!");
    /// # Ok(())
    /// # }
    /// ```
    pub fn detached() -> Self {
        SessionConfig::default().new_session(false)
    }

    /// Returns whether the client had no session.
    ///
    /// It sent no cookie, or one that is unknown, expired or forged.
    pub fn is_new(&self) -> bool {
        self.state().is_new()
    }

    /// Returns whether there is a change since the session was loaded or saved.
    ///
    /// A change is a key that was set or removed, or a call of `changed()`, `set_max_age()`,
    /// `renew()` or `invalidate()`.
    ///
    /// An empty `new_session()` is not changed, although saving it ends the old session.
    pub fn is_changed(&self) -> bool {
        self.state().delta.is_change()
    }

    /// Returns whether a login or a renewal has just replaced the session of the client's cookie.
    ///
    /// The client then has, or is about to get, a newer cookie.
    ///
    /// Such a session is new and empty. Storages know this for one minute after the replacement.
    /// [`was_ended`](Self::was_ended) also covers a logout.
    pub fn was_replaced(&self) -> bool {
        self.state()
            .origin
            .ended_by
            .is_some_and(EndedBy::is_replacement)
    }

    /// Returns whether the session of the client's cookie has just ended.
    ///
    /// A logout ended it, or a login or a renewal [replaced](Self::was_replaced) it.
    ///
    /// Such a session is new and empty. Saving a change of it is an error of kind
    /// [`ErrorKind::Ended`], a 409. A guard should return that error instead of sending the client
    /// to the login page, because the client may have a newer cookie.
    ///
    /// Storages know this for one minute after the end. A session that was ended from elsewhere
    /// ("log out everywhere") does not count, because its client may start a new one at once.
    ///
    /// ```
    /// use session_core::{ErrorKind, Result, Session};
    ///
    /// /// Returns whether the client is to be sent to the login page.
    /// fn needs_login(session: &Session) -> Result<bool> {
    ///     if session.was_ended() {
    ///         return Err(ErrorKind::Ended.into());
    ///     }
    ///     Ok(!session.contains_key("user"))
    /// }
    /// ```
    pub fn was_ended(&self) -> bool {
        self.state()
            .origin
            .ended_by
            .is_some_and(EndedBy::refuses_changes)
    }

    /// Returns the time of the last write, when a key was set or removed. For a new session, it is
    /// the time when the session was made. The name is aiohttp_session's.
    pub fn created(&self) -> SystemTime {
        self.state().record.created()
    }

    /// Returns when the session will expire; `None`: never.
    ///
    /// A write moves this time. In a rolling storage, a read moves it too. An `absolute_max_age`
    /// limits it.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let state = self.state();
        lifetime::expires_at(&state.config, &state.record)
    }

    /// Returns the identity under which a store keeps this session, a secret.
    ///
    /// `None` if the session lives in its cookie or is new. A new session gets its identity when it
    /// is saved. A handler that needs it earlier chooses one with
    /// [`set_new_identity`](Self::set_new_identity).
    pub fn identity(&self) -> Option<Identity> {
        match &self.state().place {
            Place::InStore {
                identity,
                emptied: false,
                ..
            } => Some(identity.clone()),
            _ => None,
        }
    }

    /// Returns how long the session lives after its last write; `None`: without limit.
    ///
    /// With `None`, the cookie is removed when the browser closes. An `absolute_max_age` of the
    /// storage may end the session sooner.
    pub fn max_age(&self) -> Option<Duration> {
        self.state().max_age()
    }

    /// Sets the session's own lifetime, in place of the storage's, and marks the session changed.
    ///
    /// `None` is a cookie that is removed when the browser closes, and **no limit on the server**
    /// except an `absolute_max_age` of the storage.
    ///
    /// The lifetime is rounded up to whole seconds, at least one. Longer lifetimes are capped at
    /// 100 years. It counts from the last write ([`created`](Self::created)). Calling this is not a
    /// write. A Python service that writes the session drops the lifetime.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn set_max_age(&self, max_age: impl Into<Option<Duration>>) -> Result<()> {
        let mut state = self.lock_for_change()?;
        let max_age = max_age.into().map(whole_seconds);
        // If the value equals the storage's `max_age`, store no lifetime, unless the cookie is not
        // persistent. Then the stored lifetime makes the cookie persistent.
        let cookie = state.config.cookie();
        let lifetime =
            if max_age == cookie.max_age() && (max_age.is_none() || cookie.is_persistent()) {
                Lifetime::Default
            } else {
                max_age.map_or(Lifetime::Unlimited, Lifetime::For)
            };
        Arc::make_mut(&mut state.record).lifetime = lifetime;
        state.delta.touched = true;
        state.delta.lifetime = true;
        Ok(())
    }

    /// Saves the session although no key was set, and does not extend it.
    ///
    /// The record is stored again. The cookie is sent again if it has a Max-Age, and always in a
    /// cookie storage.
    ///
    /// To extend the session, write a value: the lifetime counts from the last write, as in
    /// aiohttp_session. A new and empty session stays unsaved.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    #[doc(alias = "touch")]
    pub fn changed(&self) -> Result<()> {
        self.lock_for_change()?.delta.touched = true;
        Ok(())
    }

    /// Ends the session: a logout.
    ///
    /// The session is empty at once. When it is saved, a tombstone replaces the store's record, and
    /// the client's cookie is removed.
    ///
    /// No concurrent request brings the session back. A value that is set after this starts another
    /// session under a new identity. The end is carried out before every response, errors included.
    /// It is not carried out if the request is cancelled, or if a handler of hyper or tower returns
    /// an error that is not a session error.
    ///
    /// In a cookie storage, a copy of the cookie still works until it expires.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    #[doc(alias = "destroy")]
    #[doc(alias = "flush")]
    pub fn invalidate(&self) -> Result<()> {
        self.lock_for_change()?.invalidate();
        Ok(())
    }

    /// Changes the identity when the session is saved, and keeps the data.
    ///
    /// The old cookie then gives no access to the data.
    ///
    /// Call it whenever the permissions of the session change. For one minute, a logout with the
    /// old cookie still ends the session. A renewal is not a write, so it does not restart the
    /// lifetime. In a cookie storage there is no identity, and the old cookie stays valid.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    #[doc(alias = "cycle_id")]
    #[doc(alias = "regenerate")]
    pub fn renew(&self) -> Result<()> {
        let mut state = self.lock_for_change()?;
        state.delta.identity = state.delta.identity.max(IdentityChange::Rotate);
        Ok(())
    }

    /// Sets the identity of a new session, in place of a random one.
    ///
    /// Do not use an identity twice. After its tombstone has expired, the storage cannot detect
    /// that.
    ///
    /// # Errors
    /// - [`ErrorKind::Identity`] if the session is not new, or if a save of it failed before.
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    ///
    /// The save fails with [`ErrorKind::Identity`] if the store already has data under this
    /// identity, or if the identity contains a `_` and the storage has no key factory.
    pub fn set_new_identity(&self, identity: Identity) -> Result<()> {
        let mut state = self.lock_for_change()?;
        if !state.is_new() {
            return Err(Error::with_message(
                ErrorKind::Identity,
                "an identity can only be set while the session is new: use renew() to change it",
            ));
        }
        if state.creation.pending.is_some() {
            return Err(Error::with_message(
                ErrorKind::Identity,
                "a save of this session has already begun under another identity",
            ));
        }
        state.creation.chosen = Some(identity);
        Ok(())
    }

    /// Saves the changes now, before the handler responds.
    ///
    /// `Ok` means that the store has acknowledged them.
    ///
    /// Use it if another request needs the saved session before the response is sent. An example is
    /// the callback of a payment provider, whose handler loads the session by its identity. The
    /// response carries the cookie, also if it is an error page. The session can be changed again,
    /// and the adapter saves those changes as usual. In a cookie storage, this only checks the
    /// size, because the response carries the session.
    ///
    /// # Errors
    /// - Those of [`Storage::save`](crate::Storage::save).
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    /// - [`ErrorKind::Settings`] if the session was not loaded through a session service. Save such
    ///   a session with [`Storage::save`](crate::Storage::save).
    pub async fn save(&self) -> Result<()> {
        let (hook, stopwatch) = {
            let state = self.lock_for_change()?;
            let stopwatch = state.config.metrics().start_save(|| state.save_kind());
            (state.hook.clone(), stopwatch)
        };
        let hook = hook.ok_or_else(|| {
            Error::with_message(
                ErrorKind::Settings,
                "this session was not loaded by a session service: use Storage::save",
            )
        })?;
        let saved = hook.save(self).await;
        stopwatch.saved(&saved);
        saved.map(drop).map_err(|error| {
            let config = self.state().config.clone();
            log_unsaved(config.cookie().name(), error)
        })
    }

    /// Locks the state.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // The clock is the only code of the application that runs while the state is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state for a change.
    fn lock_for_change(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.is_committed {
            Err(ErrorKind::Committed.into())
        } else {
            Ok(state)
        }
    }
}

impl From<State> for Session {
    fn from(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }
}

/// Shows the flags and the number of keys, but no key, no value and no identity.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Session")
            .field("is_new", &state.is_new())
            .field("is_changed", &state.delta.is_change())
            .field("identity_change", &state.delta.identity)
            .field("len", &state.record.len())
            .finish_non_exhaustive()
    }
}
